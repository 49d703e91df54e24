"""A download survives breaks, never leaves a half file, and says in one line what is wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from das.data import download
from das.data.sources.published import PublishedFile, published_file
from das.errors import UserError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
KNOWN = {"size": len(CONTENT), "sha256": SHA256}


class Server(ThreadingHTTPServer):
    """Serves CONTENT. `breaks` lists after how many bytes to hang up, one entry per request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int | None] = []
        self.supports_ranges = True
        self.states_length = True
        self.status: int | None = None
        self.ranges: list[str | None] = []  # of each request
        self.extra_headers: dict[str, str] = {}
        self.content = CONTENT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.status:
            self.send_error(self.server.status)
            return
        ranged = asked is not None and self.server.supports_ranges
        content = self.server.content
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if ranged else 200)
        if self.server.states_length:
            self.send_header("Content-Length", str(len(content) - start))
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in self.server.extra_headers.items():
            self.send_header(name, value)
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else None
        self.wfile.write(content[start : None if stop is None else start + stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "file.bin"


def published(url: str | None, **known) -> PublishedFile:
    """The file as its publisher describes it, by default with size and sha256."""
    return PublishedFile("file.bin", "https://example.org/", url, **(known or KNOWN))


def fetch(server: Server, target: Path, **known) -> None:
    download.fetch(published(server.url, **known), target)


def refused(action, *arguments, **named) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def files(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir())


def test_downloads_in_one_go(server, target):
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert files(target) == ["file.bin"]


def test_goes_on_after_breaks_where_it_was(server, target):
    server.breaks = [1_000_000, 500_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_goes_on_in_a_later_call(server, target):
    """The job was killed: what had arrived is used by the next one."""
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT[:2_000_000])
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=2000000-"]


def test_starts_again_where_the_server_cannot_go_on(server, target):
    server.supports_ranges = False
    server.breaks = [2_000_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=2000000-"]


def test_a_complete_part_is_not_downloaded_again(server, target):
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == []


def test_content_encoding_is_not_undone(server, target):
    """Some servers call every .gz a gzip-encoded answer; decoding would change the file."""
    server.extra_headers = {"Content-Encoding": "gzip"}
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_gives_up_when_nothing_more_arrives(server, target):
    server.breaks = [1000] + [0] * 10
    message = refused(fetch, server, target)
    assert server.url in message
    assert "`source.path`" in message
    assert len(server.ranges) == 1 + download.ATTEMPTS
    assert files(target) == [".file.bin.part"], "what arrived is kept, the target does not appear"


def test_gives_up_on_a_server_that_never_gets_further(server, target):
    server.supports_ranges = False
    server.breaks = [2000, 1000, 2000, 1000, 2000, 1000, 2000]
    assert "cannot be downloaded" in refused(fetch, server, target)


def test_no_network(server, target):
    server.server_close()
    message = refused(fetch, server, target)
    assert f"{server.url}: cannot be downloaded (ConnectionError)" in message
    assert f"download it by hand to {target}, or set `source.path`" in message


def test_page_not_found_is_final(server, target):
    server.status = 404
    assert f"{server.url}: HTTP 404 Not Found; download it by hand to" in refused(fetch, server, target)
    assert len(server.ranges) == 1


def test_server_error_is_tried_again(server, target):
    server.status = 503
    assert "(HTTP 503 Service Unavailable)" in refused(fetch, server, target)
    assert len(server.ranges) == download.ATTEMPTS


def test_file_of_another_size_is_not_downloaded(server, target):
    server.content = CONTENT[:-1]
    message = refused(fetch, server, target)
    assert f"{server.url}: the server offers 2999999 bytes, expected 3000000" in message
    assert files(target) == []


def test_wrong_content_is_removed(server, target):
    message = refused(fetch, server, target, sha256="0" * 64)
    assert f"{server.url}: wrong content: found sha256 {SHA256}, expected {'0' * 64}" in message
    assert files(target) == [], "going on from wrong bytes would never end well"


def test_earlier_file_is_kept_when_a_download_fails(server, target):
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    server.status = 404
    refused(fetch, server, target)
    assert target.read_bytes() == b"earlier"


def test_a_file_that_programs_may_not_download_is_to_be_fetched_by_hand(target):
    message = refused(download.fetch, published_file("img_align_celeba.zip"), target)
    assert message.startswith(f"{target}: img_align_celeba.zip has no address from which a program may")
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (for non-commercial research only)" in message
    assert "place it there, or set `source.path`" in message
    assert not target.parent.exists()


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "file.bin"
    assert f"{target}: cannot be written" in refused(fetch, server, target)


def test_check_accepts_the_right_file(target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert download.check(target, published(None)) == SHA256
    assert download.check(target, published(None, md5=MD5)) == SHA256
    assert files(target) == ["file.bin"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (CONTENT[:-7], "truncated: found 2999993 bytes, expected 3000000"),
        (CONTENT + b"x", "too long: found 3000001 bytes, expected 3000000"),
        (b"x" + CONTENT[1:], f"expected {SHA256}"),
    ],
)
def test_check_names_what_is_wrong(target, content, words):
    target.parent.mkdir()
    if content is not None:
        target.write_bytes(content)
    message = refused(download.check, target, published(None))
    assert message.startswith(f"{target}: ")
    assert words in message


# Files of which nothing is published


UNKNOWN = {"size": None}


def test_the_checksum_of_a_first_download_is_kept_and_holds(server, target):
    fetch(server, target, **UNKNOWN)
    assert target.read_bytes() == CONTENT
    beside = target.with_name("file.bin.sha256")
    assert beside.read_text() == f"{SHA256}  file.bin\n", "as sha256sum writes it"
    assert files(target) == ["file.bin", "file.bin.sha256"]
    assert download.check(target, published(None, **UNKNOWN)) == SHA256
    server.content = CONTENT[:-1] + b"x"
    assert f"wrong content: found sha256 {sha256_of(server.content)}, expected {SHA256}" in refused(
        fetch, server, target, **UNKNOWN
    )
    assert target.read_bytes() == CONTENT
    target.write_bytes(server.content)
    assert "wrong content" in refused(download.check, target, published(None, **UNKNOWN))


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unknown_size_is_learnt_and_breaks_are_survived(server, target):
    server.breaks = [1_000_000, 500_000]
    fetch(server, target, **UNKNOWN)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_complete_part_of_unknown_size_is_complete(server, target):
    """The server has nothing beyond it: HTTP 416."""
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT)
    fetch(server, target, **UNKNOWN)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=3000000-"]


def test_a_part_that_is_longer_than_the_file_is_not_taken_for_it(server, target):
    """The publisher has replaced the file by a shorter one."""
    target.parent.mkdir()
    (target.parent / ".file.bin.part").write_bytes(CONTENT)
    server.content = CONTENT[:2_000_000]
    fetch(server, target, **UNKNOWN)
    assert target.read_bytes() == CONTENT[:2_000_000]
    assert server.ranges == ["bytes=3000000-", None]


def test_a_server_that_does_not_say_how_much_there_is(server, target):
    server.states_length = False
    fetch(server, target, **UNKNOWN)
    assert target.read_bytes() == CONTENT


def test_a_published_md5_is_compared(server, target):
    fetch(server, target, md5=MD5)
    message = refused(fetch, server, target, md5="0" * 32)
    assert f"{server.url}: wrong content: found md5 {MD5}, expected {'0' * 32}" in message


def test_a_published_checksum_is_not_kept_again(server, target):
    fetch(server, target)
    assert files(target) == ["file.bin"]
