"""The kernel by a Cholesky decomposition for each damping: where there is one, or inner products are all.

With L Lᵀ the damped matrix of `das.scoring.kernel`:

    primal:   images are their features; g_qᵀ K is solved for the queries, and h_i = ‖L⁻¹ g_i‖²
    dual:     training image i is row i of the identity, e_i, and a query G g_q; 1 - h_i = λ ‖L⁻¹ e_i‖²
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.sparse import eye_array

from das.errors import UserError
from das.jobs.blocks import blocks
from das.scoring.kernel import Features, Floats, Kernel, primal_one_minus_leverage


class SolvedKernel(Kernel):
    """K by solving anew for each λ; the last decomposition is kept."""

    def __init__(self, features: Features, gram: Floats) -> None:
        super().__init__(features, gram)
        self._gram = gram
        self._kept: tuple[float, Floats] | None = None

    def solve(self, query: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        return cho_solve((self._factor(damping), True), query.T, check_finite=False).T

    def _factor(self, damping: float) -> Floats:
        """L, [m, m], zero above the diagonal."""
        if self._kept is None or self._kept[0] != damping:
            self._kept = None  # the old one need not be in memory beside the new one
            damped = self._gram.copy(order="F")
            damped[np.diag_indices_from(damped)] += damping
            try:
                found = cholesky(damped, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError as error:
                raise UserError(
                    f"kernel: not positive definite with the damping {damping:.3g}; make the kernel again, "
                    "or take a larger damping"
                ) from error
            self._kept = damping, found
        return self._kept[1]


class SolvedPrimalKernel(SolvedKernel):
    """K from the k x k matrix GᵀG, or another one in its place."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return features

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._features.read(rows)

    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        halves = solve_triangular(self._factor(damping), train.T, lower=True, check_finite=False)
        leverage, squares = np.einsum("ij,ij->j", halves, halves), np.einsum("ij,ij->i", train, train)
        return primal_one_minus_leverage(leverage, squares, damping)

    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        return np.linalg.norm(self.solve(train, damping), axis=1), np.linalg.norm(train, axis=1)


class SolvedDualKernel(SolvedKernel):
    """K from the N x N matrix GGᵀ."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return self._products(features)

    def train(self, rows: range) -> Any:  # noqa: D102 -- inherited
        return eye_array(len(rows), self._features.n, k=rows.start, format="csr")

    def one_minus_leverage(self, train: Any, damping: float) -> Floats:  # noqa: D102 -- inherited
        first = train.indices[0]  # L⁻¹ e_i is zero above i
        lower, right = self._factor(damping)[first:, first:], train.toarray()[:, first:].T
        halves = solve_triangular(lower, right, lower=True, check_finite=False)
        return damping * np.einsum("ij,ij->j", halves, halves)

    def norms(self, train: Any, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        # K g_i = Gᵀ (GGᵀ + λI)⁻¹ e_i.
        solved, kernel = self.solve(train.toarray(), damping), np.zeros((train.shape[0], self._features.k))
        for rows in blocks(self._features.n, self._features.k):
            kernel += solved[:, rows.start : rows.stop] @ self._features.read(rows)
        return np.linalg.norm(kernel, axis=1), train @ np.sqrt(np.diag(self._gram))
