"""Rank correlation of predicted and measured losses over resampled subsets, for all resamples at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_ROUNDING = 1e-12  # of values whose standard deviation is 1
_CHUNK = 2**20  # numbers in the largest temporary array


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


def spearman_lds(prediction: Floats, measured: Floats) -> Floats:
    """Spearman's correlation in percent of each query, [L, Q], of prediction [L, S, Q], measured [S, Q]."""
    everything = np.ones((1, len(measured)), dtype=np.int64)
    queries = range(measured.shape[1])
    found = [spearman(prediction[:, :, q], measured[:, q], everything)[0] for q in queries]
    return 100 * np.stack(found, axis=1)


def centre(values: Floats) -> Floats:
    """Measured or predicted losses [..., S, Q] without each model's overall level.

    Models of subsets differ in quality as a whole, and their predictions by images that matter to all
    queries. Standardise each query over subsets, and subtract the mean over queries. A query whose values
    are all equal counts as 0, and so does what rounding leaves of values that are a level and no more.
    """
    standard = values - values[..., :1, :]  # equal values have a spread of exactly 0
    spread = standard.std(-2, keepdims=True)
    standard -= standard.mean(-2, keepdims=True)
    standard = np.divide(standard, spread, out=np.zeros_like(standard), where=spread > 0)
    standard -= standard.mean(-1, keepdims=True)
    standard[np.abs(standard) < _ROUNDING] = 0
    return standard
