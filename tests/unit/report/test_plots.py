"""Figures are made from any table that LDS gives, with the same bytes each time; sheets hold each pixel."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from das.lds import COLUMNS
from das.lds.estimate import Estimate
from das.lds.statistics import MethodStatistics, Statistics
from das.report.plots import plot_dampings, plot_lds, plot_subsets
from das.report.sheet import contact_sheet


def lds_table(splits=("val", "gen"), ceiling=70.0):
    rows = []
    for method, value in [("trak", 12.0), ("das", 40.0), ("raw_cos", -1.0)]:
        for split in splits:
            for rule in ["none"] if method == "raw_cos" else ["held_out", "oracle"]:
                row = dict.fromkeys(COLUMNS, 1.0) | {"dataset": "toy", "n_subsets": 64, "n_seeds": 3}
                row |= {"method": method, "split": split, "damping_rule": rule, "ceiling": ceiling}
                rows.append(row | {"lds": value, "ci_low": value - 3, "ci_high": value + 2})
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(
    "table", [lds_table(), lds_table(ceiling=np.nan), lds_table(("gen",)), lds_table().iloc[-1:]]
)
def test_a_plot_is_made_and_is_the_same_each_time(tmp_path, table):
    plot_lds(table, tmp_path / "a.png")
    plot_lds(table, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 800
        assert np.asarray(image).std() > 10


def subsets_table(methods, splits, sizes=(8, 16, 32)):
    rows = [
        ("toy", method, split, size, place + size / 10, 10 / size)
        for place, method in enumerate(methods)
        for split in splits
        for size in sizes
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "split", "n_subsets", "lds_mean", "lds_std"])


@pytest.mark.parametrize(
    "table",
    [
        subsets_table(["das", *"abcdefgh"], ["val", "gen"]),
        subsets_table(["trak"], ["gen"]),
        subsets_table(["das"], ["val"], sizes=[8]),
    ],
    ids=["many", "one", "fewest subsets"],
)
def test_a_plot_by_subsets_is_made_and_is_the_same_each_time(tmp_path, table):
    plot_subsets(table, tmp_path / "a.png")
    plot_subsets(table, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).std() > 10


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_holds_every_image_enlarged_pixel_by_pixel(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 200, (5, 4, 6, channels), dtype=np.uint8)
    contact_sheet(images, tmp_path / "s.png", columns=3, scale=2)
    with Image.open(tmp_path / "s.png") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        sheet = np.asarray(image).reshape(image.height, image.width, channels)
    gap = (sheet.shape[1] - 3 * 12) // 4
    assert sheet.shape == (2 * 8 + 3 * gap, 3 * 12 + 4 * gap, channels)
    for index, tile in enumerate(images):
        top, left = gap + index // 3 * (8 + gap), gap + index % 3 * (12 + gap)
        np.testing.assert_array_equal(sheet[top : top + 8 : 2, left : left + 12 : 2], tile)
        np.testing.assert_array_equal(sheet[top + 1 : top + 8 : 2, left + 1 : left + 12 : 2], tile)


def test_small_images_are_enlarged_and_large_ones_are_not(tmp_path):
    for size, expected in [(8, 96), (32, 96), (256, 256)]:
        contact_sheet(np.zeros((1, size, size, 1), np.uint8), tmp_path / "s.png")
        with Image.open(tmp_path / "s.png") as image:
            assert expected <= image.width <= expected + 16


def statistics_of(method, dampings):
    """Statistics with an LDS for each damping, and nothing else of interest."""
    nothing, none = np.zeros(1), Estimate(0.0, np.zeros(8))
    number = np.ones(1, np.int64)
    found = Statistics(none, none, nothing, number, nothing, dampings, -(np.log(dampings) ** 2), number)
    return MethodStatistics("toy", method, {}, "", {"val": found, "gen": found})


def test_dampings_are_plotted_of_methods_that_have_one(tmp_path):
    grid = np.array([0.01, 0.1, 1, 10])
    damped = [statistics_of("das", grid), statistics_of("trak", 3 * grid)]
    assert plot_dampings([*damped, statistics_of("raw_cos", np.empty(0))], tmp_path / "a.png")
    assert plot_dampings(damped, tmp_path / "b.png")
    assert plot_dampings(damped[:1], tmp_path / "c.png")
    pictures = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert pictures[0] == pictures[1] != pictures[2]
    assert not plot_dampings([statistics_of("raw_cos", np.empty(0))], tmp_path / "d.png")
    assert not (tmp_path / "d.png").exists()
