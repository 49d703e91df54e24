"""Projections of gradients to k dimensions, one parameter tensor at a time.

A projection is linear and keeps inner products in expectation: E <Pg, Ph> = <g, h>, with a standard
deviation of the order of |g| |h| / sqrt(k). Tensors may arrive in any order. The random numbers are a
function of (seed, parameter name) and come from the raw output of NumPy's Philox, whose stream is fixed for
good, so they are the same on every machine and device.

One rule orders the elements of a gradient, whatever computed it: a tensor of four dimensions, a convolution's
weight [out, in, kh, kw], is read as [out, kh, kw, in], in which per-row gradients are formed without a
transposition; any other tensor is read as it lies. `canonical_order` applies it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.errors import UserError
from das.noise import generator

# Elements of a gradient per block of the dense matrix, and how many bytes of such blocks are kept.
DENSE_BLOCK = 1024
DENSE_CACHE_BYTES = 2**29


def canonical_order(gradient: Tensor) -> Tensor:
    """A parameter's gradient, flat, in the order that projections expect: see the module's docstring."""
    return (gradient.permute(0, 2, 3, 1) if gradient.dim() == 4 else gradient).flatten()


class Projection(ABC):
    """Accumulates projected gradients: `accumulator`, then `add` for every parameter, then `finish`."""

    def __init__(self, dimension: int, parameters: Mapping[str, Sequence[int]], device: torch.device) -> None:
        self.dimension = dimension
        self.sizes = {name: math.prod(shape) for name, shape in parameters.items()}
        self.device = device

    def accumulator(self, rows: int) -> Tensor:
        """An empty accumulator, float32, one row per gradient; its width is the projection's own affair."""
        return torch.zeros(rows, self.dimension, device=self.device)

    @abstractmethod
    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:
        """Add one parameter's gradients, float32 [rows, size] in canonical order, to as many rows."""

    def finish(self, accumulator: Tensor) -> Tensor:
        """The projected gradients, float32 [rows, dimension]."""
        return accumulator


class CountSketch(Projection):
    """Block-cyclic count sketch: every element goes to one of k sums, with a random sign.

    A parameter's flat gradient is cut in chunks of k; a chunk is multiplied by random signs, rotated by a
    random shift, and added. The cost is one multiply-add per element and there is no scatter, so that the
    sum has a fixed order on every device. Without the shifts, elements a multiple of k apart would always
    share a sum, and in layers whose widths are powers of two these belong to the same input channel.
    """

    def __init__(
        self, dimension: int, seed: int, parameters: Mapping[str, Sequence[int]], device: torch.device
    ) -> None:
        super().__init__(dimension, parameters, device)
        # For each parameter: per chunk, its shift and its signs.
        self._chunks: dict[str, list[tuple[int, Tensor]]] = {}
        for name, size in self.sizes.items():
            signs = torch.from_numpy(random_signs(size, seed, name, "signs")).to(device)
            shifts = _raw(math.ceil(size / dimension), seed, name, "shifts") % np.uint64(dimension)
            self._chunks[name] = list(zip(shifts.tolist(), signs.split(dimension), strict=True))

    def accumulator(self, rows: int) -> Tensor:
        """As wide as two turns of the cycle, so that a rotated chunk is one slice."""
        return torch.zeros(rows, 2 * self.dimension, device=self.device)

    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:  # noqa: D102
        pieces = gradients.split(self.dimension, dim=1)
        for (shift, signs), piece in zip(self._chunks[name], pieces, strict=True):
            accumulator.narrow(1, shift, signs.shape[0]).addcmul_(piece, signs)

    def finish(self, accumulator: Tensor) -> Tensor:  # noqa: D102
        return accumulator[:, : self.dimension] + accumulator[:, self.dimension :]


class Dense(Projection):
    """Multiplication by a matrix of random signs / sqrt(k): O(k) per element, for small models."""

    def __init__(
        self, dimension: int, seed: int, parameters: Mapping[str, Sequence[int]], device: torch.device
    ) -> None:
        super().__init__(dimension, parameters, device)
        self._seed = seed
        self._cache: dict[tuple[str, int], Tensor] = {}

    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:  # noqa: D102
        for block, piece in enumerate(gradients.split(DENSE_BLOCK, dim=1)):
            accumulator.addmm_(piece, self._matrix(name, block, piece.shape[1]))

    def _matrix(self, name: str, block: int, size: int) -> Tensor:
        """float32 [size, dimension]; the block's own stream, so that blocks can be made one by one."""
        if (name, block) in self._cache:
            return self._cache[name, block]
        signs = random_signs(size * self.dimension, self._seed, name, "dense", block)
        matrix = torch.from_numpy(signs).to(self.device).view(size, -1) / math.sqrt(self.dimension)
        if (len(self._cache) + 1) * DENSE_BLOCK * self.dimension * 4 <= DENSE_CACHE_BYTES:
            self._cache[name, block] = matrix
        return matrix


class Concatenation(Projection):
    """No projection: the parameters' gradients one after another, in the order of `parameters`.

    With `dict(model.named_parameters())` that is the model's own order of parameters; within a parameter the
    elements lie in canonical order, which for a convolution's weight is [out, kh, kw, in].
    """

    def __init__(self, parameters: Mapping[str, Sequence[int]], device: torch.device) -> None:
        sizes = [math.prod(shape) for shape in parameters.values()]
        super().__init__(sum(sizes), parameters, device)
        self._start = dict(zip(parameters, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))

    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:  # noqa: D102
        accumulator.narrow(1, self._start[name], self.sizes[name]).add_(gradients)


PROJECTIONS = ("count-sketch", "dense", "none")


def projection_dimension(kind: str, dimension: int, parameters: Mapping[str, Sequence[int]]) -> int:
    """The k of a projection: `dimension`, or for "none" the number of elements of the parameters.

    Raises:
        UserError: the kind is unknown or the dimension not positive.
    """
    if kind not in PROJECTIONS:
        raise UserError(f"projection: found {kind!r}, allowed is one of {', '.join(PROJECTIONS)}")
    if kind == "none":
        return sum(math.prod(shape) for shape in parameters.values())
    if dimension < 1:
        raise UserError(f"projection dimension: found {dimension}, allowed is 1 or more")
    return dimension


def make_projection(
    kind: str,
    dimension: int,
    seed: int,
    parameters: Mapping[str, Sequence[int]],
    device: torch.device | str = "cpu",
) -> Projection:
    """A projection of gradients of the parameters (name -> shape) to `dimension` numbers.

    Args:
        kind: "count-sketch", "dense" or "none"; "none" takes no notice of the dimension and the seed.
        dimension: k.
        seed: another seed gives another, independent projection.
        parameters: in the order of the model's named_parameters().
        device: where gradients arrive.

    Raises:
        UserError: see `projection_dimension`.
    """
    dimension = projection_dimension(kind, dimension, parameters)
    device = torch.device(device)
    if kind == "none":
        return Concatenation(parameters, device)
    return (CountSketch if kind == "count-sketch" else Dense)(dimension, seed, parameters, device)


def fold(features: NDArray[np.float64], dimension: int, seed: int) -> NDArray[np.float64]:
    """A count sketch of projected gradients: inner products stay the same in expectation.

    The k numbers are cut in pieces of d, each of which is multiplied by random signs, rotated by a random
    shift, and added. Numbers of one piece never share a sum, so that the spread that this adds,
    |g| |h| sqrt(1/d - 1/k), makes up for that by which the projection to k was better than one to d.

    Args:
        features: [n, k].
        dimension: d, which divides k.
        seed: another seed gives another, independent sketch.

    Returns:
        [n, d].
    """
    n, k = features.shape
    signs = random_signs(k, seed, "fold", k, dimension)
    shifts = _raw(k // dimension, seed, "fold", k, dimension, "shifts") % np.uint64(dimension)
    pieces = (features * signs).reshape(n, k // dimension, dimension)
    folded = np.zeros((n, dimension))
    for piece, shift in enumerate(shifts.tolist()):
        folded += np.roll(pieces[:, piece], shift, axis=1)
    return folded


def random_signs(count: int, seed: int, name: str, *key: object) -> NDArray[np.float32]:
    """`count` numbers -1 or 1: the bits of the raw stream, lowest first; a set bit is -1."""
    raw = _raw(math.ceil(count / 64), seed, name, *key)
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), bitorder="little", count=count)
    return np.float32(1) - 2 * bits.astype(np.float32)


def _raw(count: int, seed: int, name: str, *key: object) -> NDArray[np.uint64]:
    raw = generator("projection", seed, name, *key).bit_generator.random_raw(count)
    return np.asarray(raw, dtype=np.uint64)
