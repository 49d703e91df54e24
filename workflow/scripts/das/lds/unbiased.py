"""The unbiased rank correlation of predicted and measured losses, on parts of the subsets and less each one.

Spearman's correlation of n samples has the expectation ((n - 2) rho + 3 tau) / (n + 1): of few subsets it is
too low. The statistic here estimates rho without bias, whatever n (Hoeffding 1948): with the row sums R_i,
S_i of the signs of all pairs, and T the sum over pairs of the products of both variables' signs,

    rho_U = 3 (sum_i R_i S_i - T) / (n (n - 1) (n - 2))

A half of the subsets so measures the same as all of them. A pair of equal values has the sign 0, so that a
constant gives 0, no evidence of a relation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from das.lds.correlation import Counts, Floats

Sums = NDArray[Any]  # integers of up to n³, in the smallest type of floats that holds them


def correlations(prediction: Floats, measured: Floats, parts: Counts) -> Floats:
    """Unbiased rank correlations of each query, [Q, B, L].

    Args:
        prediction: [L, S, Q].
        measured: [S, Q].
        parts: [B, S], 1 for the subsets of each part, 0 for others; 3 of them or more.
    """
    queries = range(measured.shape[1])
    sums = [_Signs(prediction[:, :, q], measured[:, q], parts).whole() for q in queries]
    return np.stack([_normalised(each, parts.sum(1)[:, None]) for each in sums])


def less_one(prediction: Floats, measured: Floats, parts: Counts) -> tuple[Floats, Floats]:
    """Mean over queries of the `correlations`, [B, L]; and less each subset in turn, [B, L, S].

    Less a subset that is not of a part, the part is whole. Memory does not grow with Q.
    """
    (dampings, subsets, queries), size = prediction.shape, parts.sum(1)[:, None]
    whole = np.zeros((len(parts), dampings))
    less = np.zeros((len(parts), dampings, subsets))
    for query in range(queries):
        signs = _Signs(prediction[:, :, query], measured[:, query], parts)
        whole += signs.whole()
        less += signs.less_one()
    whole = _normalised(whole, size) / queries
    less = _normalised(less, size[:, None] - 1) / queries
    return whole, np.where(parts[:, None] > 0, less, whole[:, :, None])


class _Signs:
    """Sums over the signs of all pairs of samples: of x [P, S] and y [S], on parts [B, S]."""

    def __init__(self, x: Floats, y: Floats, parts: Counts) -> None:
        # Exact in float32 where n³ < 2²⁴.
        dtype: DTypeLike = np.float32 if parts.sum(1).max(initial=0) < 256 else np.float64
        variables, samples = x.shape
        self._shape = len(parts), variables, samples
        self._parts: Any = parts.astype(dtype)
        x_signs: Any = np.sign(x[:, :, None] - x[:, None]).astype(dtype)
        self._y: Any = np.sign(y[:, None] - y).astype(dtype)
        # As [P * S, S], a product with the signs of all variables is one.
        self._x, both = x_signs.reshape(-1, samples), (x_signs * self._y).reshape(-1, samples)
        self._x_sums: Any = (self._parts @ self._x.T).reshape(self._shape)
        self._y_sums: Any = self._parts * (self._parts @ self._y.T)
        self._both_sums: Any = (self._parts @ both.T).reshape(self._shape)

    def whole(self) -> Sums:
        """sum_i R_i S_i - T, [B, P]."""
        both = np.matmul(self._both_sums, self._parts[:, :, None])
        return (np.matmul(self._x_sums, self._y_sums[:, :, None]) - both)[:, :, 0]

    def less_one(self) -> Sums:
        """The same less each sample: without its own row, and its place in the rows of others, [B, P, S].

        Undefined where the sample is not of the part.
        """
        x_rows = (self._x_sums * self._parts[:, None]).reshape(-1, self._shape[2])
        sums: Any = (self._y_sums @ self._x.T).reshape(self._shape)
        sums += (x_rows @ self._y.T).reshape(self._shape)
        sums += 3 * self._both_sums
        sums -= self._x_sums * self._y_sums[:, None]
        sums += self.whole()[:, :, None]
        return sums


def _normalised(sums: Sums, n: Counts) -> Floats:
    return 3 * sums.astype(np.float64) / (n * (n - 1) * (n - 2))
