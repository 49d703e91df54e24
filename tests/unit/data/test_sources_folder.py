"""Any folder of images: classes from subfolders or a table, captions, and mistakes named by file or line."""

from __future__ import annotations

import numpy as np
import pytest

import standins
from das.data.sources import open_source
from das.data.sources.base import SourceSettings
from pictures import encode, image_folder, painting
from source_checks import message_of, opened, peak_of_reading, read_all

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))


def filled(folder, *names, content=PICTURE):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def listed(folder, *rows):
    standins.write_table(folder / "table.csv", rows)
    return folder


def with_table(folder, *rows, **settings):
    return opened("folder", listed(folder, *rows), table="table.csv", **settings)


# Subfolders


def test_subfolders_are_classes(tmp_path):
    pixels = image_folder(tmp_path / "images", per_class=7)
    source = opened("folder", tmp_path / "images")
    assert source.splits == ("train",)
    assert source.class_names == ("cat", "wild dog")
    assert source.tables["train"].names == sorted(pixels)
    assert source.labels("train").tolist() == [0] * 7 + [1] * 7
    for name, image in zip(sorted(pixels), read_all(source, "train"), strict=True):
        error = np.abs(image.astype(int) - pixels[name])
        assert error.max() == 0 or ("photo.jpg" in name and error.mean() < 5), name
    assert opened("folder", tmp_path / "images", captions="a {label}").captions("train")[7] == "a wild dog"
    assert "14 images; content not checked" in source.check()


def test_images_side_by_side_are_one_class(tmp_path):
    filled(tmp_path, "b.png", "a.PNG", ".hidden.png", ".cache/x.png", "notes.txt")
    source = opened("folder", tmp_path)
    assert source.class_names == ("image",)
    assert source.tables["train"].names == ["a.PNG", "b.png"]


def test_a_mixture_is_refused(tmp_path):
    message = message_of(opened, "folder", filled(tmp_path, "cat/a.png", "b.png"))
    assert message.startswith(f"{tmp_path}/b.png: lies beside subfolders with images")


def test_folders_in_folders_are_refused(tmp_path):
    """train/cat would otherwise silently become the class `train`."""
    message = message_of(opened, "folder", filled(tmp_path, "test/cat/b.png", "train/cat/a.png"))
    assert message.startswith(f"{tmp_path}/test/cat/b.png: lies in a folder inside a folder")


def test_an_empty_folder(tmp_path):
    message = message_of(opened, "folder", filled(tmp_path, "cat/a.gif"))
    assert message == f"{tmp_path}: holds no PNG, JPEG or WebP image"
    assert "source.path: not set" in message_of(open_source, SourceSettings("folder"))


def test_what_is_no_image_is_named(tmp_path):
    filled(tmp_path, "cat/a.png")
    filled(tmp_path, "cat/b.png", content=b"text")
    message = message_of(read_all, opened("folder", tmp_path), "train")
    assert message == f"{tmp_path}/cat/b.png: not a PNG, JPEG or WebP image"


def test_mixed_sizes_need_a_rule(tmp_path):
    filled(tmp_path, "cat/a.png")
    filled(tmp_path, "dog/b.png", content=encode(np.zeros((9, 20, 3), np.uint8)))
    message = message_of(read_all, opened("folder", tmp_path), "train")
    assert (
        f"{tmp_path}/dog/b.png: is 20x9 pixels, but the images before it are 8x8; set source.crop" in message
    )
    message = message_of(read_all, opened("folder", tmp_path, resize=8), "train")
    assert "`crop: square`" in message
    assert read_all(opened("folder", tmp_path, crop=8), "train").shape == (2, 8, 8, 3)
    squares = opened("folder", tmp_path, crop="square")
    assert "is 9x9 pixels, but the images before it are 8x8" in message_of(read_all, squares, "train")


def test_memory_is_for_a_batch(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(300):
        filled(tmp_path, f"{number}.png", content=encode(painting(number % 3, 3, 64, rng)))
    peak, total = peak_of_reading(opened("folder", tmp_path), "train")
    assert total == 300 * 64 * 64 * 3
    assert peak < total / 3, f"peak of {peak} bytes for images of {total}"


# Tables


def test_a_table_chooses_orders_labels_and_describes(tmp_path):
    pixels = image_folder(tmp_path, per_class=7)
    rows = [
        {"path": "wild dog/0-rgb.png", "label": "dog", "caption": "a dog, running"},
        {"path": "cat/4-rotated.png", "label": "cat", "caption": "eine schöne Katze"},
        {"path": "wild dog/3-palette.png", "label": "dog", "caption": "two colours"},
    ]
    source = with_table(tmp_path, *rows)
    assert source.class_names == ("cat", "dog")
    assert source.labels("train").tolist() == [1, 0, 1]
    assert source.captions("train") == [row["caption"] for row in rows]
    assert np.array_equal(read_all(source, "train"), np.stack([pixels[row["path"]] for row in rows]))
    table = standins.stand_in(tmp_path / "table.csv")
    assert f"3 images listed in table.csv of sha256 {table.sha256}" in source.check()


def test_a_table_of_paths_alone(tmp_path):
    filled(tmp_path, "a.png", "deep/in/b.png")
    source = with_table(tmp_path, {"path": "deep/in/b.png"}, {"path": "a.png"})
    assert source.class_names == ("image",)
    assert source.captions("train") is None
    assert opened("folder", tmp_path, table="table.csv", captions="one {label}").captions("train") == [
        "one image",
        "one image",
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"path": "/etc/passwd"}, "line 3: path is '/etc/passwd', expected a path that stays in"),
        ({"path": "../a.png"}, "line 3: path is '../a.png', expected a path that stays in"),
        ({"path": "c.png"}, "line 3: no file"),
        ({"path": ""}, "line 3: path is empty"),
        ({"path": "a.png"}, "line 3: path 'a.png' is listed twice"),
        ({"label": " "}, "line 3: label of b.png is empty"),
        ({"caption": ""}, "line 3: caption of b.png is empty"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, row, words):
    filled(tmp_path / "images", "a.png", "b.png")
    good = {"path": "a.png", "label": "cat", "caption": "a cat"}
    message = message_of(with_table, tmp_path / "images", good, good | {"path": "b.png"} | row)
    assert message.startswith(f"{tmp_path}/images/table.csv: ")
    assert words in message


def test_tables_without_paths_or_rows(tmp_path):
    filled(tmp_path, "a.png")
    assert "no column path, expected are path, found file" in message_of(
        with_table, tmp_path, {"file": "a.png"}
    )
    (tmp_path / "table.csv").write_text("path\n")
    assert "lists no images" in message_of(opened, "folder", tmp_path, table="table.csv")


def test_names_of_columns_are_not_guessed(tmp_path):
    """A label or caption that is passed over would be missing from the result without a sign."""
    filled(tmp_path, "a.png")
    (tmp_path / "table.csv").write_text("path, label, caption\na.png,cat,a cat\n")
    source = opened("folder", tmp_path, table="table.csv")
    assert (source.class_names, source.captions("train")) == (("cat",), ["a cat"])
    for header, words in (
        ("path,Label", "found column 'Label', expected is 'label'"),
        ("path,label,label", "column label is there twice"),
        ("path,lable", "found column 'lable', but none named 'label'"),
    ):
        (tmp_path / "table.csv").write_text(f"{header}\na.png,cat{',dog' * (header.count(',') - 1)}\n")
        assert words in message_of(opened, "folder", tmp_path, table="table.csv")


def test_captions_come_from_one_place(tmp_path):
    filled(tmp_path, "a.png")
    message = message_of(with_table, tmp_path, {"path": "a.png", "caption": "x"}, captions="a {label}")
    assert "source.captions: found 'a {label}', but" in message


def test_a_file_that_went_away_is_named(tmp_path):
    filled(tmp_path, "a.png", "b.png")
    source = with_table(tmp_path, {"path": "a.png"}, {"path": "b.png"})
    (tmp_path / "b.png").unlink()
    assert message_of(read_all, source, "train") == f"{tmp_path}/b.png: no such file"
