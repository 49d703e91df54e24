"""What a scoring method is: everything that a new method's module needs.

Notation: q is a query image, i a training image, g an image's feature, K = (GᵀG + λI)⁻¹ the kernel of the
training features, or (H + λI)⁻¹ where the method is configured with another kernel H; h_i = g_iᵀ K g_i is the
leverage of i, r_i its residual, the mean over timesteps of sqrt(error[i, t]) with error the mean squared
eps_theta - eps.

Sign convention: a positive score means that having the image in training lowers the query's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import getdoc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.methods.inputs import INPUTS

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Product:
    """Scores w_i a_qᵀ K b_i, of which the factors are known.

    Their sum over training images is a_qᵀ K Σ w_i b_i, which takes no score of any of them: what methods that
    return one predict for retrained models is summed up that way.

    Attributes:
        query: a_q, [Q, m].
        train: b_i, [n, m]; may be sparse.
        weight: w_i, [n]; None for ones.
        kernel: multiplies vectors [any number, m] with K, which is symmetric; None for the identity.
        single: whether scores may be multiplied out in float32, in half the time; sums never are.
    """

    query: Floats
    train: Floats
    weight: Floats | None = None
    kernel: Callable[[Floats], Floats] | None = None
    single: bool = False

    __array_ufunc__ = None  # NumPy's functions would take it for an object of their arrays

    def __mul__(self, numbers: Floats) -> Product:
        """Times a number of each training image, [n]."""
        return replace(self, weight=numbers if self.weight is None else self.weight * numbers)

    def __truediv__(self, numbers: Floats) -> Product:
        """Divided by a number of each training image, [n]."""
        return self * (1 / numbers)

    def scores(self) -> Floats:
        """All of them, [Q, n]."""
        query = self._solved(self.query)
        if self.single:
            found = (query.astype(np.float32) @ self.train.astype(np.float32).T).astype(np.float64)
        else:
            found = query @ self.train.T
        return found if self.weight is None else found * self.weight

    @property
    def finite(self) -> bool:
        """Whether all of them surely are."""
        images = self.train.sum(1) if self.weight is None else self.train.sum(1) * self.weight
        return bool(np.isfinite(images).all() and np.isfinite(self.query).all())

    def summed(self, members: Floats) -> Floats:
        """Σ w_i b_i, [S, m], i over the members [S, n] of each subset, which are ones among zeros."""
        return (members if self.weight is None else members * self.weight) @ self.train

    def of_sums(self, sums: Floats) -> Floats:
        """Sums of scores, [S, Q], from what `summed` makes of all training images, [S, m]."""
        return self._solved(sums) @ self.query.T

    def _solved(self, vectors: Floats) -> Floats:
        return vectors if self.kernel is None else self.kernel(vectors)


class Block:
    """What a method may use to score a block of n training images for Q queries.

    Its attributes are the fields that the method's inputs give (`das.methods.inputs`), the `residual` that
    follows from them, and what `prepare` returned; reading anything else raises UserError. A field that is
    given as a function is computed when it is read.
    """

    def __init__(self, prepared: Any = None, **given: Any) -> None:
        self.prepared = prepared
        """What the method's `prepare` returned."""
        self._given = given

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._given:
            raise UserError(
                f"uses block.{name}, which none of its inputs gives, or not before there are blocks; add the "
                "input that gives it, see docs/add-a-method.md"
            )
        if callable(self._given[name]):
            self._given[name] = self._given[name]()
        return self._given[name]

    @property
    def residual(self) -> Floats:
        """errors: r_i, [n]."""
        found: Floats = np.sqrt(self.errors).mean(1)
        return found


@dataclass(frozen=True)
class Method:
    """A scoring rule; made with the decorator `method`.

    Attributes:
        name: how configuration and file names call it.
        score: scores [Q, n] of a block, or a `Product`; its docstring states formula and source.
        inputs: which it needs of those in `das.methods.inputs`.
        magnitude: whether scores are magnitudes, without the sign of the convention.
        preconditioned: whether its features must have a preconditioner.
        prepare: called once for each part with a block of all training images that holds what "errors" and
            "retraining" give and nothing else, for what depends on more than one block.
    """

    name: str
    score: Callable[[Block], Floats | Product]
    inputs: tuple[str, ...]
    magnitude: bool = False
    preconditioned: bool = False
    prepare: Callable[[Block], Any] | None = None

    def __post_init__(self) -> None:
        unknown = set(self.inputs) - set(INPUTS)
        if unknown:
            raise UserError(
                f"method {self.name}: unknown inputs {', '.join(sorted(unknown))}, "
                f"allowed are {', '.join(INPUTS)}"
            )
        if not any(INPUTS[name].of_queries for name in self.inputs):
            of_queries = (name for name, each in INPUTS.items() if each.of_queries)
            raise UserError(
                f"method {self.name}: its inputs {', '.join(self.inputs)} say nothing of queries; add one of "
                f"{', '.join(of_queries)}"
            )

    @property
    def damped(self) -> bool:
        """Whether scores depend on a damping."""
        return any(INPUTS[name].damped for name in self.inputs)

    @property
    def needs_features(self) -> bool:
        """Whether it works on gradients' features."""
        return any(INPUTS[name].of_features for name in self.inputs)

    @property
    def needs_kernel(self) -> bool:
        """Whether it works on the kernel of gradients' features."""
        return any("grams" in INPUTS[name].files for name in self.inputs)

    @property
    def description(self) -> str:
        """Formula and source."""
        return getdoc(self.score) or ""


def method(
    *,
    inputs: tuple[str, ...],
    magnitude: bool = False,
    preconditioned: bool = False,
    prepare: Callable[[Block], Any] | None = None,
) -> Callable[[Callable[[Block], Floats | Product]], Method]:
    """Make a `Method` of a function of a block, named like the function."""

    def decorate(score: Callable[[Block], Floats | Product]) -> Method:
        return Method(score.__name__, score, inputs, magnitude, preconditioned, prepare)

    return decorate
