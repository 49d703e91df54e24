"""The table of one method's LDS, a row per split and damping rule.

Columns, LDS and ceiling in percent:

    dataset, method, split       of which queries: val (held out) or gen (generated)
    damping_rule                 held_out, gcv, none or oracle, see `das.lds`
    damping                      relative to the mean eigenvalue; held_out: geometric mean of those chosen
    lds                          the LDS with that rule, by the unbiased correlation; oracle: by Spearman's
    ci_low, ci_high              its 95% interval, from a jackknife over subsets that chooses dampings anew.
                                 The oracle has none: it reports the best of several on the same subsets
    lds_centred, centred_ci_low, centred_ci_high
                                 the same of losses and predictions without each model's level, see `centre`
    reliability                  of the measured losses, 0 to 1, see `das.lds.reliability`; needs two draws
    lds_corrected, corrected_ci_low, corrected_ci_high
                                 the LDS against losses measured without noise; empty where the reliability is
                                 not known or too low
    ceiling                      LDS of one training seed's losses as prediction of another's
    of_ceiling                   lds as a share of the highest that this ceiling allows
    boot_mean, boot_std          oracle: mean and standard deviation over bootstrap resamples of the subsets,
                                 as D-TRAK publishes them
    n_subsets, n_seeds, n_queries
    negative_queries             queries with negative LDS
    seconds, bytes               what the method takes for these queries, given the model: wall-clock time of
                                 the jobs that make its features, errors, kernels and further models, and of
                                 scoring; size of the files that it reads. Files that methods share count
                                 for each
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from das.diffusion.losses import read_losses
from das.errors import UserError
from das.lds.correlation import Floats, centre, mean_spearman, spearman_lds
from das.lds.damping import undamped
from das.lds.estimate import Estimate
from das.lds.reading import Predicted, require_enough_subsets
from das.lds.reliability import ceiling, corrected, highest, reliability, tells
from das.lds.resampling import Resamples
from das.lds.statistics import MethodStatistics, Statistics, measure_statistics
from das.lds.unbiased import of_queries

log = logging.getLogger(__name__)

Row = dict[str, object]

# Each method has exactly one row per split with one of these.
MAIN_RULES = ("held_out", "none")
COLUMNS = [
    "dataset",
    "method",
    "split",
    "damping_rule",
    "damping",
    "lds",
    "ci_low",
    "ci_high",
    "lds_centred",
    "centred_ci_low",
    "centred_ci_high",
    "reliability",
    "lds_corrected",
    "corrected_ci_low",
    "corrected_ci_high",
    "ceiling",
    "of_ceiling",
    "boot_mean",
    "boot_std",
    "n_subsets",
    "n_seeds",
    "n_queries",
    "negative_queries",
    "seconds",
    "bytes",
]


def measure_lds(
    method: str,
    predictions: Mapping[str, Path],
    losses: Sequence[Path],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, MethodStatistics]:
    """LDS of one method: the table with the columns `COLUMNS`, and what comparisons are made of.

    Random choices depend on `seed` and S alone, so they are the same for all methods.

    Args:
        method: its name in the configuration, which may use one scoring rule under several names.
        predictions: "predictions" artifact for "val", "gen" or both.
        losses: one "losses" artifact per subset and seed, in any order, with float32 [draws, Q] arrays
            named as the splits and attributes `subset` (0 to S - 1) and `seed`.
        replicates: number of bootstrap resamples, for the oracle.

    Raises:
        UserError: no predictions are given, files disagree, losses are missing, or there are too few
            subsets to hold some out.
    """
    if not predictions:
        raise UserError(f"{method}: no predictions were given, expected those for val, gen or both")
    rows: list[dict[str, object]] = []
    splits: dict[str, Statistics] = {}
    for split, path in predictions.items():
        predicted = Predicted.read(path)
        require_enough_subsets(predicted)
        _, subsets, queries = predicted.prediction.shape
        measured = read_losses(losses, split, predicted.artifact, subsets, queries)
        seeds = len(measured)
        resamples = Resamples.draw(subsets, replicates, seed)
        dampings = predicted.dampings if predicted.damped else np.empty(0)
        mean = measured.mean((0, 1))
        splits[split] = measure_statistics(predicted.prediction, mean, resamples, dampings)
        named = {"dataset": predicted.artifact.dataset, "method": method, "split": split}
        rows += [named | row for row in _rows(predicted, measured, resamples, splits[split])]
    settings = {"subsets": subsets, "seeds": seeds, "seed": seed}
    origin = predicted.artifact
    statistics = MethodStatistics(origin.dataset, method, settings, origin.weights, splits)
    return pd.DataFrame(rows, columns=COLUMNS), statistics


def _rows(
    predicted: Predicted, losses: Floats, resamples: Resamples, statistics: Statistics
) -> Iterator[Row]:
    """The table's rows for one split, without what names method and split, of losses [R, D, S, Q]."""
    measured = losses.mean((0, 1))
    seeds, _, subsets, queries = losses.shape
    found = reliability(losses.mean(0))
    if found is not None and not tells(found):
        log.info(
            "reliability of the measured losses: %.2f (%.2f to %.2f), too low to correct the LDS for it; "
            "more draws or timesteps raise it",
            found.value,
            *found.interval,
        )
    between = ceiling(losses.mean(1))
    common = {
        "reliability": math.nan if found is None else found.value,
        "ceiling": between,
        "n_subsets": subsets,
        "n_seeds": seeds,
        "n_queries": queries,
        "seconds": float(predicted.artifact.attributes["cost_seconds"]),
        "bytes": int(predicted.artifact.attributes["cost_bytes"]),
    }

    def row(rule: str, damping: float, lds: Estimate, centred: Estimate, by_query: Floats) -> Row:
        return {
            "damping_rule": rule,
            "damping": damping,
            **_named("lds", "", lds),
            **_named("lds_centred", "centred_", centred),
            **_named("lds_corrected", "corrected_", corrected(lds, found)),
            "of_ceiling": lds.value / highest(between, seeds),
            "negative_queries": int((by_query < 0).sum()),
            **common,
        }

    if predicted.damped:
        chosen = predicted.dampings[statistics.chosen]
        geometric = float(np.exp(np.log(chosen).mean()))
        yield row("held_out", geometric, statistics.lds, statistics.centred, statistics.queries)
    else:
        yield row("none", math.nan, statistics.lds, statistics.centred, statistics.queries)
    if predicted.by_gcv is not None:
        by_gcv = predicted.by_gcv[None]
        everything = np.ones((1, subsets), np.int64)
        yield row(
            "gcv",
            float(predicted.artifact.attributes["damping_gcv"]),
            undamped(by_gcv, measured),
            undamped(centre(by_gcv), centre(measured)),
            of_queries(predicted.by_gcv, measured, everything),
        )
    yield _oracle(predicted, measured, resamples) | common


def _oracle(predicted: Predicted, measured: Floats, resamples: Resamples) -> Row:
    """The papers' statistic: Spearman's correlation at the damping that is best on the same subsets."""
    by_query = spearman_lds(predicted.prediction, measured)
    best = int(by_query.mean(1).argmax())
    centred = spearman_lds(centre(predicted.prediction), centre(measured)).mean(1)
    boot = 100 * mean_spearman(predicted.prediction[[best]], measured, resamples.bootstrap)[:, 0]
    return {
        "damping_rule": "oracle",
        "damping": float(predicted.dampings[best]),
        "lds": float(by_query[best].mean()),
        "lds_centred": float(centred.max()),
        "boot_mean": float(boot.mean()),
        "boot_std": float(boot.std(ddof=1)) if len(boot) > 1 else math.nan,
        "negative_queries": int((by_query[best] < 0).sum()),
    }


def _named(name: str, prefix: str, estimate: Estimate | None) -> dict[str, float]:
    """Columns of an estimate and its interval, empty where there is none."""
    low, high = (math.nan, math.nan) if estimate is None else estimate.interval
    value = math.nan if estimate is None else estimate.value
    return {name: value, f"{prefix}ci_low": low, f"{prefix}ci_high": high}
