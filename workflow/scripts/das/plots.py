"""Figures of the report: LDS of all methods, and sheets of images. The same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from das.artifacts import replacing

COLOURS = {"val": "#1f6fb4", "gen": "#d9722b"}
LABELS = {"val": "validation", "gen": "generated"}
OFFSETS = {"val": 0.14, "gen": -0.14}

_GAP = 3  # pixels between the images of a sheet
_SMALL = 96  # images are enlarged, by a whole factor, up to about this size


def plot_lds(table: pd.DataFrame, path: Path) -> None:
    """Plot an LDS table (columns of `das.lds.COLUMNS`, one data set) as PNG.

    A filled point is the LDS with held-out damping, or of a method without damping, and its 95% interval;
    a hollow one is the papers' choice of damping (oracle); a dashed line is the ceiling.
    """
    main = table[table["damping_rule"] != "oracle"]
    methods = _by_lds(main)
    figure = Figure(figsize=(7, 1.4 + 0.42 * len(methods)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    splits = [name for name in COLOURS if name in set(table["split"])]
    for split in splits:
        _plot_split(axes, table[table["split"] == split], split, methods)
    axes.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_xlabel("LDS (%)")
    axes.set_title(_title(table), loc="left", fontsize=10)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(splits), frameon=False, fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def contact_sheet(images: NDArray[np.uint8], path: Path, columns: int = 10, scale: int | None = None) -> None:
    """Save images [N, H, W, C], C 1 or 3, as one PNG, in rows of `columns`.

    Args:
        scale: whole factor by which each pixel is enlarged; by default what brings small images to about
            96 pixels.
    """
    if scale is None:
        scale = max(1, _SMALL // max(images.shape[1:3]))
    tiles = images.repeat(scale, axis=1).repeat(scale, axis=2)
    n, height, width, channels = tiles.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    size = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels)
    sheet = np.full(size, 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    with replacing(path) as beside:
        Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(beside, format="PNG")


def _plot_split(axes: Axes, rows: pd.DataFrame, split: str, methods: list[str]) -> None:
    colour, label = COLOURS[split], LABELS[split]
    main = rows[rows["damping_rule"] != "oracle"]
    oracle = rows[rows["damping_rule"] == "oracle"]
    y = np.array([methods.index(name) for name in main["method"]]) + OFFSETS[split]
    axes.hlines(y, main["ci_low"], main["ci_high"], color=colour, linewidth=1.8, alpha=0.55, zorder=2)
    axes.plot(main["lds"], y, "o", color=colour, markersize=7, zorder=3, label=f"{label}, 95% interval")
    if len(oracle):
        y = np.array([methods.index(name) for name in oracle["method"]]) + OFFSETS[split]
        axes.plot(
            oracle["lds"],
            y,
            "o",
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=colour,
            zorder=4,
            label=f"{label}, oracle damping",
        )
    ceiling = rows["ceiling"].dropna()
    if len(ceiling):
        axes.axvline(
            ceiling.mean(), color=colour, linestyle="--", linewidth=1.2, zorder=1, label=f"{label}, ceiling"
        )


def _by_lds(main: pd.DataFrame) -> list[str]:
    """Methods from the lowest to the highest LDS on validation queries, or on those there are."""
    reference = main[main["split"] == "val"] if "val" in set(main["split"]) else main
    order = reference.sort_values(["lds", "method"], kind="stable")["method"]
    return list(dict.fromkeys([*order, *sorted(main["method"])]))


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    seeds = "1 seed" if first["n_seeds"] == 1 else f"{first['n_seeds']} seeds"
    return f"{first['dataset']}: {first['n_subsets']} subsets, {seeds}, {first['n_queries']} queries"
