"""The table of one method's LDS, a row per split and damping rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from das.lds.correlation import Floats, ceiling, centre, lds, mean_spearman
from das.lds.damping import choose_held_out
from das.lds.reading import Predicted, read_losses, require_enough_subsets
from das.lds.resampling import Resamples

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
]


def measure_lds(
    predictions: Mapping[str, Path], losses: Sequence[Path], *, replicates: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """LDS of one method, a row per split and damping rule, with the columns `COLUMNS`.

    `lds`, its 95% percentile interval over bootstrap resamples of the subsets (`ci_low`, `ci_high`),
    D-TRAK's published statistic (`boot_mean`, `boot_std`), `lds_centred` (the same rule applied to
    `centre`d losses, the damping chosen anew) and `ceiling` are percent. `damping` is relative. Resamples
    depend on `seed` and S alone, so they are the same for all methods.

    Args:
        predictions: "predictions" artifact for "val", "gen" or both.
        losses: one "losses" artifact per subset and seed, in any order, with float32 [draws, Q] arrays
            named as the splits and attributes `subset` (0 to S - 1) and `seed`.
        replicates: number of bootstrap resamples.

    Raises:
        UserError: files disagree, losses are missing, or there are too few subsets to hold some out.
    """
    rows: list[dict[str, object]] = []
    for split, path in predictions.items():
        predicted = Predicted.read(path)
        require_enough_subsets(predicted)
        measured = read_losses(losses, split, predicted)
        rows += [
            {"dataset": predicted.artifact.dataset, "method": predicted.method, "split": split} | row
            for row in _rows(predicted, measured, Resamples.draw(measured.shape[1], replicates, seed))
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(predicted: Predicted, losses: Floats, resamples: Resamples) -> Iterator[dict[str, object]]:
    """The table's rows for one split, without what names method and split."""
    prediction = predicted.prediction
    seeds, subsets, queries = losses.shape
    measured = losses.mean(0)
    centred = centre(measured)
    common = {"ceiling": ceiling(losses), "n_subsets": subsets, "n_seeds": seeds, "n_queries": queries}
    damped = not np.isnan(predicted.dampings).all()
    if damped:
        values, chosen = choose_held_out(prediction, measured, resamples.splits)
        boot, _ = choose_held_out(prediction, measured, resamples.halves)
        yield {
            "damping_rule": "held_out",
            "damping": float(np.exp(np.log(predicted.dampings[chosen]).mean())),
            "lds": float(values.mean()),
            "lds_centred": float(choose_held_out(prediction, centred, resamples.splits)[0].mean()),
            **_interval(boot),
            **common,
        }
    by_damping = lds(prediction, measured)
    best = int(by_damping.argmax())
    boot = 100 * mean_spearman(prediction[best : best + 1], measured, resamples.all)[:, 0]
    yield {
        "damping_rule": "oracle" if damped else "none",
        "damping": float(predicted.dampings[best]),
        "lds": float(by_damping[best]),
        "lds_centred": float(lds(prediction, centred).max()),
        **_interval(boot),
        **common,
    }


def _interval(boot: Floats) -> dict[str, float]:
    low, high = np.percentile(boot, [2.5, 97.5])
    return {
        "ci_low": float(low),
        "ci_high": float(high),
        "boot_mean": float(boot.mean()),
        "boot_std": float(boot.std(ddof=1)) if len(boot) > 1 else float("nan"),
    }
