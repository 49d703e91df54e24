"""Downloading published files, and checking files that were downloaded or that a user placed by hand.

Where no checksum is published, that of the first download is kept beside the file as `NAME.sha256`, in the
format of sha256sum, and later files are compared with it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import replace
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from das.data.sources.published import PublishedFile, is_sha256
from das.errors import UserError
from das.jobs.artifacts import replacing

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 20, 60
ATTEMPTS = 4  # in a row without a single new byte
WAIT_SECONDS = 2.0


class _TransferError(Exception):
    """The connection failed or broke; another attempt may go on from there."""


def check(path: Path, expected: PublishedFile) -> str:
    """Compare a file with its published size and checksums, or with the checksum kept beside it.

    Returns:
        its sha256, hexadecimal.

    Raises:
        UserError: the file is missing, truncated, too long, or of other content.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; download it, or set `source.path` to where it lies")
    return _compare(path, _with_recorded(expected, path))


def fetch(file: PublishedFile, target: Path) -> None:
    """Download a file to `target`, which appears only when size and checksums agree.

    What has arrived lies beside the target. After a break, now or in a later call, the download goes on
    from there if the server can do that, and starts again if it cannot.

    Raises:
        UserError: no address, no network, an answer other than the file, or one of another size or content.
    """
    if file.url is None:
        terms = f" ({file.terms})" if file.terms else ""
        raise UserError(
            f"{target}: {file.name} has no address from which a program may download it; get it by hand "
            f"from {file.page}{terms} and place it there, or set `source.path` to its folder"
        )
    part = target.with_name(f".{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if file.size is not None and _arrived(part) > file.size:
            part.unlink()
        _Download(file.url, part, f"download it by hand to {target}, or set `source.path`").run(file.size)
        sha256 = _accept(file.url, part, _with_recorded(file, target))
        if file.sha256 is None:
            with replacing(_record(target)) as beside:
                beside.write_text(f"{sha256}  {target.name}\n")
        part.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error


def _accept(url: str, part: Path, expected: PublishedFile) -> str:
    try:
        return _compare(part, expected)
    except UserError as error:
        part.unlink()  # going on from wrong bytes would fail for ever
        raise UserError(f"{url}: {str(error).removeprefix(f'{part}: ')}; removed, try again") from error


def _compare(path: Path, expected: PublishedFile) -> str:
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        wrong = "truncated" if size < expected.size else "too long"
        raise UserError(f"{path}: {wrong}: found {size} bytes, expected {expected.size}")
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            for digest in found.values():
                digest.update(chunk)
    for name, value in (("sha256", expected.sha256), ("md5", expected.md5)):
        if value is not None and found[name].hexdigest() != value:
            raise UserError(
                f"{path}: wrong content: found {name} {found[name].hexdigest()}, expected {value}"
            )
    return found["sha256"].hexdigest()


def _with_recorded(expected: PublishedFile, path: Path) -> PublishedFile:
    """What is expected, with the checksum kept beside a file where none is published."""
    if expected.sha256 is not None or not _record(path).is_file():
        return expected
    recorded = _record(path).read_text(errors="replace").split()[:1]
    if not recorded or not is_sha256(recorded[0]):
        raise UserError(f"{_record(path)}: holds no sha256; delete it, or write it with sha256sum")
    return replace(expected, sha256=recorded[0])


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


class _Download:
    """One file on its way from `url` to `part`; `by_hand` tells what to do where that is impossible."""

    def __init__(self, url: str, part: Path, by_hand: str) -> None:
        self.url, self.part, self.by_hand = url, part, by_hand

    def run(self, size: int | None) -> None:
        """Get all of it, in several attempts if need be; without a size, as much as the server says."""
        failures, furthest = 0, _arrived(self.part)
        name = self.url.rsplit("/", 1)[-1]
        with tqdm(total=size, initial=furthest, unit="B", unit_scale=True, desc=name) as bar:
            while size is None or _arrived(self.part) < size:
                try:
                    size = self._transfer(size, bar)
                except _TransferError as error:
                    arrived = _arrived(self.part)
                    failures = 0 if arrived > furthest else failures + 1
                    furthest = max(furthest, arrived)
                    if failures == ATTEMPTS:
                        raise UserError(
                            f"{self.url}: cannot be downloaded ({error}); {self.by_hand}"
                        ) from error
                    log.info("%s: %s after %d bytes; going on", self.url, error, arrived)
                    time.sleep(WAIT_SECONDS * max(failures, 1))

    def _transfer(self, size: int | None, bar: tqdm) -> int:
        """One request: append to `part` what the server sends of the missing rest; the size of the whole."""
        have = _arrived(self.part)
        # "identity" and raw reads: a server that labels .gz as a content encoding must not have it decoded.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(
                self.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
            ) as answer:
                if answer.status_code == 416:  # of an unknown size, and nothing is missing
                    return self._all_there(answer, have)
                start, total = self._start(answer, have, size)
                bar.n, bar.total = start, total
                with open(self.part, "r+b" if start else "wb") as file:
                    file.seek(start)
                    for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                        file.write(chunk)
                        bar.update(len(chunk))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _TransferError(type(error).__name__) from error
        if total is not None and _arrived(self.part) < total:
            raise _TransferError("the server closed the connection early")
        return _arrived(self.part) if total is None else total

    def _start(self, answer: requests.Response, have: int, size: int | None) -> tuple[int, int | None]:
        """Offset of an answer's body and size of the whole file; refuses what is not the expected file."""
        status, url = f"HTTP {answer.status_code} {answer.reason}", self.url
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _TransferError(status)
        if answer.status_code not in (200, 206):
            raise UserError(f"{url}: {status}; {self.by_hand}")
        start = have if answer.status_code == 206 else 0  # 200: the server sends the file from its beginning
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            raise UserError(f"{url}: the server answered with another range than {have}-; {self.by_hand}")
        length = answer.headers.get("Content-Length")
        offered = None if length is None else start + int(length)
        if size is not None and offered not in (None, size):
            raise UserError(f"{url}: the server offers {offered} bytes, expected {size}")
        return start, offered if size is None else size

    def _all_there(self, answer: requests.Response, have: int) -> int:
        """The size, where the server has nothing beyond what has arrived."""
        if answer.headers.get("Content-Range") not in (None, "bytes */*", f"bytes */{have}"):
            self.part.unlink()  # of another file than the server has now
            raise _TransferError("what had arrived is longer than the file")
        return have


def _arrived(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
