"""The kernel of the training features, solved for every damping.

Notation:

    N, k      number of training images, dimension of a feature
    G         training features [N, k]; g_i is its row i, g_q the feature of a query image
    λ         damping
    K         (GᵀG + λI)⁻¹
    h_i       g_iᵀ K g_i, the leverage of training image i
    U, S, V   singular value decomposition G = U S Vᵀ with singular values s_j
    m         min(N, k)

Methods need g_qᵀ K g_i and 1 - h_i. Both are sums over m coordinates, weighted by 1 / (s_j² + λ), so one
eigendecomposition of the smaller of GᵀG and GGᵀ serves every λ:

    primal, k < N:   GᵀG = V S² Vᵀ; the query's coordinates are g_qᵀ V, the training image's g_iᵀ V
    dual, N <= k:    GGᵀ = U S² Uᵀ; the query's are g_qᵀ Gᵀ U, the training image's row i of U,
                     since K Gᵀ = Gᵀ (GGᵀ + λI)⁻¹, and 1 - h_i = λ [(GGᵀ + λI)⁻¹]_ii without cancellation

Where neither leverages nor anything else of the spectrum is wanted, as with a matrix H in the place of GᵀG, a
Cholesky decomposition for each λ takes a thirtieth of that, and training images stay as they are:

    g_qᵀ (H + λI)⁻¹ is solved for the queries once, and multiplied with blocks of G

Everything is float64. Of G only blocks of rows are in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from das.errors import UserError
from das.jobs.blocks import blocks
from das.jobs.memory import require_memory

Floats = NDArray[np.float64]
# Singular values below this part of the largest are rounding: they are roots of eigenvalues in float64.
EPSILON = 1e-7
# From this size on, divide and conquer needs a work space of more numbers than LAPACK's 32 bits count.
DIVIDE_BELOW = 32_767


class Features(Protocol):
    """Features of n images, read by blocks of rows, such as `das.scoring.feature_shards.Shards`."""

    n: int
    k: int

    def read(self, rows: range) -> Floats:
        """Features [len(rows), k] of consecutive images."""
        ...


@dataclass(frozen=True)
class Damping:
    """One damping in three scales.

    `relative` is what users choose. `absolute` is λ itself, relative * tr(GᵀG) / min(N, k), so that the
    same relative value means the same for any number of images and any size of the features. `unscaled`
    is absolute * k: the figure in the papers (arXiv 2311.00500), whose Gaussian sketch y of x is not
    scaled, ‖y‖² ≈ k‖x‖².
    """

    relative: float
    absolute: float
    unscaled: float


class Kernel(ABC):
    """g_qᵀ K g_i for every λ; made by `build_kernel`."""

    def __init__(self, features: Features, gram: Floats) -> None:
        trace = float(np.trace(gram))
        if not trace > 0:
            raise UserError("features: all are zero, so there is no kernel; check the gradients' settings")
        self._features = features
        self._scale = trace / len(gram)

    def damping(self, relative: float) -> Damping:
        """The damping with this relative value, which must be positive."""
        if not 0 < relative < np.inf:
            raise UserError(f"damping: found {relative}, allowed are positive numbers")
        absolute = relative * self._scale
        return Damping(relative, absolute, absolute * self._features.k)

    @abstractmethod
    def query(self, features: Floats) -> Floats:
        """Coordinates [Q, m] of query features [Q, k]. The dual reads all training features once."""

    @abstractmethod
    def train(self, rows: range) -> Floats:
        """Coordinates [n, m] of consecutive training images."""

    @abstractmethod
    def solve(self, query: Floats, damping: float) -> Floats:
        """Of query coordinates [Q, m] those whose products with training coordinates are g_qᵀ K g_i, [Q, m].

        Raises:
            UserError: the kernel is not positive definite.
        """

    def inner(self, query: Floats, train: Floats, damping: float) -> Floats:
        """g_qᵀ K g_i, [Q, n], from coordinates [Q, m] and [n, m] and the absolute damping λ."""
        return self.solve(query, damping) @ train.T


class SolvedKernel(Kernel):
    """K from a k x k matrix, solved for each λ: inner products and nothing else. Coordinates are features."""

    def __init__(self, features: Features, gram: Floats) -> None:
        super().__init__(features, gram)
        self._gram = gram

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return features

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._features.read(rows)

    def solve(self, query: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        damped = self._gram.copy()
        damped[np.diag_indices_from(damped)] += damping
        try:
            factor = cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError as error:
            raise UserError(
                f"kernel: not positive definite with the damping {damping:.3g}; make the kernel again, or "
                "take a larger damping"
            ) from error
        return cho_solve(factor, query.T, check_finite=False).T


class SpectralKernel(Kernel):
    """K for every λ from one eigendecomposition, with leverages, norms and cross-validation."""

    def __init__(self, features: Features, gram: Floats) -> None:
        super().__init__(features, gram)
        # Divide and conquer: its eigenvectors are orthogonal to rounding, a thousand times better than evr's.
        driver = "evd" if len(gram) < DIVIDE_BELOW else "evr"
        eigenvalues, self._vectors = eigh(gram, overwrite_a=True, check_finite=False, driver=driver)
        self._spectrum: Floats = np.maximum(eigenvalues, 0)  # rounding makes zeros slightly negative

    def solve(self, query: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        return query / (self._spectrum + damping)

    @abstractmethod
    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:
        """1 - h_i, [n], in (0, 1], from training coordinates [n, m] and the absolute damping λ."""

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

    @abstractmethod
    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:
        """‖K g_i‖ and ‖g_i‖, [n] each, from training coordinates [n, m] and the absolute damping λ."""


class PrimalKernel(SpectralKernel):
    """K from the k x k matrix GᵀG, or another one in its place."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        return features @ self._vectors

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._features.read(rows) @ self._vectors

    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        squares = train**2
        leverage = squares @ (1 / (self._spectrum + damping))
        # h_i is largest when image i is alone: K ⪯ (g_i g_iᵀ + λI)⁻¹. The bound keeps rounding from
        # turning a tiny 1 - h_i into zero or less.
        return np.maximum(1 - leverage, damping / (damping + squares.sum(1)))

    def _split(self, targets: Floats) -> tuple[Floats, float]:
        total = np.zeros(self._features.k)
        for rows in blocks(self._features.n, self._features.k):
            total += targets[_slice(rows)] @ self._features.read(rows)
        singular = np.sqrt(self._spectrum)
        usable = singular > singular.max() * EPSILON  # U has no column where the singular value is 0
        components = np.divide(total @ self._vectors, singular, out=np.zeros(len(singular)), where=usable)
        return components, max(float(targets @ targets - components @ components), 0.0)

    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        squares = train**2
        return np.sqrt(squares @ (self._spectrum + damping) ** -2.0), np.sqrt(squares.sum(1))


class DualKernel(SpectralKernel):
    """K from the N x N matrix GGᵀ."""

    def query(self, features: Floats) -> Floats:  # noqa: D102 -- inherited
        train = self._features
        inner = np.empty((len(features), train.n))
        for rows in blocks(train.n, train.k):
            inner[:, _slice(rows)] = features @ train.read(rows).T
        return inner @ self._vectors

    def train(self, rows: range) -> Floats:  # noqa: D102 -- inherited
        return self._vectors[_slice(rows)]

    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:  # noqa: D102 -- inherited
        return train**2 @ (damping / (self._spectrum + damping))

    def _split(self, targets: Floats) -> tuple[Floats, float]:
        # U is square, so nothing is left. A difference of norms would be rounding, and at small λ more than
        # all the error.
        return targets @ self._vectors, 0.0

    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:  # noqa: D102 -- inherited
        # Row i of U S Vᵀ is g_i, and K g_i is row i of (GGᵀ + λI)⁻¹ G.
        squares = train**2
        kernel = squares @ (self._spectrum / (self._spectrum + damping) ** 2)
        return np.sqrt(kernel), np.sqrt(squares @ self._spectrum)


def build_kernel(features: Features, given: Floats | None = None, inner_alone: bool = False) -> Kernel:
    """The kernel of training features, through the smaller of its two forms.

    Memory: a few m x m matrices and two blocks of features.

    Args:
        given: a matrix H [k, k] that takes the place of GᵀG: K = (H + λI)⁻¹, of which the leverage is not
            defined.
        inner_alone: whether inner products are all that is wanted of it. It need not be a `SpectralKernel`.

    Raises:
        UserError: all features are zero, or the kernel does not fit into memory.
    """
    size = features.k if given is not None else min(features.n, features.k)
    require_memory(
        8 * 4 * size**2,  # the matrix, its eigenvectors and the solver's work space
        f"features: the kernel of {features.n} images with k = {features.k}",
        "lower gradients.dimension",
    )
    if given is None and features.n <= features.k:
        return DualKernel(features, _outer_gram(features))
    gram = _inner_gram(features) if given is None else given
    return SolvedKernel(features, gram) if inner_alone else PrimalKernel(features, gram)


def _inner_gram(features: Features) -> Floats:
    """GᵀG, [k, k]."""
    gram = np.zeros((features.k, features.k))
    for rows in blocks(features.n, features.k):
        block = features.read(rows)
        gram += block.T @ block
    return gram


def _outer_gram(features: Features) -> Floats:
    """The lower triangle of blocks of GGᵀ, [N, N]; the solver reads no other part."""
    gram = np.zeros((features.n, features.n))
    cuts = list(blocks(features.n, features.k))
    for position, columns in enumerate(cuts):
        right = features.read(columns)
        gram[_slice(columns), _slice(columns)] = right @ right.T
        for rows in cuts[position + 1 :]:
            gram[_slice(rows), _slice(columns)] = features.read(rows) @ right.T
    return gram


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)
