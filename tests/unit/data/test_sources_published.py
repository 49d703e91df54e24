"""What is published, and which files a data set is read from: known while the workflow plans."""

from __future__ import annotations

import pytest

from das.data.sources.locate import image_files, locate
from das.data.sources.published import PUBLISHED, published_file, published_files
from source_checks import message_of

CIFAR10 = "cifar-10-binary.tar.gz"


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return str(folder)


# What is published


def test_what_the_publishers_state():
    """Sizes and checksums as the data sets' pages and torchvision's loaders give them."""
    cifar10 = published_file(CIFAR10)
    assert cifar10.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert (cifar10.size, cifar10.md5) == (170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
    zipped, partition = PUBLISHED["celeba"]
    assert (zipped.size, zipped.md5) == (1_443_490_838, "00d2c5bc6d35e252742224ab0c1e8fcb")
    assert (partition.size, partition.md5) == (2_836_386, "d32c9cbf5e040fd4025c592c306e6668")
    assert zipped.url is partition.url is None
    assert not any(file.has_checksum for file in PUBLISHED["artbench"])


def test_a_mirror_serves_the_same_file_and_a_checksum_describes_another():
    mirror = published_file(CIFAR10, {"url": "https://mirror.example/c.tar.gz"})
    assert mirror.url == "https://mirror.example/c.tar.gz"
    assert (mirror.sha256, mirror.size) == (published_file(CIFAR10).sha256, 170_052_171)
    other = published_file(CIFAR10, {"sha256": "0" * 64})
    assert (other.sha256, other.size, other.md5) == ("0" * 64, None, None)
    assert published_file(CIFAR10, {"sha256": "0" * 64, "size": 5}).size == 5
    assert published_file(CIFAR10, {"sha256": published_file(CIFAR10).sha256}) == published_file(CIFAR10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 0}, "source.files.ArtBench-10.csv.size: found 0, allowed is a number of bytes from 1"),
        ({"sha256": "abc"}, "source.files.ArtBench-10.csv.sha256: found 'abc', allowed are 64 digits"),
        ({"url": "file:///etc/passwd"}, "source.files.ArtBench-10.csv.url: found 'file:///etc/passwd'"),
        ({"url": "ftp://example.org/x"}, "allowed are addresses with https:// or http://"),
        ({"md5": "0"}, "source.files.ArtBench-10.csv.md5: unknown key, allowed are url, size, sha256"),
    ],
)
def test_overrides_that_are_not_allowed(change, words):
    assert words in message_of(published_files, "artbench", {"ArtBench-10.csv": change})


def test_files_that_nobody_publishes():
    assert "unknown file 'cifar.zip', allowed are cifar-10" in message_of(published_file, "cifar.zip")
    message = message_of(published_files, "artbench", {CIFAR10: {}})
    assert message.endswith(
        f"unknown file {CIFAR10!r}, allowed are ArtBench-10.csv, artbench-10-imagefolder.tar"
    )


# Where files lie


def test_without_a_path_files_lie_in_data_whether_they_exist_or_not():
    assert locate("digits", None) == []
    assert locate("cifar10", None) == [f"data/{CIFAR10}"]
    assert locate("artbench", None) == ["data/ArtBench-10.csv", "data/artbench-10-imagefolder.tar"]
    assert locate("celeba", None) == ["data/img_align_celeba.zip", "data/list_eval_partition.txt"]


def test_a_path_to_the_archive_or_to_its_folder(tmp_path):
    folder = touched(tmp_path, CIFAR10, "mine.tar.gz")
    assert locate("cifar10", folder) == [f"{folder}/{CIFAR10}"]
    assert locate("cifar10", f"{folder}/mine.tar.gz") == [f"{folder}/mine.tar.gz"]


def test_published_files_come_before_the_hub_copy(tmp_path):
    names = ["img_align_celeba.zip", "list_eval_partition.txt"]
    folder = touched(tmp_path, "test-0.parquet", *names)
    assert locate("celeba", folder) == [f"{folder}/{name}" for name in names]


@pytest.mark.parametrize("kind", ["cifar10", "celeba"])
def test_parquet_files_are_found_at_any_depth_in_the_order_of_their_names(tmp_path, kind):
    names = ["a/test/0000.parquet", "a/train/0000.parquet", "a/train/0001.parquet", "b/train-0.parquet"]
    folder = touched(tmp_path, *reversed(names), ".cache/x.parquet", "a/README.md")
    assert locate(kind, folder) == [f"{folder}/{name}" for name in names]


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        ("cifar10", [], f"has no {CIFAR10}; expected are {CIFAR10}, or parquet files of the hub's copy"),
        (
            "celeba",
            ["img_align_celeba.zip"],
            "has no list_eval_partition.txt; expected are img_align_celeba.zip",
        ),
        (
            "artbench",
            ["ArtBench-10.csv", "train-0.parquet"],
            "has no artbench-10-imagefolder.tar; expected are",
        ),
        ("cifar10", ["cifar-10-batches-py/data_batch_1"], "holds the python version (cifar-10-batches-py)"),
        (
            "cifar10",
            ["data_batch_1", "data_batch_2"],
            f"binary version, {CIFAR10}, from https://www.cs.toronto",
        ),
    ],
)
def test_folders_without_what_is_needed(tmp_path, kind, names, words):
    message = message_of(locate, kind, touched(tmp_path, "README.md", *names))
    assert words in message
    assert repr(str(tmp_path)) in message


def test_paths_that_lead_nowhere(tmp_path):
    nowhere, file = str(tmp_path / "nowhere"), touched(tmp_path, "file") + "/file"
    message = message_of(locate, "cifar10", nowhere)
    assert message == f"source.path: no file or folder {nowhere!r}, expected {CIFAR10}"
    assert f"no file or folder {nowhere!r}, expected a folder with" in message_of(locate, "celeba", nowhere)
    assert f"{file!r} is a file, expected a folder with ArtBench-10.csv and" in message_of(
        locate, "artbench", file
    )
    assert "but digits has no file; remove it" in message_of(locate, "digits", file)
    assert "source.path: not set" in message_of(locate, "folder", None)
    assert f"no file or folder {nowhere!r}, expected a folder of images" in message_of(
        locate, "folder", nowhere
    )
    assert f"{file!r} is no folder" in message_of(locate, "folder", file)


def test_a_folder_of_images_has_no_files_but_its_table(tmp_path):
    folder = touched(tmp_path, "a.png", "table.csv")
    assert locate("folder", folder) == []
    assert locate("folder", folder, "table.csv") == [f"{folder}/table.csv"]
    message = message_of(locate, "folder", folder, "other.csv")
    assert message.startswith(f"source.table: no file '{folder}/other.csv'")


# Fingerprints


def test_images_are_found_by_suffix_in_any_case_and_hidden_files_are_not(tmp_path):
    names = ["A/1.PNG", "a/2.jpg", "a/3.jpeg", "b.WebP"]
    touched(tmp_path, *names, "a/.4.png", ".git/5.png", "a/notes.txt", "png")
    assert image_files(tmp_path) == names
