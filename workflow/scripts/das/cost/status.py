"""What is done and what is left of a data set: the jobs that a dry run plans, beside the estimate of all."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

COLUMNS = ["rule", "jobs", "done", "left", "gpu_hours", "gpu_hours_left"]


def planned_jobs(output: str) -> dict[str, int]:
    """Jobs by rule in what `snakemake --dry-run` prints; none where nothing is left."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def describe_status(costs: pd.DataFrame, left: Mapping[str, int]) -> pd.DataFrame:
    """A table with `COLUMNS`, a row per rule and a total.

    Args:
        costs: what `das.cost.estimate.estimate_costs` returned.
        left: jobs that would run, by the name of their rule; several rules of Snakemake, whose names have
            endings such as _cifar2_3, can be one of the estimate.
    """
    table = costs[costs["rule"] != "total"].set_index("rule")[["jobs", "gpu_hours"]]
    remaining = dict.fromkeys(table.index, 0)
    for name, count in left.items():
        matching = [rule for rule in table.index if name == rule or name.startswith(f"{rule}_")]
        if matching:
            remaining[max(matching, key=len)] += count
    table["left"] = pd.Series(remaining).clip(upper=table["jobs"])
    table["done"] = table["jobs"] - table["left"]
    table["gpu_hours_left"] = table["gpu_hours"] * table["left"] / table["jobs"]
    table.loc["total"] = table.sum()
    counts = ["jobs", "done", "left"]
    return table.astype(dict.fromkeys(counts, int)).reset_index()[COLUMNS]
