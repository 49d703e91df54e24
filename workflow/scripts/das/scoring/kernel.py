"""The kernel of the training features, for every damping: what its forms have in common.

Notation:

    N, k      number of training images, dimension of a feature
    G         training features [N, k]; g_i is its row i, g_q the feature of a query image
    λ         damping
    K         (GᵀG + λI)⁻¹, or (H + λI)⁻¹ with a matrix H in the place of GᵀG
    h_i       g_iᵀ K g_i, the leverage of training image i
    m         min(N, k)

Methods need g_qᵀ K g_i, 1 - h_i and norms of K g_i. They come from the smaller of GᵀG and GGᵀ:

    primal, k < N:   GᵀG [k, k], as K is written
    dual, N <= k:    GGᵀ [N, N], since K Gᵀ = Gᵀ (GGᵀ + λI)⁻¹; and 1 - h_i = λ [(GGᵀ + λI)⁻¹]_ii without
                     cancellation

Of either, `das.scoring.spectral_kernel` takes an eigendecomposition, which serves every λ, and
`das.scoring.solved_kernel` a Cholesky decomposition for each λ, which takes a fifteenth of the time.

Everything is float64, but for products where `Kernel.single` is set. Of G only blocks of rows are in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs.blocks import blocks

Floats = NDArray[np.float64]


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
    """g_qᵀ K g_i, 1 - h_i and norms for every λ; made by `das.scoring.build_kernel`.

    Images have coordinates that do not depend on λ, [m] each.

    Attributes:
        single: whether products of coordinates may be taken in float32, see `das.methods.Product`.
    """

    single = False

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
        """Coordinates [n, m] of consecutive training images; where they are rows of the identity, sparse."""

    @abstractmethod
    def solve(self, query: Floats, damping: float) -> Floats:
        """Of query coordinates [Q, m] those whose products with training coordinates are g_qᵀ K g_i, [Q, m].

        Raises:
            UserError: the kernel is not positive definite.
        """

    @abstractmethod
    def one_minus_leverage(self, train: Floats, damping: float) -> Floats:
        """1 - h_i, [n], in (0, 1], from training coordinates [n, m] and the absolute damping λ."""

    @abstractmethod
    def norms(self, train: Floats, damping: float) -> tuple[Floats, Floats]:
        """‖K g_i‖ and ‖g_i‖, [n] each, from training coordinates [n, m] and the absolute damping λ."""

    def inner(self, query: Floats, train: Floats, damping: float) -> Floats:
        """g_qᵀ K g_i, [Q, n], from coordinates [Q, m] and [n, m] and the absolute damping λ."""
        return self.solve(query, damping) @ train.T

    def _products(self, features: Floats) -> Floats:
        """Of features [Q, k] the products with those of all training images, [Q, N]."""
        train = self._features
        found = np.empty((len(features), train.n))
        for rows in blocks(train.n, train.k):
            found[:, rows.start : rows.stop] = features @ train.read(rows).T
        return found


def primal_one_minus_leverage(leverage: Floats, squares: Floats, damping: float) -> Floats:
    """1 - h_i, [n], from h_i and ‖g_i‖².

    h_i is largest when image i is alone: K ⪯ (g_i g_iᵀ + λI)⁻¹. The bound keeps rounding from turning a tiny
    1 - h_i into zero or less.
    """
    return np.maximum(1 - leverage, damping / (damping + squares))
