"""The kernel by an eigendecomposition, for many dampings and to choose one of them.

Besides the notation of `das.scoring.kernel`:

    U, S, V   singular value decomposition G = U S Vᵀ with singular values s_j

What methods need are sums over m coordinates, weighted by 1 / (s_j² + λ):

    primal:   GᵀG = V S² Vᵀ; the query's coordinates are g_qᵀ V, the training image's g_iᵀ V
    dual:     GGᵀ = U S² Uᵀ; the query's are g_qᵀ Gᵀ U, the training image's row i of U
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from das.jobs.blocks import blocks
from das.scoring.kernel import Features, Floats, Kernel, primal_one_minus_leverage

# Eigenvalues below this part of the largest are rounding, in place of zero.
EPSILON = 1e-14
# From this size on, divide and conquer needs a work space of more numbers than LAPACK's 32 bits count.
DIVIDE_BELOW = 32_767


class SpectralKernel(Kernel):
    """K for every λ from one eigendecomposition, with cross-validation."""

    # Each coordinate has its own eigenvalue, so what all images have in common does not cancel in products.
    # In float32 squares erred by up to 9e-7 of the largest, which the last bit of features makes at small λ;
    # by 3e-5 in coordinates that are features.
    single = True

    def __init__(self, features: Features, gram: Floats) -> None:
        super().__init__(features, gram)
        # Divide and conquer: its eigenvectors are orthogonal to rounding, a hundred times better than evr's.
        driver = "evd" if len(gram) < DIVIDE_BELOW else "evr"
        eigenvalues, self._vectors = eigh(gram, overwrite_a=True, check_finite=False, driver=driver)
        self._spectrum: Floats = np.where(eigenvalues > EPSILON * eigenvalues[-1], eigenvalues, 0)

    def solve(self, query: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        return query / (self._spectrum + damping)

    def gcv(self, targets: Floats, dampings: Sequence[float]) -> list[float]:
        """Generalised cross-validation of a ridge regression on the features: how well λ predicts left-outs.

        N ‖(I - S) y‖² / tr(I - S)² with S = G K Gᵀ: the mean squared leave-one-out error of targets y, with
        the mean leverage in the place of each. Golub, Heath and Wahba, Technometrics 21 (1979).

        Args:
            targets: y, [N].
            dampings: absolute, λ.
        """
        components, rest = self._split(targets)
        shrunk = [damping / (self._spectrum + damping) for damping in dampings]
        n, beyond = len(targets), len(targets) - len(components)
        return [
            n * (float(each**2 @ components**2) + rest) / (float(each.sum()) + beyond) ** 2 for each in shrunk
        ]

    @abstractmethod
    def _split(self, targets: Floats) -> tuple[Floats, float]:
        """Components Uᵀ y of targets [N], [m]; and ‖y - U Uᵀ y‖², what no feature explains."""


class SpectralPrimalKernel(SpectralKernel):
    """K from the k x k matrix GᵀG."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return features @ self._vectors

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._features.read(rows) @ self._vectors

    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        squares = train**2
        leverage = squares @ (1 / (self._spectrum + damping))
        return primal_one_minus_leverage(leverage, squares.sum(1), damping)

    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        squares = train**2
        return np.sqrt(squares @ (self._spectrum + damping) ** -2.0), np.sqrt(squares.sum(1))

    def _split(self, targets: Floats) -> tuple[Floats, float]:
        total = np.zeros(self._features.k)
        for rows in blocks(self._features.n, self._features.k):
            total += targets[rows.start : rows.stop] @ self._features.read(rows)
        singular = np.sqrt(self._spectrum)
        # U has no column where the singular value is 0.
        components = np.divide(
            total @ self._vectors, singular, out=np.zeros_like(singular), where=singular > 0
        )
        return components, max(float(targets @ targets - components @ components), 0.0)


class SpectralDualKernel(SpectralKernel):
    """K from the N x N matrix GGᵀ."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return self._products(features) @ self._vectors

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._vectors[rows.start : rows.stop]

    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        return train**2 @ (damping / (self._spectrum + damping))

    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        # Row i of U S Vᵀ is g_i, and K g_i is row i of (GGᵀ + λI)⁻¹ G.
        squares = train**2
        kernel = squares @ (self._spectrum / (self._spectrum + damping) ** 2)
        return np.sqrt(kernel), np.sqrt(squares @ self._spectrum)

    def _split(self, targets: Floats) -> tuple[Floats, float]:
        # U is square, so nothing is left. A difference of norms would be rounding, and at small λ more than
        # all the error.
        return targets @ self._vectors, 0.0
