"""Data sets are split as the benchmark splits them, streamed to disk, and read back checked."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import standins
from das.data import images
from das.data.prepare import ImageSettings, prepare
from das.data.sources import open_source
from das.data.sources.base import Source, SourceSettings
from das.errors import UserError
from das.jobs import artifacts
from pictures import encode
from source_checks import opened


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory) -> Source:
    made = standins.cifar10_archive(tmp_path_factory.mktemp("cifar10") / "c.tar.gz")
    return opened("cifar10", made.path, files={"cifar-10-binary.tar.gz": made.override})


@pytest.fixture(scope="module")
def digits() -> Source:
    return open_source(SourceSettings("digits"))


def prepared(tmp_path, source, **settings) -> dict[str, dict]:
    """Arrays of both files."""
    paths = {split: tmp_path / "images" / f"{split}.h5" for split in ("train", "val")}
    prepare(source, ImageSettings(**settings), "test", paths["train"], paths["val"])
    result = {}
    for split, path in paths.items():
        with artifacts.read(path, "images") as artifact:
            found = {name: artifact.read(name, (None,), np.int64) for name in ("labels", "source_index")}
            found |= {"attributes": artifact.attributes, "settings": artifact.settings, "path": path}
        result[split] = found | {"images": images.read_images(path)}
    return result


def refused(tmp_path, source, **settings) -> str:
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, source, **settings)
    assert not list(tmp_path.rglob("*.h5")), "a refused data set leaves no files"
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_two_classes_are_split_as_the_benchmark_does(tmp_path, cifar10):
    """The benchmark: keep the two classes, then one train_test_split per part with seed 42."""
    found = prepared(tmp_path, cifar10, train=20, val=4, classes=("automobile", "horse"))
    batches = standins.cifar10_batches()
    parts = {
        "train": (*standins.hub_order(batches), 20),
        "val": (*batches["test_batch"], 4),
    }
    for split, (labels, pixels, count) in parts.items():
        pool = [i for i, label in enumerate(labels) if label in (1, 7)]
        expected, _ = train_test_split(pool, train_size=count, random_state=42, stratify=labels[pool])
        assert found[split]["source_index"].tolist() == expected
        assert np.array_equal(found[split]["images"], pixels[expected])
        assert found[split]["labels"].tolist() == [{1: 0, 7: 1}[int(labels[i])] for i in expected]
        assert np.bincount(found[split]["labels"]).tolist() == [count // 2, count // 2]


def test_order_of_the_chosen_classes_numbers_labels_but_does_not_change_the_split(tmp_path, cifar10):
    one = prepared(tmp_path / "1", cifar10, train=20, val=4, classes=("automobile", "horse"))["train"]
    two = prepared(tmp_path / "2", cifar10, train=20, val=4, classes=("horse", "automobile"))["train"]
    assert np.array_equal(one["source_index"], two["source_index"])
    assert np.array_equal(one["labels"], 1 - two["labels"])
    assert list(two["attributes"]["class_names"]) == ["horse", "automobile"]


def test_a_whole_part_keeps_its_order(tmp_path, cifar10):
    found = prepared(tmp_path, cifar10, train=200, val=20)
    assert found["train"]["source_index"].tolist() == list(range(200))
    assert np.array_equal(found["train"]["labels"], cifar10.labels("train"))
    assert len(set(found["val"]["source_index"])) == 20


def test_one_pool_gives_disjoint_stratified_parts(tmp_path, digits):
    found = prepared(tmp_path, digits, train=1000, val=200, seed=7)
    target = load_digits().target
    expected = train_test_split(
        np.arange(1797), train_size=1000, test_size=200, random_state=7, stratify=target
    )
    for split, indices in zip(("train", "val"), expected, strict=True):
        assert np.array_equal(found[split]["source_index"], indices)
        assert np.array_equal(found[split]["labels"], target[indices])
        share = np.bincount(found[split]["labels"]) / len(indices)
        assert np.abs(share - np.bincount(target) / 1797).max() <= 1 / len(indices)
    assert not set(found["train"]["source_index"]) & set(found["val"]["source_index"])


def test_one_pool_can_be_used_up(tmp_path, digits):
    found = prepared(tmp_path, digits, train=1500, val=297)
    assert len(set(found["train"]["source_index"]) | set(found["val"]["source_index"])) == 1797


def test_same_settings_same_content_other_seed_other_content(tmp_path, digits):
    runs = [prepared(tmp_path / str(i), digits, train=100, val=50, seed=s) for i, s in enumerate((1, 1, 2))]
    same = [
        np.array_equal(runs[0]["train"][k], runs[1]["train"][k]) for k in ("images", "labels", "source_index")
    ]
    assert all(same)
    assert not np.array_equal(runs[0]["train"]["source_index"], runs[2]["train"]["source_index"])


def test_files_say_where_their_images_come_from(tmp_path, digits, cifar10):
    val = prepared(tmp_path / "d", digits, train=100, val=50)["val"]
    assert (val["attributes"]["split"], val["attributes"]["source_part"]) == ("val", "train")
    assert val["settings"]["source"] == "digits"
    assert val["settings"]["seed"] == 42
    val = prepared(tmp_path / "c", cifar10, train=100, val=20)["val"]
    assert (val["attributes"]["split"], val["attributes"]["source_part"]) == ("val", "test")
    assert "not checked" in val["attributes"]["source_check"]
    assert not val["attributes"]["published"]
    assert images.read_texts(val["path"], "captions") is None
    indices, is_published = images.read_source_index(val["path"])
    assert np.array_equal(indices, val["source_index"])
    assert is_published is False


def test_files_say_whether_their_images_are_the_published_ones(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(digits, "is_published", True)
    path = prepared(tmp_path, digits, train=20, val=20)["train"]["path"]
    assert images.read_source_index(path)[1] is True


def test_an_unstratified_split_is_a_plain_one(tmp_path):
    made = standins.celeba(tmp_path / "celeba", counts=(30, 2, 12))
    source = opened("celeba", made.folder, files=made.files, crop=140, resize=16)
    found = prepared(tmp_path, source, train=20, val=5, stratify=False)
    for split, count, total in (("train", 20, 30), ("val", 5, 12)):
        expected, _ = train_test_split(range(total), train_size=count, random_state=42)
        assert found[split]["source_index"].tolist() == expected
        assert found[split]["images"].shape == (count, 16, 16, 3)


def test_classes_play_no_part_in_an_unstratified_split(tmp_path, digits):
    found = prepared(tmp_path, digits, train=1000, val=200, seed=7, stratify=False)
    expected = train_test_split(np.arange(1797), train_size=1000, test_size=200, random_state=7)
    for split, indices in zip(("train", "val"), expected, strict=True):
        assert np.array_equal(found[split]["source_index"], indices)
        assert np.array_equal(found[split]["labels"], load_digits().target[indices])


def test_numbers_and_captions_belong_to_the_chosen_images(tmp_path):
    """Two styles of ArtBench-10 in the order of the split: numbers of rows, and captions with the style."""
    made = standins.artbench(tmp_path / "artbench", size=16)
    source = opened("artbench", made.folder, captions="a {label} painting")
    styles = ("ukiyo_e", "post_impressionism")
    found = prepared(tmp_path, source, train=8, val=2, classes=styles)
    for split, part, count in (("train", "train", 8), ("val", "test", 2)):
        rows = [i for i, row in enumerate(made.rows) if row["split"] == part and row["label"] in styles]
        # Stratified by the source's labels, whose order is that of the styles' names.
        labels = [made.rows[i]["label"] for i in rows]
        expected, _ = train_test_split(rows, train_size=count, random_state=42, stratify=labels)
        assert found[split]["source_index"].tolist() == expected
        names = [made.rows[i]["label"] for i in expected]
        assert found[split]["labels"].tolist() == [styles.index(name) for name in names]
        captions = images.read_texts(found[split]["path"], "captions")
        assert captions == [f"a {name.replace('_', ' ')} painting" for name in names]


def test_captions_of_a_table_come_back_in_any_script(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for number in range(10):
        (folder / f"{number}.png").write_bytes(encode(np.full((8, 8, 3), 20 * number, np.uint8)))
        rows.append({"path": f"{number}.png", "caption": f"Katze n°{number} 猫"})
    standins.write_table(folder / "table.csv", rows)
    found = prepared(tmp_path, opened("folder", folder, table="table.csv"), train=6, val=4)
    for split in ("train", "val"):
        numbers = found[split]["images"][:, 0, 0, 0] // 20
        assert images.read_texts(found[split]["path"], "captions") == [rows[i]["caption"] for i in numbers]


def test_an_image_that_cannot_be_read_leaves_no_files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "0.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    for number in range(1, 6):
        (folder / f"{number}.png").write_bytes(b"text")
    message = refused(tmp_path, opened("folder", folder), train=3, val=3)
    assert message.endswith(".png: not a PNG, JPEG or WebP image")


def test_class_counts(tmp_path, cifar10):
    path = prepared(tmp_path, cifar10, train=40, val=4, classes=("ship", "cat"))["train"]["path"]
    assert images.class_counts(path) == {"ship": 20, "cat": 20}
    labels, names = images.read_labels(path)
    assert names == ("ship", "cat")
    assert labels.dtype == np.int64


def test_unknown_class(tmp_path, cifar10):
    message = refused(tmp_path, cifar10, train=20, val=4, classes=("automobile", "hourse"))
    assert "source.classes: unknown class 'hourse'" in message
    assert ", ".join(cifar10.class_names) in message


def test_class_without_images(tmp_path):
    batches = standins.cifar10_batches()
    labels = batches["test_batch"][0]
    labels[labels == 8] = 0
    made = standins.write_archive(tmp_path / "c.tar.gz", standins.cifar10_members(batches))
    source = opened("cifar10", made.path, files={"cifar-10-binary.tar.gz": made.override})
    message = refused(tmp_path, source, train=20, val=2, classes=("ship", "truck"))
    assert "class 'ship' has no images in the test part" in message


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (41, 4, "split.train: the split needs 41 images, but"),
        (20, 9, "split.val: the split needs 9 images, but"),
    ],
)
def test_too_few_images(tmp_path, cifar10, train, val, words):
    message = refused(tmp_path, cifar10, train=train, val=val, classes=("automobile", "horse"))
    assert words in message
    assert ("have 40" if train == 41 else "have 8") in message


def test_too_few_images_in_one_pool(tmp_path, digits):
    message = refused(tmp_path, digits, train=1700, val=98)
    assert "split.train + split.val: the split needs 1798 images" in message
    assert "have 1797" in message


@pytest.mark.parametrize("count", [1, 39])
def test_fewer_images_than_classes_on_one_side(tmp_path, cifar10, count):
    message = refused(tmp_path, cifar10, train=count, val=4, classes=("automobile", "horse"))
    assert message.startswith("split.train: 40 images cannot be split into classes: ")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": 0, "val": 1}, "split.train: found 0, allowed is 1 or more"),
        ({"train": 1, "val": -2}, "split.val: found -2, allowed is 0 or more"),
        ({"train": 1, "val": 1, "seed": -1}, "split.seed: found -1"),
        ({"train": 1, "val": 1, "classes": ()}, "source.classes: found an empty list"),
        ({"train": 1, "val": 1, "classes": ("cat", "cat")}, "source.classes: a class is named twice"),
    ],
)
def test_settings_out_of_range_are_refused(values, words):
    with pytest.raises(UserError, match=r"^[^\n]*$") as caught:
        ImageSettings(**values)
    assert words in str(caught.value)


def test_a_file_without_images_is_refused(tmp_path):
    path = tmp_path / "train.h5"
    with artifacts.write(path, "images", "test", {}) as file:
        file["images"] = np.zeros((3, 8, 8, 1), np.float32)
    with pytest.raises(UserError, match=r"train.h5: array 'images' is float32, expected uint8"):
        images.read_images(path)


def test_labels_without_a_name_are_refused(tmp_path):
    path = tmp_path / "train.h5"
    with artifacts.write(path, "images", "test", {}, class_names=["cat"]) as file:
        file["images"] = np.zeros((2, 8, 8, 1), np.uint8)
        file["labels"] = np.array([0, 1])
    with pytest.raises(UserError, match=r"train.h5: labels are 0 to 1, expected 0 to 0"):
        images.read_labels(path)
