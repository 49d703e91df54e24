"""Figures of what tables hold, such as the LDS of all methods. The same input gives the same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from das.jobs.artifacts import replacing
from das.lds import MAIN_RULES
from das.lds.statistics import MethodStatistics
from das.plan.paths import KEEP, RANDOM, REMOVE

COLOURS = {"val": "#1f6fb4", "gen": "#d9722b"}
LABELS = {"val": "validation", "gen": "generated"}
OFFSETS = {"val": 0.17, "gen": -0.17}
HIGHLIGHTS = ("#1f6fb4", "#d9722b", "#2a9d6f", "#b83a5b", "#7a5cc0")  # of the best methods, best first
DAS, OTHERS = "black", "0.8"
TEST_NAMES = {REMOVE: "without them", KEEP: "with them alone"}
MEASURE_NAMES = {
    "l2": "distance to the old picture",
    "clip_cosine": "cosine to the old picture, CLIP",
    "loss_difference": "rise of the loss on the old picture",
}


def plot_lds(table: pd.DataFrame, path: Path) -> None:
    """Plot an LDS table (columns of `das.lds.COLUMNS`, one data set) as PNG.

    A filled point is the LDS with held-out damping, or of a method without damping, and its 95% interval;
    a hollow one is the papers' statistic (oracle); a dashed line is what one training seed's losses
    have as prediction of another's. Methods are sorted by the LDS on validation queries; those without any
    stand below.
    """
    main = table[table["damping_rule"].isin(MAIN_RULES)]
    methods = _by_lds(main)
    figure = Figure(figsize=(7, 1.5 + 0.3 * len(methods)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    splits = [name for name in COLOURS if name in set(table["split"])]
    for split in splits:
        _plot_split(axes, table[table["split"] == split], split, methods)
    for row in range(1, len(methods), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.965", linewidth=0, zorder=0)
    axes.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(-0.5, len(methods) - 0.5)
    axes.set_xlabel("LDS (%)")
    axes.set_title(_title(table), loc="left", fontsize=10)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labeltop=len(methods) > 15, labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(splits), frameon=False, fontsize=8)
    _save(figure, path)


def plot_dampings(methods: Sequence[MethodStatistics], path: Path) -> bool:
    """Plot the LDS of each method with every damping that was tried as PNG, a panel per split.

    A ring is the highest LDS, which the oracle rule takes.

    Returns:
        Whether there was anything to plot: some methods have no damping.
    """
    damped = [method for method in methods if any(len(s.dampings) for s in method.splits.values())]
    splits = [name for name in COLOURS if any(name in method.splits for method in damped)]
    if not damped:
        return False
    figure = Figure(figsize=(0.9 + 3.6 * len(splits), 3.4), dpi=160, layout="constrained")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        for method, colour in zip(damped, itertools.cycle(HIGHLIGHTS), strict=False):
            if split not in method.splits:
                continue
            found = method.splits[split]
            best = found.by_damping.argmax()
            axes.plot(found.dampings, found.by_damping, ".-", color=colour, label=method.method)
            axes.plot(found.dampings[best], found.by_damping[best], "o", color=colour, fillstyle="none")
        axes.set_xscale("log")
        axes.set_xlabel("damping, relative to the mean eigenvalue", fontsize=9)
        axes.set_title(f"{damped[0].dataset}, {LABELS[split]}", loc="left", fontsize=10)
        _frame(axes)
    panels[0].set_ylabel("LDS (%)", fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    _save(figure, path)
    return True


def plot_subsets(table: pd.DataFrame, path: Path) -> None:
    """Plot LDS by number of subsets (`das.lds.comparison.compare_subsets`) as PNG, a panel per split.

    A line is the mean over draws of subsets. das and the five best others with all subsets, on validation
    queries where there are any, have colours, and bars of one standard deviation; the rest is grey.
    """
    everything = table[table["n_subsets"] == table["n_subsets"].max()]
    ranked = _by_lds(everything.rename(columns={"lds_mean": "lds"}))[::-1]
    colours = dict(zip([name for name in ranked if name != "das"], HIGHLIGHTS, strict=False))
    colours |= {"das": DAS} if "das" in ranked else {}
    splits = [name for name in COLOURS if name in set(table["split"])]
    figure = Figure(figsize=(0.9 + 3.6 * len(splits), 4), dpi=160, layout="constrained")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        _plot_sizes(axes, table[table["split"] == split], colours)
        axes.set_title(f"{table['dataset'].iloc[0]}, {LABELS[split]}", loc="left", fontsize=10)
    panels[0].set_ylabel("LDS (%)", fontsize=9)
    handles = [Line2D([], [], color=c, marker="o", markersize=4, label=name) for name, c in colours.items()]
    if len(colours) < len(ranked):
        handles.append(Line2D([], [], color=OTHERS, label=f"{len(ranked) - len(colours)} others"))
    columns = 4 if len(splits) > 1 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    _save(figure, path)


def plot_ablation(table: pd.DataFrame, path: Path) -> None:
    """Plot an ablation (`das.lds.changes.summarise_changes`) as PNG, grouped by factor.

    Left the LDS with its 95% interval, the base method's as a dashed line; right the seconds for validation
    queries.
    """
    place = _ablation_places(table)
    splits = [name for name in COLOURS if name in set(table["split"])]
    figure = Figure(figsize=(8, 1.3 + 0.3 * -min(place.values())), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    for split in splits:
        rows, colour = table[table["split"] == split], COLOURS[split]
        y = np.array([place[key] for key in zip(rows["factor"], rows["value"], strict=True)])
        y = y + OFFSETS[split]
        left.hlines(y, rows["ci_low"], rows["ci_high"], color=colour, linewidth=1.8, alpha=0.55)
        left.plot(rows["lds"], y, "o", color=colour, markersize=5, label=f"{LABELS[split]}, 95% interval")
        base = rows[rows["factor"] == "base"]["lds"].item()
        left.axvline(base, color=colour, linestyle="--", linewidth=1, zorder=1)
    cost = table[table["split"] == splits[0]]
    bars = [place[key] for key in zip(cost["factor"], cost["value"], strict=True)]
    right.barh(bars, cost["seconds"], height=0.55, color="0.75")
    left.set_yticks(list(place.values()), [value if f == "base" else f"{f} {value}" for f, value in place])
    left.set_ylim(min(place.values()) - 0.6, 0.6)
    left.set_title(f"{table['dataset'].iloc[0]}: one factor changed at a time", loc="left", fontsize=10)
    left.set_xlabel("LDS (%)", fontsize=9)
    right.set_xlabel(f"seconds, {LABELS[splits[0]]}", fontsize=9)
    for axes in (left, right):
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.tick_params(axis="x", labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    _save(figure, path)


def plot_counterfactual(outcomes: pd.DataFrame, path: Path) -> None:
    """Plot what became of generated images (`das.counterfactual.outcomes.read_outcomes`) as PNG.

    A panel for each test and measure, a box of the queries for each method: quartiles and median, whiskers
    of at most one and a half times the box, and every query beyond. A dashed line is the median with random
    images.
    """
    methods = list(dict.fromkeys(outcomes["method"]))[::-1]
    tests, measures = (list(dict.fromkeys(outcomes[column])) for column in ("test", "measure"))
    height = 0.9 + len(tests) * (0.7 + 0.26 * len(methods))
    figure = Figure(figsize=(1.6 + 3.2 * len(measures), height), dpi=160, layout="constrained")
    panels = figure.subplots(len(tests), len(measures), squeeze=False, sharey=True)
    for row, test in zip(panels, tests, strict=True):
        for axes, measure in zip(row, measures, strict=True):
            rows = outcomes[(outcomes["test"] == test) & (outcomes["measure"] == measure)]
            values = [rows[rows["method"] == method]["value"].to_numpy() for method in methods]
            _plot_boxes(axes, values, methods)
            axes.set_title(f"{TEST_NAMES[test]}: {MEASURE_NAMES[measure]}", loc="left", fontsize=9)
    first = outcomes.iloc[0]
    count = outcomes["query"].nunique()
    figure.suptitle(
        f"{first['dataset']}: {first['n_images']} training images, {count} generated ones",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    _save(figure, path)


def _plot_boxes(axes: Axes, values: list[NDArray[np.float64]], methods: list[str]) -> None:
    colours = ["0.6" if name == RANDOM else COLOURS["val"] for name in methods]
    boxes = axes.boxplot(
        values,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        medianprops={"color": "black", "linewidth": 1.4},
        flierprops={"marker": ".", "markersize": 4, "markeredgecolor": "0.4"},
        whiskerprops={"color": "0.4"},
        capprops={"visible": False},
    )
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set(facecolor=colour, edgecolor="none", alpha=0.55)
    if RANDOM in methods:
        axes.axvline(
            np.median(values[methods.index(RANDOM)]), color="0.4", linestyle="--", linewidth=1, zorder=1
        )
    axes.set_yticks(range(1, len(methods) + 1), methods)
    axes.grid(axis="x", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _ablation_places(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Height of each (factor, value), from 0 downwards, with a gap between factors."""
    place: dict[tuple[str, str], float] = {}
    height, before = 0.0, None
    for factor, value in zip(table["factor"], table["value"], strict=True):
        if (factor, value) in place:
            continue
        height -= 0.0 if before is None else 1.0 if factor == before else 1.4
        place[factor, value], before = height, factor
    return place


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def _plot_sizes(axes: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    order = list(colours)
    for name, line in rows.groupby("method"):
        if name not in colours:
            axes.plot(
                line["n_subsets"], line["lds_mean"], ".-", color=OTHERS, linewidth=1, markersize=3, zorder=1
            )
            continue
        aside = 1 + 0.025 * (order.index(name) - (len(order) - 1) / 2)  # so that bars do not hide bars
        axes.errorbar(
            line["n_subsets"] * aside,
            line["lds_mean"],
            line["lds_std"],
            color=colours[name],
            linewidth=2.2 if name == "das" else 1.6,
            elinewidth=1,
            marker="o",
            markersize=4,
            zorder=3,
        )
    sizes = sorted(set(rows["n_subsets"]))
    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0] * 0.85, sizes[-1] * 1.18)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("subsets", fontsize=9)
    _frame(axes)


def _frame(axes: Axes) -> None:
    """The frame of a panel with LDS on its vertical axis: a line at zero, faint lines, two open sides."""
    axes.axhline(0, color="0.3", linewidth=0.8, zorder=1)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plot_split(axes: Axes, rows: pd.DataFrame, split: str, methods: list[str]) -> None:
    colour, label = COLOURS[split], LABELS[split]
    main = rows[rows["damping_rule"].isin(MAIN_RULES)]
    oracle = rows[rows["damping_rule"] == "oracle"]
    y = np.array([methods.index(name) for name in main["method"]]) + OFFSETS[split]
    axes.hlines(y, main["ci_low"], main["ci_high"], color=colour, linewidth=1.8, alpha=0.55, zorder=2)
    axes.plot(main["lds"], y, "o", color=colour, markersize=5.5, zorder=3, label=f"{label}, 95% interval")
    if len(oracle):
        y = np.array([methods.index(name) for name in oracle["method"]]) + OFFSETS[split]
        axes.plot(
            oracle["lds"],
            y,
            "o",
            markersize=3.5,
            markerfacecolor="white",
            markeredgecolor=colour,
            zorder=4,
            label=f"{label}, papers' statistic",
        )
    ceiling = rows["ceiling"].dropna()
    if len(ceiling):
        axes.axvline(
            ceiling.mean(),
            color=colour,
            linestyle="--",
            linewidth=1.2,
            zorder=1,
            label=f"{label}, seed against seed",
        )


def _by_lds(main: pd.DataFrame) -> list[str]:
    """Methods from the lowest to the highest LDS on validation queries, below them those without any."""
    order = main.assign(has_val=main["split"] == "val").sort_values(["has_val", "lds", "method"])["method"]
    return list(dict.fromkeys(order[::-1]))[::-1]


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    seeds = "1 seed" if first["n_seeds"] == 1 else f"{first['n_seeds']} seeds"
    return f"{first['dataset']}: {first['n_subsets']} subsets, {seeds}, {first['n_queries']} queries"
