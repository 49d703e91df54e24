"""CelebA: faces counted within their split, out of the publisher's archive or the hub's copy."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import standins
from das.data.sources import published
from source_checks import message_of, opened, peak_of_reading, read_all


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> standins.Celeba:
    return standins.celeba(tmp_path_factory.mktemp("celeba"))


def names_of(made: standins.Celeba, number: str) -> list[str]:
    return [name for name in sorted(made.images) if made.splits[name] == number]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("split", "number"), [("train", "0"), ("test", "2")])
def test_images_are_those_of_the_partition_in_its_order(made, split, number):
    source = opened("celeba", made.folder, files=made.files)
    assert source.class_names == ("face",)
    assert source.image_shape == (218, 178, 3)
    names = names_of(made, number)
    assert source.labels(split).tolist() == [0] * len(names)
    assert source.indices(split).tolist() == list(range(len(names)))
    assert np.array_equal(read_all(source, split), np.stack([pixels(made.images[n]) for n in names]))


def test_validation_images_of_the_publisher_are_not_used(made):
    source = opened("celeba", made.folder, files=made.files)
    used = {name.split("/")[1] for table in source.tables.values() for name in table.names}
    assert used == set(made.images) - set(names_of(made, "1"))


def test_images_are_cropped_and_resized_as_published(made):
    source = opened("celeba", made.folder, files=made.files, crop=140, resize=64)
    assert source.image_shape == (64, 64, 3)
    expected = [pixels(made.images[name])[39:179, 19:159] for name in names_of(made, "2")]
    expected = [Image.fromarray(i).resize((64, 64), Image.Resampling.BILINEAR) for i in expected]
    assert np.array_equal(read_all(source, "test"), np.stack(expected))


def test_the_hub_copy_has_the_same_images_under_the_same_index(made, tmp_path):
    standins.celeba_hub(tmp_path, made)
    settings = {"crop": 140, "resize": 64}
    copy = opened("celeba", tmp_path, **settings)
    archive = opened("celeba", made.folder, files=made.files, **settings)
    assert copy.kind == archive.kind
    assert "not checked" in copy.check()
    for split in ("train", "test"):
        assert np.array_equal(copy.indices(split), archive.indices(split))
        assert np.array_equal(read_all(copy, split), read_all(archive, split))
    message = message_of(opened, "celeba", tmp_path, files=made.files)
    assert "source.files: describe the archive, but parquet files were found" in message


def test_parquet_files_in_folders_by_split(made, tmp_path):
    standins.celeba_hub(tmp_path / "hub", made)
    for split in ("train", "valid", "test"):
        (tmp_path / "by_split" / split).mkdir(parents=True)
        for part, path in enumerate(sorted((tmp_path / "hub").rglob(f"{split}-*.parquet"))):
            path.rename(tmp_path / "by_split" / split / f"{part:04d}.parquet")
    source = opened("celeba", tmp_path / "by_split")
    assert [len(source.labels(split)) for split in ("train", "test")] == [20, 8]
    assert np.array_equal(read_all(source, "test")[5], pixels(made.images[names_of(made, "2")[5]]))


def test_a_standin_is_not_the_published_archive(made):
    source = opened("celeba", made.folder, files=made.files)
    assert not source.is_published
    assert source.check().count("not the published file, content not checked") == 2


def test_files_that_agree_with_the_published_md5_are_the_published_ones(made, monkeypatch):
    files = []
    for file in published.PUBLISHED["celeba"]:
        content = (made.folder / file.name).read_bytes()
        files.append(replace(file, size=len(content), md5=hashlib.md5(content).hexdigest()))
    monkeypatch.setitem(published.PUBLISHED, "celeba", tuple(files))
    source = opened("celeba", made.folder)
    assert source.is_published
    assert source.check().count("the published file") == 2
    wrong = replace(files[0], md5="0" * 32)
    monkeypatch.setitem(published.PUBLISHED, "celeba", (wrong, files[1]))
    message = message_of(opened, "celeba", made.folder)
    assert "img_align_celeba.zip: wrong content: found md5" in message


def test_a_file_of_another_size(made):
    message = message_of(opened, "celeba", made.folder)
    assert "img_align_celeba.zip: truncated: found" in message
    assert "expected 1443490838" in message


def partitioned(folder, made, text):
    """A copy of the stand-in with another partition, and what to state about it."""
    for path in made.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "list_eval_partition.txt").write_text(text)
    return made.files | {
        "list_eval_partition.txt": standins.stand_in(folder / "list_eval_partition.txt").override
    }


@pytest.mark.parametrize("line", ["000003.jpg 3", "000003.jpg", "000003.jpg 0 1", "0"])
def test_a_bad_line_is_named_by_its_number(made, tmp_path, line):
    files = partitioned(tmp_path, made, f"000001.jpg 0\n\n000002.jpg 2\n{line}\n")
    message = message_of(opened, "celeba", tmp_path, files=files)
    assert f"list_eval_partition.txt: line 4: found {line!r}, expected a name and 0, 1 or 2" in message


def test_any_white_space_separates(made, tmp_path):
    files = partitioned(tmp_path, made, "000001.jpg\t0\r\n 000002.jpg   2\n")
    source = opened("celeba", tmp_path, files=files)
    assert source.tables["train"].names == ["img_align_celeba/000001.jpg"]
    assert source.tables["test"].names == ["img_align_celeba/000002.jpg"]


def test_an_image_that_the_archive_lacks(made, tmp_path):
    files = partitioned(tmp_path, made, "000001.jpg 0\n000099.jpg 0\n000001.jpg 2\n")
    message = message_of(read_all, opened("celeba", tmp_path, files=files), "train")
    assert message == f"{tmp_path}/img_align_celeba.zip: no member img_align_celeba/000099.jpg"


def test_memory_is_for_a_batch(tmp_path):
    made = standins.celeba(tmp_path, counts=(150, 1, 1))
    peak, total = peak_of_reading(opened("celeba", tmp_path, files=made.files), "train")
    assert total == 150 * 178 * 218 * 3
    assert peak < total / 2, f"peak of {peak} bytes for images of {total}"
