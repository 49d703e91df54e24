"""Folders with links, mixtures and what is out of reach: each image once, and what is left out is said."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from odd_inputs import Row, outcome, rows

from das.data.images import read_texts
from das.data.prepare import take_images
from das.data.sources.listing import list_folder, list_images
from das.data.sources.locate import image_files, locate
from das.errors import UserError
from das.plan import own
from pictures import encode
from workflow.running import ROOT, UNET

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PICTURE)
    return folder


def linked(what: str, names: str, links: dict[str, str], images: str, left_out: dict[str, int]) -> Row:
    """A row of a folder `in` with some files; links are made from its parent, in which `out` lies too."""

    def make(folder: Path) -> Path:
        filled(folder, *names.split())
        for link, target in links.items():
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).symlink_to(folder / target if target.startswith(("in", "out")) else target)
        return folder / "in"

    return Row(what, make, expected=(images.split(), left_out))


def refused(what: str, names: str, links: dict[str, str], *parts: str) -> Row:
    row = linked(what, names, links, "", {})
    return Row(what, row.make, parts)


ROWS = [
    linked("a class that is a link", "in/a/0.png out/b/1.png", {"in/b": "out/b"}, "a/0.png b/1.png", {}),
    linked(
        "images that are links",
        "out/0.png out/1.png",
        {"in/a/0.png": "out/0.png", "in/b/1.png": "out/1.png"},
        "a/0.png b/1.png",
        {},
    ),
    linked("a link to a link", "out/0.png", {"out/1.png": "out/0.png", "in/0.png": "out/1.png"}, "0.png", {}),
    linked("a class and a link to it", "in/b/0.png", {"in/a": "in/b"}, "b/0.png", {"there already (a)": 1}),
    linked(
        "two links to one folder",
        "out/0.png",
        {"in/b": "out", "in/a": "out"},
        "a/0.png",
        {"there already (b)": 1},
    ),
    linked(
        "two links to one image",
        "out/0.png",
        {"in/b.png": "out/0.png", "in/a.png": "out/0.png"},
        "a.png",
        {"there already (b.png)": 1},
    ),
    linked(
        "links to images that are there",
        "in/a/0.png in/a/1.png",
        {"in/a/2.png": "0.png", "in/a/3.png": "1.png"},
        "a/0.png a/1.png",
        {"there already (a/2.png, ...)": 2},
    ),
    linked(
        "an image linked alone and with its folder",
        "out/0.png out/1.png",
        {"in/a/0.png": "out/0.png", "in/b": "out"},
        "a/0.png b/1.png",
        {"there already (b/0.png)": 1},
    ),
    linked(
        "a link to its own folder",
        "in/a/0.png",
        {"in/a/again": "."},
        "a/0.png",
        {"link in a circle (a/again)": 1},
    ),
    linked(
        "a link to the folder of the folder",
        "in/a/0.png",
        {"in/up": ".."},
        "a/0.png",
        {"link in a circle (up)": 1},
    ),
    linked(
        "two folders that link to one another",
        "in/a/0.png in/b/1.png",
        {"in/a/b": "../b", "in/b/a": "../a"},
        "a/0.png b/1.png",
        {"there already (a/b, ...)": 2},
    ),
    linked(
        "a circle outside",
        "out/a/0.png",
        {"out/a/b": "out/b", "out/b/a": "out/a", "in/a": "out/a"},
        "a/0.png",
        {"link in a circle (a/b/a)": 1},
    ),
    linked("a link to a hidden folder", "in/.all/0.png", {"in/a": "in/.all"}, "a/0.png", {"hidden": 1}),
    linked(
        "suffixes of JPEG",
        "in/0.JPG in/1.Jpeg in/2.jpe in/3.jfif in/4.WEBP in/5.PNG",
        {},
        "0.JPG 1.Jpeg 2.jpe 3.jfif 4.WEBP 5.PNG",
        {},
    ),
    linked(
        "other files",
        "in/0.png in/1.gif in/2.GIF in/LICENSE in/a.png~",
        {},
        "0.png",
        {".gif": 2, ".png~": 1, "without suffix": 1},
    ),
    linked(
        "hidden files and folders",
        "in/0.png in/.1.png in/.git/2.png in/.git/x/3 in/._0.png",
        {},
        "0.png",
        {"hidden": 4},
    ),
    linked("a name that is not UTF-8", os.fsdecode(b"in/caf\xe9.png"), {}, os.fsdecode(b"caf\xe9.png"), {}),
    refused(
        "a class that is not UTF-8",
        os.fsdecode(b"in/caf\xe9/0.png"),
        {},
        "the name of a class is not UTF-8; rename the folder",
    ),
    refused(
        "a link to nothing",
        "in/0.png",
        {"in/1.png": "gone.png"},
        "in/1.png: is a link to 'gone.png', which",
        "No such file or directory; mend or remove it",
    ),
    refused(
        "a class that is a link to nothing", "in/a/0.png", {"in/b": "/gone/b"}, "in/b: is a link to '/gone/b'"
    ),
    refused(
        "a link to itself", "in/0.png", {"in/1.png": "1.png"}, "in/1.png: is a link to '1.png', which cannot"
    ),
    refused(
        "images beside classes", "in/a/0.png in/1.png", {}, "in/1.png: lies beside subfolders with images"
    ),
    refused("folders in folders", "in/a/b/0.png", {}, "in/a/b/0.png: lies in a folder inside a folder"),
    refused(
        "a link to folders of classes",
        "out/a/0.png",
        {"in/all": "out"},
        "in/all/a/0.png: lies in a folder inside a folder",
    ),
    refused(
        "a linked image beside classes",
        "in/a/0.png out/1.png",
        {"in/1.png": "out/1.png"},
        "in/1.png: lies beside subfolders",
    ),
]


@rows(ROWS)
def test_odd_folders(row, tmp_path):
    names = outcome(row, tmp_path, lambda folder: list_images(folder).names)
    if row.expected is not None:
        images, left_out = row.expected
        assert names == image_files(tmp_path / "in") == images
        assert list_folder(tmp_path / "in").left_out() == left_out


def planned(source, folder=None):
    """What the workflow asks before any job runs, and the starter before it writes a file."""
    queries = {} if folder is None else {"folder": folder}
    settings = {
        "source": source,
        "queries": queries,
        "model": {"family": "unet", "unet": "unet.json"},
        "split": {"train": 2, "val": 0},
    }
    own.complete(settings | {"generate": {}})
    own.require(settings)


@rows([row for row in ROWS if row.refused])
def test_they_are_refused_while_planning(row, tmp_path):
    outcome(row, tmp_path, lambda folder: planned({"kind": "folder", "path": str(folder)}))


def test_pictures_follow_links_and_are_named_too(tmp_path):
    filled(tmp_path, "in/a/0.png", "out/b/1.png")
    (tmp_path / "in/linked").symlink_to(tmp_path / "out")
    take_images(tmp_path / "in", (8, 8, 3), "mine", tmp_path / "gen.h5")
    assert read_texts(tmp_path / "gen.h5", "paths") == ["a/0.png", "linked/b/1.png"]
    (tmp_path / "in/2.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"in/2.png: is a link to 'gone.png', which cannot be read"):
        planned({"kind": "digits"}, str(tmp_path / "in"))


def test_the_hubs_copy_follows_links_too(tmp_path):
    (tmp_path / "blobs").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"blobs/{split}-0.parquet").write_bytes(b"")
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/plain_text").symlink_to(tmp_path / "blobs")
    folder = str(tmp_path / "cifar10")
    names = ("plain_text/test-0.parquet", "plain_text/train-0.parquet")
    assert locate("cifar10", folder) == [f"{folder}/{name}" for name in names]


def test_the_log_says_what_is_left_out(tmp_path):
    filled(tmp_path, "images/a/0.png", "images/a/1.png", "images/a/2.gif")
    (tmp_path / "images/b").symlink_to("a")
    script = ROOT / "workflow/scripts/prepare_images.py"
    options = {
        "--log": "log",
        "--dataset": "mine",
        "--source": '{"kind": "folder"}',
        "--split": '{"train": 2, "val": 0}',
        "--folder": "images",
        "--train": "train.h5",
        "--val": "val.h5",
    }
    command = [sys.executable, script, *(word for option in options.items() for word in option)]
    subprocess.run(command, cwd=tmp_path, check=True)
    line = "images: 2 images; left out: 1 .gif, 1 there already (b)\n"
    assert (tmp_path / "log").read_text().endswith(line)


def test_special_files_are_passed_over_and_do_not_hang(tmp_path):
    filled(tmp_path, "0.png")
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "3.png"))
        found = list_folder(tmp_path)
    assert found.images == ["0.png"]
    assert str(found) == f"{tmp_path}: 1 images; left out: 3 neither file nor folder"


@contextlib.contextmanager
def without_privileges():
    """Root may read everything; for a moment, be nobody."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_folders_and_files_that_cannot_be_read_are_named():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = filled(Path(name), "a/0.png", "b/1.png")
        folder.chmod(0o755)
        (folder / "a").chmod(0)
        with without_privileges(), pytest.raises(UserError) as caught:
            list_folder(folder)
        assert str(caught.value) == f"{folder}/a: cannot be read: Permission denied"
        (folder / "a").chmod(0o755)
        (folder / "a/0.png").chmod(0)
        with without_privileges(), pytest.raises(UserError) as caught:
            take_images(folder, (8, 8, 3), "mine", folder / "gen.h5")
        assert str(caught.value) == f"{folder}/a/0.png: cannot be read: Permission denied"


def test_a_path_that_is_too_long_is_named(tmp_path):
    there = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=there)
        there, above = os.open("d" * 250, os.O_RDONLY, dir_fd=there), there
        os.close(above)
    os.close(there)
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        list_folder(tmp_path)


def test_a_message_is_one_line_whatever_files_are_called(tmp_path):
    name = os.fsdecode(b"two\nlines \xe9.png")
    filled(tmp_path, f"a/{name}", "0.png")
    with pytest.raises(UserError) as caught:
        list_images(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/0.png: lies beside")
    (tmp_path / name).symlink_to(f"a/{name}")
    assert str(list_folder(tmp_path)).endswith(
        "2 images; left out: 1 there already (two\\nlines \\udce9.png)"
    )
    (tmp_path / "0.png").unlink()
    (tmp_path / f"a/{name}").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        take_images(tmp_path, (8, 8, 3), "mine", tmp_path / "gen.h5")
    assert (
        str(caught.value)
        == f"{tmp_path}/a/two\\nlines \\udce9.png: is empty, expected a PNG, JPEG or WebP image"
    )


def test_the_starter_says_what_is_left_out_and_refuses_what_a_job_would(tmp_path):
    DDPMPipeline(UNet2DModel.from_config(UNET), DDPMScheduler()).save_pretrained(tmp_path / "model")
    filled(tmp_path, "images/a/0.png", "out/1.png", "out/2.png", "images/a/.3.png")
    (tmp_path / "images/a/notes.txt").write_text("")
    (tmp_path / "images/b").symlink_to(tmp_path / "out")
    (tmp_path / "images/b/all").symlink_to(tmp_path / "images")

    def started(name):
        script = ROOT / "workflow/scripts/new_dataset.py"
        command = [
            sys.executable,
            script,
            name,
            "--folder",
            "datasets",
            "--images",
            "images",
            "--model",
            "model",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    (tmp_path / "datasets").mkdir()
    status, said = started("mine")
    assert status == 0
    assert "images: 3 images; left out: 1 .txt, 1 hidden, 1 link in a circle (b/all)\n" in said
    filled(tmp_path, "images/9.png")
    status, said = started("yours")
    assert (status, said) == (
        1,
        "error: images/9.png: lies beside subfolders with images; expected are images in "
        "subfolders alone, one for each class, or no subfolders\n",
    )
    assert not (tmp_path / "datasets/yours.yaml").exists()
