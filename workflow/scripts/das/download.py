"""Downloading published files, and checking files that a user placed by hand."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from das.artifacts import file_sha256
from das.errors import UserError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 20, 60
ATTEMPTS = 4  # in a row without a single new byte
WAIT_SECONDS = 2.0

_BY_HAND = "place the file by hand and set `source.path`"


class _TransferError(Exception):
    """The connection failed or broke; another attempt may go on from there."""


def check(path: Path, size: int, sha256: str) -> None:
    """Compare a file with its published size in bytes and sha256.

    Raises:
        UserError: the file is missing, truncated, too long, or of other content.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; download it, or set `source.path` to where it lies")
    found = path.stat().st_size
    if found != size:
        wrong = "truncated" if found < size else "too long"
        raise UserError(f"{path}: {wrong}: found {found} bytes, expected {size}")
    digest = file_sha256(path)
    if digest != sha256:
        raise UserError(f"{path}: wrong content: found sha256 {digest}, expected {sha256}")


def fetch(url: str, target: Path, size: int, sha256: str) -> None:
    """Download `url` to `target`, which appears only when size and sha256 agree.

    What has arrived lies beside the target. After a break, now or in a later call, the download goes on
    from there if the server can do that, and starts again if it cannot.

    Raises:
        UserError: no network, an answer other than the file, or a file of another size or content.
    """
    if not url.startswith(("https://", "http://")):
        raise UserError(f"source.url: found {url!r}, allowed are addresses with https:// or http://")
    part = target.with_name(f".{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if _arrived(part) > size:
            part.unlink()
        _transfer_all(url, part, size)
        _accept(url, part, size, sha256)
        part.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error


def _accept(url: str, part: Path, size: int, sha256: str) -> None:
    try:
        check(part, size, sha256)
    except UserError as error:
        part.unlink()  # going on from wrong bytes would fail for ever
        raise UserError(f"{url}: {str(error).removeprefix(f'{part}: ')}; removed, try again") from error


def _transfer_all(url: str, part: Path, size: int) -> None:
    failures, furthest = 0, _arrived(part)
    with tqdm(
        total=size, initial=_arrived(part), unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]
    ) as bar:
        while _arrived(part) < size:
            try:
                _transfer(url, part, size, bar)
            except _TransferError as error:
                failures = 0 if _arrived(part) > furthest else failures + 1
                furthest = max(furthest, _arrived(part))
                if failures == ATTEMPTS:
                    raise UserError(f"{url}: cannot be downloaded ({error}); {_BY_HAND}") from error
                log.info("%s: %s after %d bytes; going on", url, error, _arrived(part))
                time.sleep(WAIT_SECONDS * max(failures, 1))


def _transfer(url: str, part: Path, size: int, bar: tqdm) -> None:
    """One request: append to `part` what the server sends of the missing rest."""
    have = _arrived(part)
    # "identity" and raw reads: a server that labels .gz as a content encoding must not have it decoded.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as answer:
            start = _start(url, answer, have, size)
            bar.n = start
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                    file.write(chunk)
                    bar.update(len(chunk))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _TransferError(type(error).__name__) from error
    if _arrived(part) < size:
        raise _TransferError("the server closed the connection early")


def _start(url: str, answer: requests.Response, have: int, size: int) -> int:
    """Offset at which the body of an answer begins; refuses answers that are not the expected file."""
    if answer.status_code >= 500 or answer.status_code == 429:
        raise _TransferError(f"HTTP {answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        raise UserError(f"{url}: HTTP {answer.status_code} {answer.reason}; {_BY_HAND}")
    start = have if answer.status_code == 206 else 0  # 200: the server sends the file from its beginning
    if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise UserError(f"{url}: the server answered with another range than {have}-; {_BY_HAND}")
    offered = answer.headers.get("Content-Length")
    if offered is not None and start + int(offered) != size:
        raise UserError(f"{url}: the server offers {start + int(offered)} bytes, expected {size}")
    return start


def _arrived(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
