"""The linear datamodeling score (LDS): how well predicted losses rank retrained models.

Notation, after arXiv 2311.00500:

    S, R, Q   subsets, training seeds per subset, query images; L dampings
    measured  loss of a subset's model on a query: mean over timesteps, noise draws and seeds, [S, Q]
    LDS       Spearman correlation over subsets of prediction and measured loss, mean over queries, percent

How the damping is chosen (`damping_rule`):

    held_out  on one half of the subsets, measured on the other, both ways; mean over 20 splits in halves
    oracle    the best on the reported subsets themselves, as published tables do
    none      the method has no damping

Resamples and halves of the subsets are all given as multiplicities `counts` [B, S]: how often a subset
occurs. A correlation that is undefined because one side is constant counts as 0, no evidence of a relation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from das import artifacts
from das.errors import UserError
from das.noise import generator

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

SPLITS = 20
FEWEST_SUBSETS = 8
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

_CHUNK = 2**20  # numbers in the largest temporary array


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
        _require_enough_subsets(predicted)
        measured = read_losses(losses, split, predicted)
        rows += [
            {"dataset": predicted.artifact.dataset, "method": predicted.method, "split": split} | row
            for row in _rows(predicted, measured, Resamples.draw(measured.shape[1], replicates, seed))
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def spearman(x: Floats, y: Floats, counts: Counts) -> Floats:
    """Spearman correlations of repeated samples, ties ranked by their average.

    The rank of sample s among repeated ones is, up to a constant, half the sum of counts[s'] sign(x[s] -
    x[s']), so a matrix product with the comparisons gives the ranks of all resamples at once.

    Args:
        x: [P, S], P variables.
        y: [S], one variable.
        counts: [B, S], how often each sample occurs.

    Returns:
        [B, P]: for each row of counts what scipy.stats.spearmanr gives for x[p] and y with sample s
        repeated counts[s] times, and 0 where either is constant.
    """
    # All sums are integers up to n³ for n samples with repetition: exact in float32 where n³ < 2²⁴.
    dtype: DTypeLike = np.float32 if counts.sum(1).max(initial=0) < 256 else np.float64
    # Signs of x[s'] - x[s], [S', P, S]: those of both variables are turned round, which cancels.
    comparisons: Any = np.sign(x.T[:, :, None] - x[None]).astype(dtype)
    y_comparisons: Any = np.sign(y[:, None] - y[None]).astype(dtype)
    result = np.empty((len(counts), len(x)))
    size = max(1, _CHUNK // x.size)
    for start in range(0, len(counts), size):
        times: Any = counts[start : start + size].astype(dtype)
        y_ranks = times @ y_comparisons
        ranks = (times @ comparisons.reshape(x.shape[1], -1)).reshape(-1, *x.shape)
        covariance = np.einsum("bps,bs->bp", ranks, times * y_ranks)
        variance = np.einsum("bps,bs->bp", np.square(ranks, out=ranks), times)
        y_variance = np.einsum("bs,bs->b", y_ranks**2, times)
        scale = np.sqrt(variance.astype(np.float64) * y_variance[:, None])
        result[start : start + size] = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    return result


def mean_spearman(prediction: Floats, measured: Floats, counts: Counts) -> Floats:
    """Mean over queries of the Spearman correlation over subsets.

    Args:
        prediction: [L, S, Q].
        measured: [S, Q].
        counts: [B, S].

    Returns:
        [B, L], in -1 to 1. Memory does not grow with Q.
    """
    queries = measured.shape[1]
    total = np.zeros((len(counts), len(prediction)))
    for query in range(queries):
        total += spearman(prediction[:, :, query], measured[:, query], counts)
    return total / queries


def lds(prediction: Floats, measured: Floats) -> Floats:
    """LDS in percent at each damping, [L], from prediction [L, S, Q] and measured [S, Q]."""
    everything = np.ones((1, len(measured)), dtype=np.int64)
    return 100 * mean_spearman(prediction, measured, everything)[0]


def centre(measured: Floats) -> Floats:
    """Measured losses [S, Q] without each model's overall level.

    Models of subsets differ in quality as a whole, which no attribution explains: with m_q the mean loss of
    query q, subtract m_q (mean over q of measured[s, q] / m_q - 1).
    """
    per_query = measured.mean(0)
    level = (measured / per_query).mean(1) - 1
    return measured - level[:, None] * per_query


def ceiling(losses: Floats) -> float:
    """How well one seed's losses predict another's: percent, mean over queries and pairs of seeds.

    Args:
        losses: [R, S, Q].

    Returns:
        NaN for a single seed.
    """
    pairs = [lds(a[None], b)[0] for a, b in itertools.combinations(losses, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


@dataclass(frozen=True)
class Halves:
    """Multiplicities [B, S] of two disjoint parts of the subsets, B times."""

    left: Counts
    right: Counts


@dataclass(frozen=True)
class Resamples:
    """All random choices of subsets: splits in halves, bootstrap resamples of all subsets and of halves."""

    splits: Halves
    all: Counts
    halves: Halves

    @classmethod
    def draw(cls, subsets: int, replicates: int, seed: int) -> Resamples:
        """Draw them; bootstrapped halves never share a subset, since each resamples one half."""
        random = generator("lds", seed)
        splits = list(_halves(random, subsets, SPLITS))
        resampled = [
            (_resample(random, left), _resample(random, right))
            for left, right in _halves(random, subsets, replicates)
        ]
        everything = np.ones(subsets, dtype=np.int64)
        whole = np.stack([_resample(random, everything) for _ in range(replicates)])
        return cls(_stack(splits), whole, _stack(resampled))


def choose_held_out(prediction: Floats, measured: Floats, halves: Halves) -> tuple[Floats, NDArray[np.int64]]:
    """LDS with the damping chosen on other subsets than those that it is measured on.

    Returns:
        percent [B], the mean of both ways; and the index of the damping chosen on the left and on the
        right part, [2, B].
    """
    left = mean_spearman(prediction, measured, halves.left)
    right = mean_spearman(prediction, measured, halves.right)
    chosen = np.stack([left.argmax(1), right.argmax(1)])
    each = np.arange(len(left))
    return 50 * (right[each, chosen[0]] + left[each, chosen[1]]), chosen


def read_losses(paths: Sequence[Path], split: str, predicted: Predicted) -> Floats:
    """Losses of one split, mean over noise draws, [R, S, Q], seeds and subsets in ascending order.

    Raises:
        UserError: a file does not fit the predictions, is given twice, or one is missing.
    """
    _, subsets, queries = predicted.prediction.shape
    found: dict[tuple[int, int], tuple[Path, Floats]] = {}
    for path in paths:
        with artifacts.read(path, "losses") as artifact:
            artifacts.require_same("dataset", predicted.artifact, artifact)
            subset, seed = int(artifact.attributes["subset"]), int(artifact.attributes["seed"])
            loss = artifact.read(split, (None, queries), np.float32).astype(np.float64).mean(0)
        if not 0 <= subset < subsets:
            raise UserError(
                f"{path}: of subset {subset}, but {predicted.artifact.path} has {subsets} subsets"
            )
        if (subset, seed) in found:
            raise UserError(f"{path}: subset {subset}, seed {seed} is already in {found[subset, seed][0]}")
        found[subset, seed] = path, loss
    seeds = sorted({seed for _, seed in found})
    missing = [f"subset {s} seed {r}" for s in range(subsets) for r in seeds or [0] if (s, r) not in found]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"losses: missing are {', '.join(missing[:5])}{more}; every subset needs every seed")
    return np.stack([[found[s, r][1] for s in range(subsets)] for r in seeds])


@dataclass(frozen=True)
class Predicted:
    """An opened "predictions" artifact: prediction [L, S, Q] and relative dampings [L], NaN if undamped."""

    artifact: artifacts.Artifact
    method: str
    dampings: Floats
    prediction: Floats

    @classmethod
    def read(cls, path: Path) -> Predicted:
        """Read it."""
        with artifacts.read(path, "predictions") as artifact:
            dampings = np.asarray(artifact.attributes["damping_relative"])
            prediction = artifact.read("prediction", (len(dampings), None, None), np.float64)
            return cls(artifact, artifact.attributes["method"], dampings, prediction)


def _require_enough_subsets(predicted: Predicted) -> None:
    subsets = predicted.prediction.shape[1]
    if subsets < FEWEST_SUBSETS:
        raise UserError(
            f"lds.subsets: found {subsets}, allowed are {FEWEST_SUBSETS} and more, "
            "since the damping is chosen on one half of them and measured on the other"
        )


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


def _halves(random: np.random.Generator, subsets: int, times: int) -> Iterator[tuple[Counts, Counts]]:
    for _ in range(times):
        left = np.zeros(subsets, dtype=np.int64)
        left[random.permutation(subsets)[: subsets // 2]] = 1
        yield left, 1 - left


def _resample(random: np.random.Generator, members: Counts) -> Counts:
    """Draw as many samples as there are members, with replacement, from them."""
    size = int(members.sum())
    return random.multinomial(size, members / size)


def _stack(pairs: Sequence[tuple[Counts, Counts]]) -> Halves:
    left, right = zip(*pairs, strict=True)
    return Halves(np.stack(left), np.stack(right))
