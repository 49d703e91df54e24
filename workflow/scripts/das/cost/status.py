"""What is done and what is left of a data set, and what it took, beside the estimate of all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

COLUMNS = [
    "rule",
    "jobs",
    "done",
    "left",
    "gpu_hours",
    "gpu_hours_left",
    "hours_taken",
    "memory_gb",
    "memory_gb_taken",
]


def planned_jobs(output: str) -> dict[str, int]:
    """Jobs by rule in what `snakemake --dry-run` prints; none where nothing is left."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def measured_jobs(folder: Path) -> pd.DataFrame:
    """Hours of all jobs, and the most memory of one in GB, of each rule that Snakemake has measured.

    Args:
        folder: with the logs of the data set; files such as measure_errors/000.tsv are benchmarks.
    """
    rows = []
    for path in folder.rglob("*.tsv"):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv").partition("@")[0]
        took = pd.read_csv(path, sep="\t").iloc[-1]
        rows.append((rule, took["s"] / 3600, took["max_rss"] * 2**20 / 1e9))
    table = pd.DataFrame(rows, columns=["rule", "hours_taken", "memory_gb_taken"])
    return table.groupby("rule").agg({"hours_taken": "sum", "memory_gb_taken": "max"})


def describe_status(costs: pd.DataFrame, left: Mapping[str, int], measured: pd.DataFrame) -> pd.DataFrame:
    """A table with `COLUMNS`, a row per rule and a total.

    Args:
        costs: what `das.cost.estimate.estimate_costs` returned.
        left: jobs that would run, by the name of their rule; several rules of Snakemake, whose names have
            endings such as _cifar2_3, can be one of the estimate.
        measured: what `measured_jobs` returned.
    """
    table = costs[costs["rule"] != "total"].set_index("rule")[["jobs", "gpu_hours", "memory_gb"]]
    remaining = dict.fromkeys(table.index, 0)
    for name, count in left.items():
        matching = [rule for rule in table.index if name == rule or name.startswith(f"{rule}_")]
        if matching:
            remaining[max(matching, key=len)] += count
    table["left"] = pd.Series(remaining).clip(upper=table["jobs"])
    table["done"] = table["jobs"] - table["left"]
    table["gpu_hours_left"] = table["gpu_hours"] * table["left"] / table["jobs"]
    table = table.join(measured)
    largest = table[["memory_gb", "memory_gb_taken"]].max()
    table.loc["total"] = table.sum()
    table.loc["total", largest.index] = largest
    counts = ["jobs", "done", "left"]
    return table.astype(dict.fromkeys(counts, int)).reset_index()[COLUMNS]
