"""The unbiased rank correlation of predicted and measured losses, on parts of the subsets and less each one.

Spearman's correlation of n samples has the expectation ((n - 2) rho + 3 tau) / (n + 1): of few subsets it is
too low. The statistic here estimates rho without bias, whatever n (Hoeffding 1948): with the sum over all
triples of different samples i, j, k,

    rho_U = 3 sum_ijk sign(x_i - x_j) sign(y_i - y_k) / (n (n - 1) (n - 2))

A half of the subsets so measures the same as all of them. A pair of equal values has the sign 0, so that a
constant gives 0, no evidence of a relation.

The mean over queries needs no query's own correlations: for each triple, signs are multiplied and summed over
queries, and parts add up these sums, at a cost that does not grow with the queries. Of all triples, those of
one i are in memory at a time. Sums are of integers, in a type of floats that holds them exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from das.lds.correlation import Counts, Floats


def correlations(prediction: Floats, measured: Floats, parts: Counts) -> Floats:
    """Mean over queries of unbiased rank correlations, [B, L].

    Args:
        prediction: [L, S, Q].
        measured: [S, Q].
        parts: [B, S], 1 for the subsets of each part, 0 for others; 3 of them or more.
    """
    sums = np.zeros((len(parts), len(prediction)))
    for _, having, _, of_row in _rows(prediction, measured, parts):
        sums[having] += of_row
    return sums * _scale(parts.sum(1))[:, None] / measured.shape[1]


def less_one(prediction: Floats, measured: Floats, parts: Counts) -> tuple[Floats, Floats]:
    """The `correlations`, [B, L]; and less each subset in turn, [B, L, S].

    Less a subset that is not of a part, the part is whole.
    """
    (dampings, subsets, queries), size = prediction.shape, parts.sum(1)[:, None, None]
    lost = np.zeros((len(parts), dampings, subsets))  # sums over the triples that each sample is of
    for row, having, of_pairs, of_row in _rows(prediction, measured, parts):
        lost[having] += of_pairs
        lost[having, :, row] += of_row
    lost *= parts[:, None]
    sums = lost.sum(2, keepdims=True) / 3  # every triple is lost with each of its samples
    whole = sums * _scale(size) / queries
    less = (sums - lost) * _scale(size - 1) / queries
    return whole[:, :, 0], np.where(parts[:, None] > 0, less, whole)


def of_queries(prediction: Floats, measured: Floats, parts: Counts) -> Floats:
    """Mean over parts of each query's correlation, [Q], of prediction [S, Q]; the rest as `correlations`."""
    total = np.zeros(measured.shape[1])
    weighted = parts * _scale(parts.sum(1))[:, None]
    for row, has in enumerate(parts.T):
        pairs = weighted[has > 0].T @ parts[has > 0]
        np.fill_diagonal(pairs, 0)
        total += np.einsum("jq,jq->q", _signs(prediction, row), pairs @ _signs(measured, row))
    return total / len(parts)


def of_queries_less_one(prediction: Floats, measured: Floats) -> Floats:
    """Each query's correlation on all subsets, and less each subset, [1 + S, Q], of prediction [S, Q]."""
    rows = range(len(measured))
    x_sums, y_sums = (np.stack([_signs(v, row).sum(0) for row in rows]) for v in (prediction, measured))
    lost = np.empty(measured.shape)
    for row in rows:
        x, y = _signs(prediction, row), _signs(measured, row)
        of_pairs = np.einsum("iq,iq->q", x, y_sums) + np.einsum("iq,iq->q", y, x_sums)
        lost[row] = x_sums[row] * y_sums[row] - 3 * np.einsum("iq,iq->q", x, y) - of_pairs
    sums, size = lost.sum(0) / 3, np.array(len(lost))
    return np.concatenate([sums[None] * _scale(size), (sums - lost) * _scale(size - 1)])


def _rows(
    prediction: Floats, measured: Floats, parts: Counts
) -> Iterator[tuple[int, NDArray[np.intp], Any, Any]]:
    """For each sample i: which parts have it, [C], and sums of its triples, over queries, in these parts.

    The sums are of the triples in which a sample is j or k, [C, L, S], also samples that are not of the part;
    and of all, [C, L].
    """
    dtype: DTypeLike = np.float32
    if 2 * parts.sum(1).max(initial=0) ** 2 * measured.shape[1] >= 2**24:
        dtype = np.float64
    for row, has in enumerate(parts.T):
        having = np.flatnonzero(has)
        y_signs = _signs(measured, row).T
        pairs = np.stack([_signs(each, row) @ y_signs for each in prediction])  # [L, j, k]
        np.einsum("lss->ls", pairs)[:] = 0  # j and k differ
        pairs = (pairs + pairs.transpose(0, 2, 1)).astype(dtype)
        part: Any = parts[having].astype(dtype)
        of_pairs = (part @ pairs.reshape(-1, len(measured)).T).reshape(-1, *pairs.shape[:2])
        yield row, having, of_pairs, np.matmul(of_pairs, part[:, :, None])[:, :, 0] / 2


def _signs(values: Floats, row: int) -> NDArray[np.float32]:
    """Signs of the differences of one sample from all, [S, Q], of values [S, Q]."""
    above, below = values[row] > values, values[row] < values
    return (above.view(np.int8) - below.view(np.int8)).astype(np.float32)


def _scale(n: Counts) -> Floats:
    return 3.0 / (n * (n - 1) * (n - 2))
