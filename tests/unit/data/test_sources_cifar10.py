"""CIFAR-10 has the right pixels under the right index in both layouts, and refuses what is not theirs."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import standins
from das.data.sources import cifar10, cifar10_hub, open_source, published
from das.data.sources.base import Source, SourceSettings
from pictures import encode
from source_checks import message_of, opened, read_all

FOLDER = "cifar-10-batches-bin"
NAME = "cifar-10-binary.tar.gz"


def settings_of(standin: standins.StandIn) -> SourceSettings:
    return SourceSettings("cifar10", (standin.path,), files={NAME: standin.override})


def open_archive(standin: standins.StandIn) -> Source:
    return open_source(settings_of(standin))


@pytest.fixture(scope="module")
def standin(tmp_path_factory) -> standins.StandIn:
    return standins.cifar10_archive(tmp_path_factory.mktemp("cifar10") / NAME)


@pytest.fixture(scope="module")
def batches() -> dict:
    return standins.cifar10_batches()


@pytest.fixture(scope="module")
def hub(tmp_path_factory, batches) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    standins.cifar10_hub(folder, batches)
    return folder


def test_cifar10_planes_are_decoded_as_the_format_says(tmp_path):
    """One record written byte by byte; a transposed or interleaved decoding would not match."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    record = standins.cifar10_record(7, image)
    assert standins.cifar10_content(np.array([7]), image[None]) == record
    members = [(f"{FOLDER}/{name}.bin", record) for name in standins.MEMBERS]
    source = open_archive(standins.write_archive(tmp_path / "one.tar.gz", members))
    assert np.array_equal(read_all(source, "train", np.array([0]))[0], image)
    assert source.labels("test").tolist() == [7]


def test_cifar10_is_in_the_order_of_the_hub(standin, batches):
    """Published indices count from batch 4; the members' order in the archive must not matter."""
    source = open_archive(standin)
    labels, images = standins.hub_order(batches)
    assert np.array_equal(source.labels("train"), labels)
    assert np.array_equal(read_all(source, "train", np.arange(len(labels))), images)
    assert np.array_equal(source.labels("test"), batches["test_batch"][0])
    assert np.array_equal(read_all(source, "test", np.arange(40)), batches["test_batch"][1])


def test_cifar10_serves_any_choice_of_indices_in_any_order(standin, batches):
    indices = np.random.default_rng(1).permutation(200)[:70]
    indices[3] = indices[5]  # the same image twice
    assert np.array_equal(
        read_all(open_archive(standin), "train", indices), standins.hub_order(batches)[1][indices]
    )


@pytest.mark.parametrize("index", [-1, 200])
def test_cifar10_does_not_ignore_an_index_out_of_range(standin, index):
    with pytest.raises(IndexError):
        list(open_archive(standin).read("train", np.array([0, index])))


def test_cifar10_streams(tmp_path):
    """Reading takes memory for a batch of records, not for the archive."""
    source = open_archive(standins.cifar10_archive(tmp_path / "large.tar.gz", per_batch=1500))
    content = 6 * 1500 * 3073
    tracemalloc.start()
    try:
        seen = sum(len(images) for _, images in source.read("train", np.arange(7500)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 7500
    assert peak < content / 3, f"peak of {peak} bytes for an archive of {content}"


def test_cifar10_unpacks_nothing(standin):
    before = set(standin.path.parent.rglob("*"))
    source = open_archive(standin)
    read_all(source, "train", np.arange(200))
    assert set(standin.path.parent.rglob("*")) == before


def test_cifar10_says_that_a_standin_was_not_checked(standin):
    assert not open_archive(standin).is_published
    assert "not checked" in open_archive(standin).check()
    assert standin.sha256 in open_archive(standin).check()


# The published archive. Its facts are checked by treating a stand-in as the published one.


def treat_as_published(monkeypatch, standin: standins.StandIn, member_bytes: int) -> None:
    (file,) = published.PUBLISHED["cifar10"]
    md5 = hashlib.md5(standin.path.read_bytes()).hexdigest()
    changed = replace(file, size=standin.size, sha256=standin.sha256, md5=md5)
    monkeypatch.setitem(published.PUBLISHED, "cifar10", (changed,))
    monkeypatch.setattr(cifar10, "MEMBER_BYTES", member_bytes)


def test_first_labels_of_the_published_archive_are_checked(tmp_path, monkeypatch, batches):
    published = {name: (labels.copy(), images) for name, (labels, images) in batches.items()}
    published["data_batch_1"][0][:10] = [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    published["data_batch_4"][0][:5] = [0, 6, 0, 2, 7]
    published["test_batch"][0][:5] = [3, 8, 8, 0, 6]
    members = standins.cifar10_members(published)
    good = standins.write_archive(tmp_path / "good.tar.gz", members)
    treat_as_published(monkeypatch, good, 40 * 3073)
    source = open_archive(good)
    assert source.is_published
    assert "agree" in source.check()
    assert source.labels("train")[:5].tolist() == [0, 6, 0, 2, 7]

    published["data_batch_4"][0][:5] = [6, 9, 9, 4, 1]
    wrong = standins.write_archive(tmp_path / "wrong.tar.gz", standins.cifar10_members(published))
    treat_as_published(monkeypatch, wrong, 40 * 3073)
    message = message_of(open_archive(wrong).check)
    assert "data_batch_4" in message
    assert "[6, 9, 9, 4, 1]" in message
    assert "[0, 6, 0, 2, 7]" in message


def test_member_size_of_the_published_archive_is_checked(standin, monkeypatch):
    treat_as_published(monkeypatch, standin, 30_730_000)
    message = message_of(open_archive(standin).labels, "train")
    assert "data_batch_1.bin has 122920 bytes, expected 30730000" in message


# For whoever has the archive: DAS_CIFAR10=cifar-10-binary.tar.gz pytest test_sources_cifar10.py
if "DAS_CIFAR10" in os.environ:

    def test_published_indices_come_out_of_the_published_archive():
        """Indices that D-TRAK's notebook for CIFAR2 shows: they depend on the label of every image."""
        source = open_source(SourceSettings("cifar10", (Path(os.environ["DAS_CIFAR10"]),)))
        assert "agree" in source.check()

        def half(indices, part, size, seed):
            return train_test_split(
                indices, train_size=size, random_state=seed, stratify=source.labels(part)[indices]
            )[0]

        pools = {part: np.flatnonzero(np.isin(source.labels(part), [1, 7])) for part in ("train", "test")}
        train = half(pools["train"], "train", 5000, 42)
        assert half(train, "train", 0.5, 42)[:5].tolist() == [10392, 44460, 16163, 49891, 13381]
        assert half(train, "train", 0.5, 58)[:5].tolist() == [4871, 21837, 20107, 553, 20868]
        assert half(pools["test"], "test", 1000, 42)[:5].tolist() == [7405, 5226, 1363, 6615, 7612]


# Files that are not what they should be


def test_truncated_archive(standin, tmp_path):
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(standin.path.read_bytes()[:-100])
    message = message_of(open_archive, standins.StandIn(path, standin.size, standin.sha256))
    assert f"{path}: truncated: found {standin.size - 100} bytes, expected {standin.size}" in message


@pytest.mark.parametrize("keep", [0, 5, 20_000])
def test_archive_that_was_cut_before_its_hash_was_taken(standin, tmp_path, keep):
    """What the settings promise can be wrong too: the member that breaks off must not pass."""
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(standin.path.read_bytes()[:keep])
    cut = standins.StandIn(path, max(keep, 1), hashlib.sha256(path.read_bytes()).hexdigest())
    assert str(path) in message_of(lambda: open_archive(cut).labels("train"))


def test_wrong_hash(standin):
    other = "0" * 64
    message = message_of(open_archive, standins.StandIn(standin.path, standin.size, other))
    assert f"{standin.path}: wrong content: found sha256 {standin.sha256}, expected {other}" in message


def test_missing_archive(tmp_path):
    path = tmp_path / "none.tar.gz"
    message = message_of(open_archive, standins.StandIn(path, 1, "0" * 64))
    assert f"{path}: no such file" in message
    assert "source.path" in message


def test_python_version_is_refused_before_anything_else(tmp_path):
    members = [("cifar-10-batches-py/data_batch_4", b"\x80\x02}q\x01.")]
    made = standins.write_archive(tmp_path / "cifar-10-python.tar.gz", members)
    message = message_of(open_source, SourceSettings("cifar10", (made.path,)))
    assert str(made.path) in message
    assert "pickles are not read" in message
    assert "cifar-10-binary.tar.gz" in message


def test_pickles_in_a_single_file_or_a_folder_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    message = message_of(opened, "cifar10", tmp_path)
    assert "pickles are not read" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in message


def damaged(tmp_path: Path, batches: dict, change) -> standins.StandIn:
    return standins.write_archive(tmp_path / "damaged.tar.gz", change(standins.cifar10_members(batches)))


def test_member_of_a_wrong_size(tmp_path, batches):
    def cut(members):
        return [(n, c[:-1]) if n.endswith("data_batch_3.bin") else (n, c) for n, c in members]

    message = message_of(open_archive(damaged(tmp_path, batches, cut)).labels, "train")
    assert f"data_batch_3.bin has {40 * 3073 - 1} bytes, expected a multiple of 3073" in message


def test_empty_member(tmp_path, batches):
    def empty(members):
        return [(n, b"") if n.endswith("test_batch.bin") else (n, c) for n, c in members]

    assert "test_batch.bin has 0 bytes" in message_of(
        open_archive(damaged(tmp_path, batches, empty)).labels, "test"
    )


def test_missing_member(tmp_path, batches):
    def remove(members):
        return [m for m in members if not m[0].endswith("data_batch_5.bin")]

    message = message_of(open_archive(damaged(tmp_path, batches, remove)).labels, "train")
    assert f"no member {FOLDER}/data_batch_5.bin" in message


def test_label_out_of_range_names_member_and_record(tmp_path, batches):
    changed = {name: (labels.copy(), images) for name, (labels, images) in batches.items()}
    changed["data_batch_2"][0][17] = 10
    source = open_archive(damaged(tmp_path, changed, list))
    message = message_of(source.labels, "train")
    assert f"member {FOLDER}/data_batch_2.bin, record 17: label is 10, allowed is 0 to 9" in message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_in_place_of_a_batch_is_not_followed(tmp_path, batches, kind):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(3073))

    def link(members):
        entry = tarfile.TarInfo(f"{FOLDER}/data_batch_1.bin")
        entry.type, entry.linkname = kind, str(secret)
        return [entry, *members[1:]]

    message = message_of(open_archive(damaged(tmp_path, batches, link)).labels, "train")
    assert "data_batch_1.bin is a link or a special file" in message


def test_members_that_escape_are_never_touched(tmp_path, batches):
    """Other members, wherever they point, are passed over; nothing appears on the disk."""
    inside = tmp_path / "inside"
    inside.mkdir()

    def escape(members):
        link = tarfile.TarInfo(f"{FOLDER}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        return [("../escaped.bin", b"x"), ("/tmp/escaped.bin", b"x"), link, *members]

    source = open_archive(damaged(inside, batches, escape))
    assert np.array_equal(source.labels("train"), standins.hub_order(batches)[0])
    read_all(source, "train", np.arange(200))
    assert {p.name for p in tmp_path.rglob("*")} == {"inside", "damaged.tar.gz"}


def test_not_an_archive(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<html>not found</html>")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = open_archive(standins.StandIn(path, path.stat().st_size, digest))
    assert f"{path}: not a readable .tar.gz archive" in message_of(source.labels, "train")


# The hub's copy


def test_both_layouts_have_the_same_images_under_the_same_index(hub, standin):
    copy, archive = opened("cifar10", hub), open_archive(standin)
    assert type(copy) is not type(archive)
    assert copy.class_names == archive.class_names
    for split in ("train", "test"):
        assert np.array_equal(copy.labels(split), archive.labels(split))
        assert np.array_equal(copy.indices(split), archive.indices(split))
        assert np.array_equal(read_all(copy, split), read_all(archive, split))
    indices = np.random.default_rng(2).permutation(200)[:30]
    indices[3] = indices[5]
    assert np.array_equal(read_all(copy, "train", indices), read_all(archive, "train", indices))


@pytest.mark.parametrize("index", [-1, 200])
def test_the_hub_copy_does_not_ignore_an_index_out_of_range(hub, index):
    with pytest.raises(IndexError):
        list(opened("cifar10", hub).read("train", np.array([0, index])))


def test_first_labels_of_the_hub_copy_are_compared(tmp_path, monkeypatch, batches):
    def made(name, first_train, first_test):
        changed = {key: (labels.copy(), images) for key, (labels, images) in batches.items()}
        changed["data_batch_4"][0][:5] = first_train
        changed["test_batch"][0][:5] = first_test
        standins.cifar10_hub(tmp_path / name, changed)
        return opened("cifar10", tmp_path / name)

    good = made("good", [0, 6, 0, 2, 7], [3, 8, 8, 0, 6])
    assert "agree with the published order" in good.check()
    assert not good.is_published, "no checksum is published for it"
    wrong = made("wrong", [0, 6, 0, 2, 7], [8, 3, 8, 0, 6])
    assert "not the published order" in wrong.check()
    monkeypatch.setattr(cifar10_hub, "COUNTS", {"train": 200, "test": 40})
    assert "agree" in good.check()
    message = message_of(wrong.check)
    assert "test-00000-of-00001.parquet: first labels of the test split are [8, 3, 8, 0, 6]" in message


def test_hub_copy_with_a_wrong_label_or_column(tmp_path):
    picture = encode(np.zeros((32, 32, 3), np.uint8))
    for split in ("train", "test"):
        standins.write_parquet(tmp_path / f"{split}-0.parquet", [picture] * 3, "img", label=[0, 1, 2])
    assert opened("cifar10", tmp_path).labels("test").tolist() == [0, 1, 2]
    standins.write_parquet(tmp_path / "test-0.parquet", [picture] * 3, "img", label=[0, 10, None])
    message = message_of(opened, "cifar10", tmp_path)
    assert f"{tmp_path}/test-0.parquet: row 1: label is 10, allowed is 0 to 9" in message
    standins.write_parquet(tmp_path / "test-0.parquet", [picture] * 3, "img", fine_label=[0, 1, 2])
    message = message_of(opened, "cifar10", tmp_path)
    assert "no column label, it holds img.bytes, img.path, fine_label" in message
    (tmp_path / "test-0.parquet").unlink()
    assert "no parquet file of the test split" in message_of(opened, "cifar10", tmp_path)


def test_hub_copy_with_an_image_of_another_size(tmp_path):
    pictures = [encode(np.zeros((side, side, 3), np.uint8)) for side in (32, 28)]
    for split in ("train", "test"):
        standins.write_parquet(tmp_path / f"{split}-0.parquet", pictures, "img", label=[0, 1])
    message = message_of(read_all, opened("cifar10", tmp_path), "test")
    assert "test-0.parquet: row 1: is 28x28 pixels" in message
    assert "32x32" in message
    assert "source.crop" not in message, "CIFAR-10 is used as it is"
