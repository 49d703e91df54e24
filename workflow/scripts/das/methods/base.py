"""What a scoring method is: everything that a new method's module needs.

Notation: q is a query image, i a training image, g an image's feature, K = (GᵀG + λI)⁻¹ the kernel of the
training features, or (H + λI)⁻¹ where the method is configured with another kernel H; h_i = g_iᵀ K g_i is the
leverage of i, r_i its residual, the mean over timesteps of sqrt(error[i, t]) with error the mean squared
eps_theta - eps.

Sign convention: a positive score means that having the image in training lowers the query's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError

Floats = NDArray[np.floating]

GRADIENT_KERNEL = ("kernel", "leverage", "norms")
DAMPED = (*GRADIENT_KERNEL, "image_kernel")
INPUTS = (*DAMPED, "features", "errors", "images", "embeddings", "retraining")
# In the place of what a method's inputs do not give.
ABSENT: Any = None
# Inputs that differ from query to query; a method needs one of them.
OF_QUERIES = ("kernel", "image_kernel", "features", "images", "embeddings", "retraining")


@dataclass(frozen=True)
class Block:
    """What a method may use to score a block of n training images for Q queries.

    Only what follows from the method's `inputs` is there; reading anything else raises UserError.
    """

    inner: Floats = ABSENT
    """kernel: g_qᵀ K g_i, [Q, n]."""
    one_minus_leverage: Floats = ABSENT
    """leverage: 1 - h_i, [n], in (0, 1]; of the features' own kernel alone."""
    kernel_norm: Floats = ABSENT
    """norms: ‖K g_i‖, [n]."""
    feature_norm: Floats = ABSENT
    """norms: ‖g_i‖, [n]."""
    query_features: Floats = ABSENT
    """features: g_q, [Q, k]."""
    train_features: Floats = ABSENT
    """features: g_i, [n, k]."""
    errors: Floats = ABSENT
    """errors: error[i, t], [n, T]."""
    query_pixels: Floats = ABSENT
    """images: pixels in [-1, 1], or latents of a latent model, [Q, d]."""
    train_pixels: Floats = ABSENT
    """images: likewise, [n, d]."""
    image_inner: Floats = ABSENT
    """image_kernel: x_qᵀ (XᵀX + λI)⁻¹ x_i, [Q, n], of the same less their mean over the training images."""
    query_embeddings: Floats = ABSENT
    """embeddings: CLIP's image embeddings, [Q, e]."""
    train_embeddings: Floats = ABSENT
    """embeddings: likewise, [n, e]."""
    retrained_on: Floats = ABSENT
    """retraining: 1 where model m was trained on image i, else 0, [M, n]."""
    retrained_losses: Floats = ABSENT
    """retraining: loss of model m on the query, mean over seeds, [M, Q]."""
    prepared: Any = None
    """What the method's `prepare` returned."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if value is ABSENT and name in Block.__dataclass_fields__ and name != "prepared":
            raise UserError(
                f"uses block.{name}, which none of its inputs gives, or not before there are blocks; add the "
                "input that gives it, see docs/add-a-method.md"
            )
        return value

    @property
    def residual(self) -> Floats:
        """errors: r_i, [n]."""
        return np.sqrt(self.errors).mean(1)


@dataclass(frozen=True)
class Method:
    """A scoring rule; made with the decorator `method`.

    Attributes:
        name: how configuration and file names call it.
        score: scores [Q, n] of a block; its docstring states formula and source.
        inputs: which of `INPUTS` it needs.
        magnitude: whether scores are magnitudes, without the sign of the convention.
        prepare: called once for each part with a block of all training images that holds what "errors" and
            "retraining" give and nothing else, for what depends on more than one block.
    """

    name: str
    score: Callable[[Block], Floats]
    inputs: tuple[str, ...]
    magnitude: bool = False
    prepare: Callable[[Block], Any] | None = None

    def __post_init__(self) -> None:
        unknown = set(self.inputs) - set(INPUTS)
        if unknown:
            raise UserError(
                f"method {self.name}: unknown inputs {', '.join(sorted(unknown))}, "
                f"allowed are {', '.join(INPUTS)}"
            )
        if not set(OF_QUERIES) & set(self.inputs):
            raise UserError(
                f"method {self.name}: its inputs {', '.join(self.inputs)} say nothing of queries; add one of "
                f"{', '.join(OF_QUERIES)}"
            )

    @property
    def damped(self) -> bool:
        """Whether scores depend on a damping."""
        return bool(set(DAMPED) & set(self.inputs))

    @property
    def needs_features(self) -> bool:
        """Whether it works on gradients' features."""
        return bool({*GRADIENT_KERNEL, "features"} & set(self.inputs))

    @property
    def description(self) -> str:
        """Formula and source."""
        return getdoc(self.score) or ""


def method(
    *,
    inputs: tuple[str, ...],
    magnitude: bool = False,
    prepare: Callable[[Block], Any] | None = None,
) -> Callable[[Callable[[Block], Floats]], Method]:
    """Make a `Method` of a function of a block, named like the function."""

    def decorate(score: Callable[[Block], Floats]) -> Method:
        return Method(score.__name__, score, inputs, magnitude, prepare)

    return decorate
