"""ArtBench-10: paintings under the numbers of the table's rows, from an archive with its own order."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

import standins
from pictures import encode
from source_checks import message_of, opened, peak_of_reading, read_all


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> standins.ArtBench:
    return standins.artbench(tmp_path_factory.mktemp("artbench"), size=32)


def written(folder, rows, images=()):
    standins.write_table(folder / "ArtBench-10.csv", rows)
    standins.write_tar(folder / "artbench-10-imagefolder.tar", images)
    return folder


def row(**changes):
    return {"name": "a.jpg", "label": "baroque", "split": "train"} | changes


def test_images_labels_and_numbers_are_those_of_the_rows(made):
    source = opened("artbench", made.folder)
    assert source.image_shape == (32, 32, 3)
    assert source.class_names == standins.STYLES
    for split, count in (("train", 60), ("test", 20)):
        expected = [i for i, row in enumerate(made.rows) if row["split"] == split]
        assert len(expected) == count
        assert source.indices(split).tolist() == expected
        images = read_all(source, split)
        for position, index in enumerate(expected):
            row = made.rows[index]
            assert source.class_names[source.labels(split)[position]] == row["label"]
            content = made.images[f"{row['label']}/{row['name']}"]
            assert np.array_equal(images[position], np.asarray(Image.open(io.BytesIO(content))))


def test_any_choice_of_images_in_any_order(made):
    source = opened("artbench", made.folder)
    indices = np.random.default_rng(1).permutation(60)[:25]
    indices[3] = indices[5]
    assert np.array_equal(read_all(source, "train", indices), read_all(source, "train")[indices])


def test_images_can_be_made_smaller(made):
    source = opened("artbench", made.folder, resize=16, channels=1)
    small = read_all(source, "test")
    assert small.shape == (20, 16, 16, 1)
    full = read_all(opened("artbench", made.folder, channels=1), "test")
    expected = [Image.fromarray(i[..., 0]).resize((16, 16), Image.Resampling.BILINEAR) for i in full]
    assert np.array_equal(small[..., 0], np.stack(expected))


def test_files_without_a_published_checksum_are_reported_with_theirs(made):
    check = opened("artbench", made.folder).check()
    for name in ("ArtBench-10.csv", "artbench-10-imagefolder.tar"):
        assert f"{name} sha256 {standins.stand_in(made.folder / name).sha256}: no checksum is pub" in check
    assert not opened("artbench", made.folder).is_published


def test_a_checksum_kept_beside_a_file_is_compared(tmp_path):
    made = standins.artbench(tmp_path, train=1, test=1, size=8)
    path = tmp_path / "ArtBench-10.csv"
    beside = tmp_path / "ArtBench-10.csv.sha256"
    beside.write_text(f"{standins.stand_in(path).sha256}  ArtBench-10.csv\n")
    opened("artbench", made.folder)
    path.write_bytes(path.read_bytes().replace(b"baroque", b"realism"))
    assert "ArtBench-10.csv: wrong content: found sha256" in message_of(opened, "artbench", made.folder)
    beside.write_text("nothing of use")
    assert f"{beside}: holds no sha256" in message_of(opened, "artbench", made.folder)


def test_a_checksum_of_ones_own_is_compared(made):
    files = {"ArtBench-10.csv": {"sha256": "0" * 64}}
    assert "wrong content" in message_of(opened, "artbench", made.folder, files=files)


def test_memory_is_for_a_batch(tmp_path):
    made = standins.artbench(tmp_path, train=40, test=1, size=64)
    peak, total = peak_of_reading(opened("artbench", made.folder), "train")
    assert total == 400 * 64 * 64 * 3
    assert peak < total / 3, f"peak of {peak} bytes for images of {total}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": "cubism"}, "line 3: label is 'cubism', allowed are art_nouveau, baroque"),
        ({"split": "val"}, "line 3: split is 'val', allowed are train, test"),
    ],
)
def test_rows_with_unknown_values(tmp_path, changes, words):
    message = message_of(opened, "artbench", written(tmp_path, [row(), row(**changes)]))
    assert words in message
    assert str(tmp_path / "ArtBench-10.csv") in message


def test_a_table_without_a_column(tmp_path):
    message = message_of(opened, "artbench", written(tmp_path, [{"name": "a.jpg", "split": "train"}]))
    assert "ArtBench-10.csv: no column label, expected are name, label, split, found name, split" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column name, label, split"),
        (b"name,label,split\na.jpg,baroque\n", "line 2 has 2 values, expected 3"),
        (b'name,label,split\n"a.jpg,baroque,train\n', "not a table in CSV and UTF-8"),
        (b"name,label,split\n\xff.jpg,baroque,train\n", "line 2: byte 0xff is not UTF-8"),
    ],
)
def test_a_table_that_is_none(tmp_path, content, words):
    written(tmp_path, [row()])
    (tmp_path / "ArtBench-10.csv").write_bytes(content)
    assert words in message_of(opened, "artbench", tmp_path)


def test_a_table_that_a_spreadsheet_wrote(tmp_path):
    """With a mark at its beginning, other line ends, an empty line and a name in quotes."""
    written(tmp_path, [row()])
    content = '\ufeffname,label,split\r\n"a, b.jpg",ukiyo_e,test\r\n\r\nc.jpg,baroque,test\r\n'
    (tmp_path / "ArtBench-10.csv").write_text(content, encoding="utf-8", newline="")
    source = opened("artbench", tmp_path)
    assert source.tables["test"].names == ["ukiyo_e/a, b.jpg", "baroque/c.jpg"]
    assert source.indices("test").tolist() == [0, 1]


def test_an_image_that_the_archive_lacks(tmp_path):
    picture = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    folder = written(tmp_path, [row(), row(name="b.jpg")], [("x/baroque/a.jpg", picture)])
    message = message_of(read_all, opened("artbench", folder), "train")
    assert message == f"{folder}/artbench-10-imagefolder.tar: no member baroque/b.jpg"


def test_an_unreadable_image_is_named(tmp_path):
    picture = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    images = [("x/baroque/a.jpg", picture), ("x/baroque/b.jpg", picture[:200])]
    folder = written(tmp_path, [row(), row(name="b.jpg")], images)
    message = message_of(read_all, opened("artbench", folder), "train")
    assert message.startswith(f"{folder}/artbench-10-imagefolder.tar: member baroque/b.jpg: ")


def test_a_link_in_place_of_an_image_is_not_followed(tmp_path):
    link = tarfile.TarInfo("x/baroque/a.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    folder = written(tmp_path, [row()], [link])
    message = message_of(read_all, opened("artbench", folder, resize=8), "train")
    assert "member x/baroque/a.jpg is a link" in message


def test_images_of_mixed_sizes_need_a_rule(tmp_path):
    pictures = [encode(np.zeros((*size, 3), np.uint8)) for size in ((8, 8), (10, 6))]
    images = [(f"x/baroque/{name}.jpg", p) for name, p in zip("ab", pictures, strict=True)]
    folder = written(tmp_path, [row(), row(name="b.jpg")], images)
    message = message_of(read_all, opened("artbench", folder), "train")
    assert "baroque/b.jpg: is 6x10 pixels, but the images before it are 8x8; set source.crop and" in message
    assert read_all(opened("artbench", folder, crop="square", resize=8), "train").shape == (2, 8, 8, 3)
