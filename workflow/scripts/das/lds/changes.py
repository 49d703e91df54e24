"""The table of an ablation: a method with one factor changed at a time, against itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from das.lds.comparison import read_methods
from das.lds.table import MAIN_RULES
from das.plan.ablation import Change

COLUMNS = [
    "dataset",
    "factor",
    "value",
    "split",
    "lds",
    "ci_low",
    "ci_high",
    "difference",
    "difference_ci_low",
    "difference_ci_high",
    "lds_centred",
    "seconds",
    "bytes",
]
BASE = "base"


def summarise_changes(
    base: str, changes: Sequence[Change], tables: Sequence[Path], statistics: Sequence[Path]
) -> pd.DataFrame:
    """The LDS of a method and of its changes, with the columns `COLUMNS`, a row per change and split.

    `lds`, its interval, `lds_centred`, `seconds` and `bytes` are those of `das.lds.table` with the damping
    chosen on held-out subsets, or of a change that has no damping. `difference` is the LDS minus the base
    method's, in percent points, with the 95% interval of the paired jackknife over subsets.
    The base method itself has the factor "base".

    Args:
        base: name of the base method.
        tables, statistics: what `measure_lds` made for the base method and for each change, in any order.

    Raises:
        UserError: a file does not belong to the others.
    """
    table = pd.concat([pd.read_csv(path) for path in tables])
    rows = table[table["damping_rule"].isin(MAIN_RULES)].set_index(["method", "split"])
    measured = {method.method: method for method in read_methods(statistics)}
    found = []
    for change in [Change(base, BASE, base), *changes]:
        for split, here in measured[change.method].splits.items():
            there = measured[base].splits[split]
            row = rows.loc[(change.method, split)]
            gap = here.lds - there.lds
            named: dict[str, object] = {"factor": change.factor, "value": change.value, "split": split}
            named |= {
                "difference": gap.value,
                "difference_ci_low": gap.interval[0],
                "difference_ci_high": gap.interval[1],
            }
            found.append(named | {name: row[name] for name in COLUMNS if name not in named})
    return pd.DataFrame(found, columns=COLUMNS)
