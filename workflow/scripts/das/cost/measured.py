"""What jobs took, beside the estimate."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


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


def beside_measured(costs: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The costs with what jobs have taken until now, in `hours_taken` and `memory_gb_taken`.

    Args:
        costs: what `das.cost.estimate.estimate_costs` returned.
        measured: what `measured_jobs` returned. Rules that the estimate does not know are left out.
    """
    rules = costs["rule"].drop(costs.index[-1])
    measured = measured.reindex(rules)
    measured.loc["total"] = {
        "hours_taken": measured["hours_taken"].sum(min_count=1),
        "memory_gb_taken": measured["memory_gb_taken"].max(),
    }
    return costs.join(measured, on="rule")
