"""Tables and a plot of several benches side by side, as docs/accuracy.md has them.

    .venv/bin/python tests/benchmarks/compare_benches.py results/digits results/bench_cifar --methods das trak

Reads `lds.csv` and `lds_pairs.csv` of each folder. Prints the LDS of the methods in percent, and by how many
points each is ahead of those of `--ahead-of`, with 95% intervals. `--centred` takes the centred LDS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from das import cli  # noqa: E402
from das.errors import UserError  # noqa: E402
from das.lds import MAIN_RULES  # noqa: E402
from das.report.plots import COLOURS, LABELS, OFFSETS  # noqa: E402


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table of a bench.

    Raises:
        UserError: the bench has not been run.
    """
    path = folder / name
    if not path.exists():
        raise UserError(f"{path}: not found; make it with snakemake")
    return pd.read_csv(path)


def interval(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """A figure with its interval, such as 48.4 (44.7 to 52.2)."""
    numbers = f"{value:+.1f}" if sign else f"{value:.1f}"
    return f"{numbers} ({low:.1f} to {high:.1f})".replace("-", "−")


def level_cell(table: pd.DataFrame, method: str, split: str, centred: bool) -> str:
    """The LDS of a method on a split; a dash where the bench does not have it."""
    found = table[(table["method"] == method) & (table["split"] == split)]
    if found.empty:
        return "–"
    row = found.iloc[0]
    if centred:
        return interval(row["lds_centred"], row["centred_ci_low"], row["centred_ci_high"])
    return interval(row["lds"], row["ci_low"], row["ci_high"])


def pair_cell(pairs: pd.DataFrame, method: str, other: str, split: str, centred: bool) -> str:
    """By how much a method is ahead of another; a dash where the bench has no such pair."""
    prefix = "centred_" if centred else ""
    columns = [f"{prefix}difference", f"{prefix}ci_low", f"{prefix}ci_high"]
    here = pairs[pairs["split"] == split]
    for first, second, direction in ((method, other, 1), (other, method, -1)):
        found = here[(here["method"] == first) & (here["other"] == second)]
        if len(found):
            value, *ends = (direction * found.iloc[0][columns].astype(float)).tolist()
            return interval(value, min(ends), max(ends), sign=True)
    return "–"


def print_table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """A table in Markdown; rows that hold nothing but dashes are left out."""
    print(f"\n{title}\n\n| method | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for method, cells in rows.items():
        if set(cells) != {"–"}:
            print(f"| `{method}` | {' | '.join(cells)} |")


def plot(tables: dict[str, pd.DataFrame], methods: list[str], path: Path) -> None:
    """A panel for each bench: the LDS of each method with its interval, of both splits."""
    figure = Figure(
        figsize=(2.2 + 2.1 * len(tables), 1.3 + 0.26 * len(methods)), dpi=160, layout="constrained"
    )
    panels = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    shown = methods[::-1]
    for axes, (bench, table) in zip(panels, tables.items(), strict=True):
        for split, colour in COLOURS.items():
            rows = table[table["split"] == split].set_index("method").reindex(shown)
            heights = [place + OFFSETS[split] for place in range(len(shown))]
            spread = [rows["lds"] - rows["ci_low"], rows["ci_high"] - rows["lds"]]
            label = LABELS[split] if axes is panels[0] else None
            style = {"fmt": "o", "markersize": 3.5, "linewidth": 1, "color": colour, "label": label}
            axes.errorbar(rows["lds"], heights, xerr=spread, **style)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_yticks(range(len(shown)), shown, fontsize=8)
        axes.set_xlabel("LDS (%)", fontsize=8)
        axes.set_title(bench, loc="left", fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path)


options = cli.parser(__doc__)
options.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="results of a bench")
options.add_argument("--methods", nargs="+", help="without it all of the first bench")
options.add_argument("--ahead-of", nargs="+", default=[], metavar="METHOD", help="for tables of pairs")
options.add_argument("--centred", action="store_true", help="the centred LDS")
options.add_argument("--plot", type=Path, help="a PNG to write")


def run(arguments):
    tables = {folder.name: read_table(folder, "lds.csv") for folder in arguments.folders}
    tables = {name: table[table["damping_rule"].isin(MAIN_RULES)] for name, table in tables.items()}
    pairs = {folder.name: read_table(folder, "lds_pairs.csv") for folder in arguments.folders}
    ranked = next(iter(tables.values())).sort_values("lds", ascending=False)["method"]
    methods = arguments.methods or list(dict.fromkeys(ranked))
    places = [(name, split) for name in tables for split in COLOURS]
    columns = [f"{name} {split}" for name, split in places]
    levels = {m: [level_cell(tables[n], m, s, arguments.centred) for n, s in places] for m in methods}
    print_table("LDS in percent", columns, levels)
    for other in arguments.ahead_of:
        ahead = {m: [pair_cell(pairs[n], m, other, s, arguments.centred) for n, s in places] for m in methods}
        print_table(f"Ahead of {other}, in points", columns, ahead)
    if arguments.plot:
        plot(tables, methods, arguments.plot)


if __name__ == "__main__":
    cli.main(run, options)
