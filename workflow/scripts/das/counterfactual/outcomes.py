"""Counterfactual evaluation: what becomes of a generated picture without the images that mattered for it.

As published (arXiv 2311.00500 and 2410.18639): for each query a model is trained anew from the same seed
without the images that a method ranks highest, and generates the query again from the same noise. The further
the new picture is from the old one, the more those images mattered. Here, besides, the opposite test keeps
those images alone: then the nearer, the better. Random images are the control of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.noise import generator
from das.plan.paths import RANDOM, TESTS

KIND = "counterfactual"
# Of the new picture and the new model, beside the old ones, in the order of tables and plots.
MEASURES = ("l2", "clip_cosine", "loss_difference")
COLUMNS = [
    "dataset",
    "test",
    "method",
    "measure",
    "median",
    "ci_low",
    "ci_high",
    "minus_random",
    "minus_random_ci_low",
    "minus_random_ci_high",
    "n_images",
    "n_queries",
]


def read_outcomes(paths: Sequence[Path]) -> pd.DataFrame:
    """What was measured for each test, method and query.

    Args:
        paths: "counterfactual" artifacts, one for each test and method, with `images` uint8 [Q, H, W, C] and
            float64 [Q] arrays: those of `MEASURES` that were measured, of which "clip_cosine" need not be.

    Returns:
        Columns dataset, test, method, n_images, query, measure, value; methods in the order of the paths.

    Raises:
        UserError: files are of different data sets, models or settings.
    """
    tables = []
    for path in paths:
        with artifacts.read(path, KIND) as artifact:
            removal = artifact.settings["removal"]
            named = {"dataset": artifact.dataset, "test": removal["test"], "method": removal["method"]}
            named["n_images"] = removal["images"]
            count, measured = artifact.shape("images")[0], [m for m in MEASURES if m in artifact]
            for measure in measured:
                values = artifact.read(measure, (count,), np.float64)
                columns = {"query": range(count), "measure": measure, "value": values}
                tables.append(pd.DataFrame(named | columns))
            origin = artifact.dataset, artifact.weights, removal["images"], count, measured
        if path == paths[0]:
            expected = origin
        for what, found, first in zip(
            ("data set", "model", "images", "queries", "measures"), origin, expected, strict=True
        ):
            if found != first:
                raise UserError(f"{path}: {what} found {found!r}, but {first!r} in {paths[0]}; must agree")
    return pd.concat(tables, ignore_index=True)


def summarise(outcomes: pd.DataFrame, replicates: int) -> pd.DataFrame:
    """Medians over the queries, and of their paired differences to random images: the columns `COLUMNS`.

    `l2` is the Euclidean distance of the new picture to the old one: of pixels in [0, 1], or of a latent
    model's latents. `clip_cosine` is the cosine of CLIP's embeddings of both. `loss_difference` is the
    denoising loss on the old picture by the new model minus that by the old one. `minus_random` is the median
    over the queries of the method's value less that of random images. Intervals are 95% percentiles of the
    bootstrap over queries, which all rows share: they say what other queries would have, not what other seeds
    of the training would.

    Args:
        outcomes: see `read_outcomes`.
    """
    methods = list(dict.fromkeys(outcomes["method"]))
    queries = outcomes["query"].nunique()
    resamples = generator("counterfactual", "bootstrap").integers(0, queries, (replicates, queries))
    dataset, n_images = outcomes.iloc[0][["dataset", "n_images"]]
    rows = []
    for test in TESTS:
        for measure in MEASURES:
            chosen = outcomes[(outcomes["test"] == test) & (outcomes["measure"] == measure)]
            values = chosen.pivot(index="query", columns="method", values="value")
            for method in methods if len(values) else ():
                mine = values[method].to_numpy()
                paired = mine - values[RANDOM].to_numpy()
                gap = _median(paired, resamples) if method != RANDOM else (np.nan,) * 3
                row = (dataset, test, method, measure, *_median(mine, resamples), *gap, n_images, queries)
                rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _median(values: NDArray[np.float64], resamples: NDArray[np.int64]) -> tuple[float, float, float]:
    """The median and its 95% interval."""
    low, high = np.percentile(np.median(values[resamples], axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)
