"""The table of one method's LDS, a row per split and damping rule.

Columns, LDS and ceiling in percent:

    dataset, method, split       of which queries: val (held out) or gen (generated)
    damping_rule                 held_out, gcv, oracle or none, see `das.lds`
    damping                      relative to the mean eigenvalue; held_out: geometric mean of those chosen
    lds                          the LDS with that rule
    ci_low, ci_high              its 95% interval: percentiles over bootstrap resamples of the subsets.
                                 held_out chooses the damping in each resample anew, oracle keeps it
    boot_mean, boot_std          mean and standard deviation over the same resamples; for oracle and none
                                 the statistic that D-TRAK publishes
    lds_centred                  the LDS of `centre`d losses, the damping chosen anew by the same rule
    ceiling                      LDS of one training seed's losses as prediction of another's
    n_subsets, n_seeds, n_queries
    centred_ci_low, centred_ci_high
                                 95% interval of lds_centred, over the same resamples as that of lds
    negative_queries             queries with negative LDS; held_out: mean over the splits in halves
    seconds, bytes               what the method takes for these queries, given the model: wall-clock time of
                                 the jobs that make its features, errors, kernels and further models, and of
                                 scoring; size of the files that it reads. Files that methods share count
                                 for each

Resamples hold fewer distinct subsets than there are, which blurs ranks and the choice of damping: the mean
of the bootstrap lies below the LDS, and intervals a little low.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from das.diffusion.losses import read_losses
from das.errors import UserError
from das.lds.correlation import Floats, ceiling, centre, lds, mean_spearman, query_lds
from das.lds.damping import choose_held_out
from das.lds.reading import Predicted, require_enough_subsets
from das.lds.resampling import Resamples
from das.lds.statistics import MethodStatistics, Statistics, measure_statistics

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
    "boot_mean",
    "boot_std",
    "lds_centred",
    "ceiling",
    "n_subsets",
    "n_seeds",
    "n_queries",
    "centred_ci_low",
    "centred_ci_high",
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

    Resamples depend on `seed` and S alone, so they are the same for all methods.

    Args:
        method: its name in the configuration, which may use one scoring rule under several names.
        predictions: "predictions" artifact for "val", "gen" or both.
        losses: one "losses" artifact per subset and seed, in any order, with float32 [draws, Q] arrays
            named as the splits and attributes `subset` (0 to S - 1) and `seed`.
        replicates: number of bootstrap resamples.

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
        seeds, subsets, _ = measured.shape
        resamples = Resamples.draw(subsets, replicates, seed)
        dampings = predicted.dampings if predicted.damped else np.empty(0)
        splits[split] = measure_statistics(predicted.prediction, measured.mean(0), resamples, dampings)
        named = {"dataset": predicted.artifact.dataset, "method": method, "split": split}
        rows += [named | row for row in _rows(predicted, measured, resamples, splits[split])]
    settings = {"subsets": subsets, "seeds": seeds, "replicates": replicates, "seed": seed}
    origin = predicted.artifact
    statistics = MethodStatistics(origin.dataset, method, settings, origin.weights, splits)
    return pd.DataFrame(rows, columns=COLUMNS), statistics


def _rows(
    predicted: Predicted, losses: Floats, resamples: Resamples, statistics: Statistics
) -> Iterator[dict[str, object]]:
    """The table's rows for one split, without what names method and split."""
    prediction, measured = predicted.prediction, losses.mean(0)
    seeds, subsets, queries = losses.shape
    common = {
        "ceiling": ceiling(losses),
        "n_subsets": subsets,
        "n_seeds": seeds,
        "n_queries": queries,
        "seconds": float(predicted.artifact.attributes["cost_seconds"]),
        "bytes": int(predicted.artifact.attributes["cost_bytes"]),
    }
    if predicted.damped:
        _, chosen = choose_held_out(prediction, measured, resamples.splits)
        yield {
            "damping_rule": "held_out",
            "damping": float(np.exp(np.log(predicted.dampings[chosen]).mean())),
            "lds": float(statistics.halves.mean()),
            "lds_centred": float(statistics.halves_centred.mean()),
            "negative_queries": int((statistics.queries < 0).sum()),
            **_intervals(statistics.replicates, statistics.replicates_centred),
            **common,
        }
    if predicted.by_gcv is not None:
        by_gcv = predicted.by_gcv[None]
        yield {
            "damping_rule": "gcv",
            "damping": float(predicted.artifact.attributes["damping_gcv"]),
            "lds": float(lds(by_gcv, measured)[0]),
            "lds_centred": float(lds(by_gcv, centre(measured))[0]),
            "negative_queries": int((query_lds(by_gcv, measured) < 0).sum()),
            **_intervals(
                _bootstrap(by_gcv, measured, resamples), _bootstrap(by_gcv, centre(measured), resamples)
            ),
            **common,
        }
    by_damping, centred = lds(prediction, measured), lds(prediction, centre(measured))
    best, best_centred = int(by_damping.argmax()), int(centred.argmax())
    yield {
        "damping_rule": "oracle" if predicted.damped else "none",
        "damping": float(predicted.dampings[best]),
        "lds": float(by_damping[best]),
        "lds_centred": float(centred[best_centred]),
        "negative_queries": int((query_lds(prediction[[best]], measured) < 0).sum()),
        **_intervals(
            _bootstrap(prediction[[best]], measured, resamples),
            _bootstrap(prediction[[best_centred]], centre(measured), resamples),
        ),
        **common,
    }


def _bootstrap(prediction: Floats, measured: Floats, resamples: Resamples) -> Floats:
    return 100 * mean_spearman(prediction, measured, resamples.all)[:, 0]


def _intervals(boot: Floats, centred: Floats) -> dict[str, float]:
    low, high = np.percentile(boot, [2.5, 97.5])
    centred_low, centred_high = np.percentile(centred, [2.5, 97.5])
    return {
        "ci_low": float(low),
        "ci_high": float(high),
        "boot_mean": float(boot.mean()),
        "boot_std": float(boot.std(ddof=1)) if len(boot) > 1 else float("nan"),
        "centred_ci_low": float(centred_low),
        "centred_ci_high": float(centred_high),
    }
