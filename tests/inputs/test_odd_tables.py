"""Tables of images in odd encodings, and rows that say one image twice: read right, or refused by line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from odd_inputs import Row, outcome, rows

from das.data.sources import open_source
from das.data.sources.base import SourceSettings
from das.plan import own
from pictures import encode

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))
TEXT = 'path,label,caption\na/0.png,Bär,süß\r\nb.png,Zoë,"quoted, 日本"\n'
READ = (["a/0.png", "b.png"], ["Bär", "Zoë"], ["süß", "quoted, 日本"])


def table(
    what: str, content: bytes, *refused: str, link: tuple[str, str] | None = None, expected=None
) -> Row:
    """A row of a folder with a/0.png, b.png, a table, and perhaps a link and what it leads to."""

    def make(folder: Path) -> Path:
        (folder / "a").mkdir()
        for name in ("a/0.png", "b.png"):
            (folder / name).write_bytes(PICTURE)
        if link is not None:
            (folder / link[0]).symlink_to(link[1])
        (folder / "table.csv").write_bytes(content)
        return folder

    return Row(what, make, ("table.csv: ", *refused) if refused else (), expected)


def paths(what: str, *names: str, refused: tuple[str, ...] = (), link: tuple[str, str] | None = None) -> Row:
    """A row of a table with some paths alone."""
    content = "path\n" + "".join(f"{name}\n" for name in names)
    expected = (list(names), ["image"] * len(names), None)
    return table(what, content.encode(), *refused, link=link, expected=expected)


ROWS = [
    table("UTF-8", TEXT.encode(), expected=READ),
    table("commas alone in the last line", f"{TEXT},,\n".encode(), expected=READ),
    table("an empty path", b"path,label\n,cat\n", "line 2: path is empty"),
    table("UTF-8 with a mark", TEXT.encode("utf-8-sig"), expected=READ),
    table("UTF-16, little end first", b"\xff\xfe" + TEXT.encode("utf-16-le"), expected=READ),
    table("UTF-16, big end first", b"\xfe\xff" + TEXT.encode("utf-16-be"), expected=READ),
    table(
        "UTF-16 without a mark",
        "path\na/0.png\n".encode("utf-16-le"),
        "line 1: holds bytes of zero, as UTF-16 without a mark",
        "save the table as UTF-8",
    ),
    table("UTF-32", "path\na/0.png\n".encode("utf-32"), "holds bytes of zero", "UTF-8"),
    table("UTF-16 cut short", "path\na/0.png\n".encode("utf-16")[:-1], "not a table in UTF-16", "truncated"),
    table(
        "Latin-1",
        "path,label\nb.png,cat\na/0.png,Bär\n".encode("latin-1"),
        "line 3: byte 0xe4 is not UTF-8, but another encoding, such as Latin-1",
        "save the table as UTF-8 (in a spreadsheet: CSV UTF-8)",
    ),
    table("Latin-1 behind a mark", b"\xef\xbb\xbfpath\n\xe4.png\n", "line 2: byte 0xe4 is not UTF-8"),
    table("Windows-1252", "path,label\nb.png,“cat”\n".encode("cp1252"), "line 2: byte 0x93 is not UTF-8"),
    table("Shift-JIS", "path,label\nb.png,猫\n".encode("shift-jis"), "line 2: byte 0x94 is not UTF-8"),
    table(
        "text of a spreadsheet",
        "path\tlabel\na/0.png\tcat\n".encode("utf-16"),
        "no column path",
        "columns are separated by tabs, expected are commas",
    ),
    table("semicolons", b"path;label\na/0.png;cat\n", "columns are separated by semicolons"),
    table("a byte of zero", b"path\na/0.png\0\n", "line 2: holds bytes of zero"),
    table(
        "a Git LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    paths("a dot before a path", "./a/0.png", "b.png"),
    paths(
        "the same path", "b.png", "b.png", refused=("line 3: path 'b.png' is listed twice, first in line 2",)
    ),
    paths(
        "the same path with a dot",
        "b.png",
        "./b.png",
        refused=("line 3: path './b.png' is listed twice, first in line 2 as 'b.png'",),
    ),
    paths(
        "the same path with slashes",
        "a//0.png",
        "a/0.png",
        refused=("line 3: path 'a/0.png' is listed twice",),
    ),
    paths("a way back", "a/../b.png", refused=("line 2: path is 'a/../b.png', expected a path that stays",)),
    paths("a link", "a/0.png", "c.png", link=("c.png", "b.png")),
    paths(
        "a link and its image",
        "b.png",
        "c.png",
        link=("c.png", "b.png"),
        refused=("line 3: path 'c.png' is listed twice, first in line 2 as 'b.png'",),
    ),
    paths(
        "an image in a folder and by a link to it",
        "a/0.png",
        "d/0.png",
        link=("d", "a"),
        refused=("line 3: path 'd/0.png' is listed twice",),
    ),
    paths("a link to nothing", "c.png", link=("c.png", "gone.png"), refused=("line 2: no file", "c.png")),
    paths("a folder", "a", refused=("line 2: no file", "/a")),
    paths("a path of no file system", "x" * 300, refused=("line 2: no file", "File name too long")),
]


def opened(folder):
    source = open_source(SourceSettings("folder", folder=folder, table="table.csv"))
    classes = [source.class_names[label] for label in source.labels("train")]
    return source.paths("train"), classes, source.captions("train")


@rows(ROWS)
def test_odd_tables(row, tmp_path):
    assert outcome(row, tmp_path, opened) == (None if row.refused else row.expected)


@rows([row for row in ROWS if row.refused])
def test_they_are_refused_while_planning(row, tmp_path):
    outcome(row, tmp_path, planned)


def planned(folder):
    source = {"kind": "folder", "path": str(folder), "table": "table.csv"}
    settings = {
        "source": source,
        "queries": {},
        "model": {"family": "unet", "unet": "unet.json"},
        "generate": {},
        "split": {"val": 0},
    }
    own.complete(settings)
    own.require(settings)
    return settings["split"]["train"]


@rows([row for row in ROWS if not row.refused])
def test_images_are_counted_in_every_encoding(row, tmp_path):
    assert outcome(row, tmp_path, planned) == 2


def test_copies_that_share_what_they_hold_are_two_images(tmp_path):
    """As a tool makes them that saves space; two copies would be two images."""
    (tmp_path / "0.png").write_bytes(PICTURE)
    os.link(tmp_path / "0.png", tmp_path / "1.png")
    (tmp_path / "table.csv").write_text("path\n0.png\n1.png\n")
    assert opened(tmp_path)[0] == ["0.png", "1.png"]
