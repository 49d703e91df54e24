"""A download survives breaks, never leaves a half file, and says in one line what is wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from das import download
from das.errors import UserError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT. `breaks` lists after how many bytes to hang up, one entry per request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int | None] = []
        self.supports_ranges = True
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
        self.send_response(206 if ranged else 200)
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


def fetch(server: Server, target: Path, sha256: str = SHA256, size: int = len(CONTENT)) -> None:
    download.fetch(server.url, target, size, sha256)


def refused(action, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
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
    assert "place the file by hand and set `source.path`" in message


def test_page_not_found_is_final(server, target):
    server.status = 404
    assert f"{server.url}: HTTP 404 Not Found; place the file by hand" in refused(fetch, server, target)
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
    message = refused(fetch, server, target, "0" * 64)
    assert f"{server.url}: wrong content: found sha256 {SHA256}, expected {'0' * 64}" in message
    assert files(target) == [], "going on from wrong bytes would never end well"


def test_earlier_file_is_kept_when_a_download_fails(server, target):
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    server.status = 404
    refused(fetch, server, target)
    assert target.read_bytes() == b"earlier"


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://example.org/x"])
def test_other_addresses_are_refused(target, url):
    message = refused(download.fetch, url, target, 1, SHA256)
    assert f"source.url: found {url!r}, allowed are" in message


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "file.bin"
    assert f"{target}: cannot be written" in refused(fetch, server, target)


def test_check_accepts_the_right_file(target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    download.check(target, len(CONTENT), SHA256)


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
    message = refused(download.check, target, len(CONTENT), SHA256)
    assert message.startswith(f"{target}: ")
    assert words in message
