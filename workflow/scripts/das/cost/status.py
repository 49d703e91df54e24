"""What is done and what is left of a data set, and what it took, beside the estimate of all."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

COSTS = ["rule", "jobs", "hours", "hours_taken", "memory_gb", "memory_gb_taken"]
COLUMNS = [
    "rule",
    "jobs",
    "done",
    "left",
    "hours",
    "hours_left",
    "hours_taken",
    "memory_gb",
    "memory_gb_taken",
]


def planned_jobs(output: str) -> dict[str, int]:
    """Jobs by rule in what `snakemake --dry-run` prints; none where nothing is left."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def describe_status(costs: pd.DataFrame, left: Mapping[str, int]) -> pd.DataFrame:
    """A table with `COLUMNS`, a row per rule and a total.

    Args:
        costs: what `das.cost.measured.beside_measured` returned.
        left: jobs that would run, by the name of their rule; several rules of Snakemake, whose names have
            endings such as _cifar2_3, can be one of the estimate.
    """
    table = costs[COSTS].set_index("rule")
    rules = table.index.drop("total")
    remaining = dict.fromkeys(rules, 0)
    for name, count in left.items():
        matching = [rule for rule in rules if name == rule or name.startswith(f"{rule}_")]
        if matching:
            remaining[max(matching, key=len)] += count
    table["left"] = pd.Series(remaining).clip(upper=table["jobs"])
    table["hours_left"] = table["hours"] * table["left"] / table["jobs"]
    sums = table.loc[rules, ["left", "hours_left"]].sum()
    table.loc["total", sums.index] = sums
    table["done"] = table["jobs"] - table["left"]
    counts = ["jobs", "done", "left"]
    return table.astype(dict.fromkeys(counts, int)).reset_index()[COLUMNS]
