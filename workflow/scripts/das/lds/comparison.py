"""Comparing methods: per query, in pairs, and by the number of subsets that LDS is measured with.

All are tables of one data set, LDS in percent, made from the "statistics" of all methods.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from das.errors import UserError
from das.lds.statistics import MethodStatistics

PAIR_COLUMNS = [
    "dataset",
    "split",
    "method",
    "other",
    "difference",
    "ci_low",
    "ci_high",
    "centred_difference",
    "centred_ci_low",
    "centred_ci_high",
    "n_subsets",
]


def read_methods(paths: Sequence[Path]) -> list[MethodStatistics]:
    """The statistics of all methods, which must come from the same data set and the same splits.

    Raises:
        UserError: they do not, or one method is given twice.
    """
    methods = [MethodStatistics.read(path) for path in paths]
    agreed: dict[str, tuple[object, Path]] = {}
    names: dict[str, Path] = {}
    for path, method in zip(paths, methods, strict=True):
        if method.method in names:
            raise UserError(f"{path}: method {method.method!r} is already in {names[method.method]}")
        names[method.method] = path
        queries = {f"{split}'s queries": len(found.queries) for split, found in method.splits.items()}
        for what, value in {"data set": method.dataset, "settings": method.settings, **queries}.items():
            expected, first = agreed.setdefault(what, (value, path))
            if value != expected:
                raise UserError(f"{path}: {what}: found {value!r}, but {expected!r} in {first}; must agree")
    return methods


def compare_queries(methods: Sequence[MethodStatistics]) -> pd.DataFrame:
    """LDS of each query with the damping chosen on held-out subsets, or of a method without damping.

    Columns: dataset, method, split, query (index in the split), lds. Their mean over queries is `lds` in
    the table of the method.
    """
    rows = [
        (method.dataset, method.method, split, query, value)
        for method in methods
        for split, statistics in method.splits.items()
        for query, value in enumerate(statistics.queries)
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "split", "query", "lds"])


def compare_pairs(methods: Sequence[MethodStatistics]) -> pd.DataFrame:
    """Differences of LDS between all pairs of methods, the better one first.

    Columns: dataset, split, method, other; `difference` of held-out LDS, method minus other, in percent
    points, with its 95% interval `ci_low`, `ci_high` from the jackknife over the subsets that both are
    measured on; `centred_difference`, `centred_ci_low`, `centred_ci_high`; n_subsets. Intervals are of one
    difference each: of many pairs, some exclude zero by chance.
    """
    rows: list[tuple[object, ...]] = []
    for split in ("val", "gen"):
        found = {method.method: method.splits[split] for method in methods if split in method.splits}
        ranked = sorted(found, key=lambda name: (-found[name].lds.value, name))
        for name, other in itertools.combinations(ranked, 2):
            a, b = found[name], found[other]
            plain, centred = a.lds - b.lds, a.centred - b.centred
            values = [plain.value, *plain.interval, centred.value, *centred.interval]
            if len(a.queries) == 1:
                values[3:] = [math.nan] * 3  # a single query is its own level
            rows.append((methods[0].dataset, split, name, other, *values, methods[0].settings["subsets"]))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def compare_subsets(methods: Sequence[MethodStatistics]) -> pd.DataFrame:
    """LDS by the number of subsets that it is measured with, drawn without replacement.

    Columns: dataset, method, split, n_subsets; `lds_mean` and `lds_std` over the draws. Draws share
    subsets, the more the larger they are: with all subsets there is one, and no spread is left.
    """
    # Less the first draw, equal draws have a spread of exactly 0.
    rows = [
        (method.dataset, method.method, split, size, draws.mean(), (draws - draws[0]).std(ddof=1))
        for method in methods
        for split, statistics in method.splits.items()
        for size, draws in zip(statistics.sizes, statistics.by_size, strict=True)
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "split", "n_subsets", "lds_mean", "lds_std"])
