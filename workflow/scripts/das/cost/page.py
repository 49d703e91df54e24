"""The page docs/cost.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from das.cost.estimate import OVERHEADS

_INTRODUCTION = """\
# What the published data sets cost

Estimates for `results/NAME/lds.csv` with all methods of `config/config.yaml`, from nothing. They are made
before anything is downloaded or computed. For a data set of your own:

    .venv/bin/snakemake --cores 1 results/NAME/cost.csv

**GPU hours are estimates, not measurements**: FLOPs are counted, multiplied by what a kind of pass was
measured to cost per FLOP on a CPU, and divided by an assumed sustained speed, `execution.gpu_tflops` in
`config/config.yaml`. No GPU was available to check them. The default speeds are cautious for a GPU of the
A100's class; on one that sustains half of them everything takes twice as long.
"""

_SUMS = """\
Longest job and memory are those of the largest job; hours and disk are sums over all jobs.
"""

_PROTOCOLS = """\
## Two protocols

GPU hours of `results/NAME/lds_das.csv` alone, as published and with `--configfile config/economical.yaml`:
"""

_ERRORS = """\
The economical protocol retrains each subset once instead of three times, and measures losses at 50
timesteps where retrained models differ most, in two draws
([running.md](running.md#losses-at-fewer-timesteps)). Its LDS is against models of one training seed, which is
lower than that against the mean of three: compare methods within a protocol, not figures of one with figures
of the other. [measurements.md](measurements.md#intervals) has the width of intervals by subsets.
"""

_METHOD = """\
## How it is estimated

- **FLOPs** of a row, one (image, timestep) pair through the UNet, are counted on the network that the
  configuration describes, built without memory for its weights, the backward passes too. Features that see
  the same rows share the forward pass, as when one command makes them all. A row of `compare_patches` is a
  query: its products in float64 count twice, an exponential as 200. No GPU was measured for that either.
- **Overheads** are time per FLOP relative to a forward pass, measured on a CPU (one thread, float32, CIFAR's
  UNet): {overheads}. Two smaller networks were within a quarter of them. On a GPU, where small
  operations cost relatively more, they have not been measured.
- **Memory** is the most that is live at once when a batch is played through the network with shapes alone,
  in float32 throughout: for fp16 and bf16 an upper bound. Peaks of processes measured on a CPU were up to
  15% higher. On a GPU, the CUDA context and what the allocator holds in reserve come on top and have not
  been measured. Lower it with `jobs.rows_per_batch`, and that of training with `train.batch_size`.
- **Disk** is what a rule leaves, uncompressed. A training keeps 12 bytes per trained parameter in `.resume/`
  while it runs. Files of which no size is published count as nothing.
- **Left out**: starting processes, loading models, embedding captions, and `scores/`, which `lds.csv` does
  not need.

`.venv/bin/snakemake --cores 1 describe_costs` makes this page, and
`.venv/bin/python tests/benchmarks/bench_cost.py` repeats the measurements. That also prints the speed of
your CPU, for `execution.cpu_tflops`, from which hours are where `jobs.gpus` is 0.
"""


def describe_costs(
    tables: Sequence[pd.DataFrame], published: Sequence[pd.DataFrame], economical: Sequence[pd.DataFrame]
) -> str:
    """The page docs/cost.md from tables of some data sets: of all methods, and of das by two protocols."""
    overheads = ", ".join(f"{kind} {factor:g}" for kind, factor in OVERHEADS.items())
    summary = [_summary(table) for table in tables]
    parts = [
        _INTRODUCTION.format(overheads=overheads),
        _markdown(summary),
        _SUMS,
        _PROTOCOLS,
        _markdown([_protocols(*pair) for pair in zip(published, economical, strict=True)]),
        _ERRORS,
        _METHOD.format(overheads=overheads),
    ]
    for table in tables:
        lines = [_line(row) for row in table.to_dict("records")]
        parts += [f"## {table.dataset.iloc[0]}\n", _markdown(lines)]
    return "\n".join(parts)


def _summary(table: pd.DataFrame) -> dict[str, str]:
    total = table[table.rule == "total"].iloc[0]
    return {
        "data set": f"[{total.dataset}](#{total.dataset})",
        "trained parameters": f"{total.parameters:,}",
        "training images": f"{total.images:,}",
        "retrained models": f"{total.models:,}",
        "GPU hours": _number(total.hours),
        "longest job, hours": _number(total.hours_per_job),
        "GPU memory, GB": _number(total.gpu_memory_gb),
        "main memory, GB": _number(total.memory_gb),
        "disk, GB": _number(total.disk_gb),
    }


def _protocols(published: pd.DataFrame, economical: pd.DataFrame) -> dict[str, str]:
    """What a data set takes by both protocols."""
    line = {"data set": str(published.dataset.iloc[0])}
    for name, table in (("published", published), ("economical", economical)):
        hours = table.set_index("rule").hours
        line |= {
            f"models, {name}": f"{table.models.iloc[0]:,}",
            f"hours, {name}": _number(hours["total"]),
            f"of it losses, {name}": _number(hours["evaluate_subset_models"]),
        }
    return line


def _line(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "rule": row["rule"] if row["rule"] == "total" else f"`{row['rule']}`",
        "jobs": f"{row['jobs']:,}",
        "rows": f"{row['rows']:,}" if row["rows"] else "",
        "GFLOP per row": _number(row["gflop_per_row"]),
        "TFLOP/s": _number(row["tflops"]),
        "GPU hours": _number(row["hours"]),
        "longest job, hours": _number(row["hours_per_job"]),
        "GPU memory, GB": _number(row["gpu_memory_gb"]),
        "main memory, GB": _number(row["memory_gb"]),
        "disk, GB": _number(row["disk_gb"]),
    }


def _number(value: float) -> str:
    """Two significant digits, which is more than an estimate has; nothing for nothing."""
    if not value > 0:
        return ""
    if value < 0.01:
        return "< 0.01"
    return f"{float(f'{value:.2g}'):,.10g}"


def _markdown(lines: Sequence[Mapping[str, str]]) -> str:
    names = list(lines[0])
    rows = [names, ["---", *["---:"] * (len(names) - 1)], *(list(line.values()) for line in lines)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
