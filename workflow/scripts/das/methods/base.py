"""What a scoring method is: everything that a new method's module needs.

Notation: q is a query image, i a training image, g an image's feature, K = (GᵀG + λI)⁻¹ the kernel of the
training features, h_i = g_iᵀ K g_i the leverage of i, r_i its residual, the mean over timesteps of
sqrt(error[i, t]) with error the mean squared eps_theta - eps.

Sign convention: a positive score means that having the image in training lowers the query's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import getdoc

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
INPUTS = ("features", "errors", "images")


def _absent() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class Block:
    """What a method may use to score a block of n training images for Q queries.

    Only what follows from the method's `inputs` is there.
    """

    inner: Floats = field(default_factory=_absent)
    """features: g_qᵀ K g_i, [Q, n]."""
    one_minus_leverage: Floats = field(default_factory=_absent)
    """features: 1 - h_i, [n], in (0, 1]."""
    residual: Floats = field(default_factory=_absent)
    """errors: r_i, [n]."""
    query_pixels: Floats = field(default_factory=_absent)
    """images: pixels in [-1, 1], or latents of a latent model, [Q, d]."""
    train_pixels: Floats = field(default_factory=_absent)
    """images: likewise, [n, d]."""


@dataclass(frozen=True)
class Method:
    """A scoring rule; made with the decorator `method`.

    Attributes:
        name: how configuration and file names call it.
        score: scores [Q, n] of a block; its docstring states formula and source.
        inputs: which of "features", "errors", "images" it needs.
        damped: whether it depends on a damping.
        magnitude: whether scores are magnitudes, without the sign of the convention.
    """

    name: str
    score: Callable[[Block], Floats]
    inputs: tuple[str, ...]
    damped: bool
    magnitude: bool

    def __post_init__(self) -> None:
        unknown = set(self.inputs) - set(INPUTS)
        if unknown:
            raise ValueError(f"{self.name}: unknown inputs {sorted(unknown)}, allowed are {INPUTS}")
        if not {"features", "images"} & set(self.inputs):
            raise ValueError(f"{self.name}: nothing tells the queries apart; use features or images")
        if self.damped != ("features" in self.inputs):
            raise ValueError(f"{self.name}: a method is damped if, and only if, it uses features")

    @property
    def description(self) -> str:
        """Formula and source."""
        return getdoc(self.score) or ""


def method(
    *, inputs: tuple[str, ...], damped: bool = True, magnitude: bool = False
) -> Callable[[Callable[[Block], Floats]], Method]:
    """Make a `Method` of a function of a block, named like the function."""

    def decorate(score: Callable[[Block], Floats]) -> Method:
        return Method(score.__name__, score, inputs, damped, magnitude)

    return decorate
