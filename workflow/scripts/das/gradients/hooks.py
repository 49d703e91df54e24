"""Per-image gradient features by hooks: close to the cost of one plain batched backward pass.

The parameters are frozen, so that the backward pass forms gradients of activations only. A forward hook on
every layer keeps the layer's input x; a hook on its output y receives dy = df/dy for all rows at once, forms
each row's gradient of the layer's parameters from (x, dy), and projects it before the next layer's turn.
Nothing of the size rows x parameters is ever held. Several output functions f share the forward pass, and
have a backward pass each. `das.gradients.extractor` defines the features.

A layer that this cannot see would be missing from the features without a sign, so everything else is refused
by name: other kinds of layers, layers that are called twice or never, parameters that two layers share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from das.diffusion.process import Schedule
from das.errors import UserError
from das.gradients.extractor import FeatureExtractor, Rows
from das.gradients.output_functions import output_function
from das.gradients.projection import Projection

# Working memory for the gradients of one layer: on a CPU a part of the last cache level, so that what one
# matrix product writes is projected before it leaves the cache. Fixed, so that a restart gives the same bits.
CPU_BYTES = 4 * 2**20
GPU_BYTES = 2**30
# Elements per partial sum of squares: few enough to be exact to float32, the rest is summed in float64.
NORM_CHUNK = 4096

RowGradients = Iterator[tuple[str, Tensor]]


class Workspace:
    """Scratch memory that is used again: fresh memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, use: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of that shape, valid until the next call for the same use."""
        key, size = (use, like.dtype, like.device), math.prod(shape)
        if key not in self._buffers or self._buffers[key].numel() < size:
            self._buffers[key] = like.new_empty(size)
        return self._buffers[key][:size].view(shape)


def _conv2d_patches(layer: Any, x: Tensor, workspace: Workspace) -> Tensor:
    """The inputs of every output position, [r, positions, kh * kw * in], from x [r, in, H, W]."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    if (kh, kw, sh, sw) == (1, 1, 1, 1) and not left + right + top + bottom:
        return x.flatten(2).transpose(1, 2)
    r, channels, height, width = x.shape
    # Channels last: the kw inputs of one line of the kernel lie side by side and are copied in one run.
    padded = workspace.take("padded", (r, height + top + bottom, width + left + right, channels), x)
    padded.zero_()[:, top : top + height, left : left + width].copy_(x.permute(0, 2, 3, 1))
    h = (padded.shape[1] - dh * (kh - 1) - 1) // sh + 1
    w = (padded.shape[2] - dw * (kw - 1) - 1) // sw + 1
    rows, down, across, _ = padded.stride()
    shape: tuple[int, ...] = (r, h, w, kh, kw, channels)
    stride: tuple[int, ...] = (rows, sh * down, sw * across, dh * down, dw * across, 1)
    if dw == 1:
        shape, stride = (r, h, w, kh, kw * channels), (*stride[:4], 1)
    patches = workspace.take("patches", shape, x).copy_(padded.as_strided(shape, stride))
    return patches.view(r, h * w, kh * kw * channels)


def sides(layer: Any, x: Tensor, dy: Tensor, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Of a convolution or a linear layer, what it multiplied by its matrix at each output position.

    Returns:
        Inputs a [r, positions, in], of a convolution its patches, and dy [r, out, positions]; their product
        dy a is a row's gradient of the matrix. Valid until the next call.
    """
    if isinstance(layer, nn.Conv2d):
        return _conv2d_patches(layer, x, workspace), dy.flatten(2)
    positions = dy.reshape(len(dy), -1, dy.shape[-1]).transpose(1, 2)
    return x.reshape(len(x), -1, x.shape[-1]), positions


def outer(dy: Tensor, inputs: Tensor, workspace: Workspace) -> Tensor:
    """Rows' gradients of a matrix, [r, out, in], from what `sides` returns."""
    weight = workspace.take("weight", (len(dy), dy.shape[1], inputs.shape[2]), dy)
    if inputs.shape[1] == 1:
        return torch.mul(dy, inputs, out=weight)
    return torch.bmm(dy, inputs, out=weight)


def _matrix(layer: Any, x: Tensor, dy: Tensor, workspace: Workspace) -> RowGradients:
    inputs, dy = sides(layer, x, dy, workspace)
    yield "weight", outer(dy, inputs, workspace)
    yield "bias", dy.sum(2)


def _group_norm(layer: Any, x: Tensor, dy: Tensor, workspace: Workspace) -> RowGradients:
    standardised = functional.group_norm(x, layer.num_groups, eps=layer.eps)
    yield "weight", standardised.mul_(dy).flatten(2).sum(2)
    yield "bias", dy.flatten(2).sum(2)


def _layer_norm(layer: Any, x: Tensor, dy: Tensor, workspace: Workspace) -> RowGradients:
    product = functional.layer_norm(x, layer.normalized_shape, eps=layer.eps) * dy
    yield "weight", product.reshape(len(x), -1, layer.weight.numel()).sum(1)
    yield "bias", dy.reshape(len(x), -1, layer.weight.numel()).sum(1)


def _embedding(layer: Any, x: Tensor, dy: Tensor, workspace: Workspace) -> RowGradients:
    chosen = functional.one_hot(x.reshape(len(x), -1), layer.num_embeddings).to(dy.dtype)
    if layer.padding_idx is not None:
        chosen[:, :, layer.padding_idx] = 0
    yield "weight", torch.bmm(chosen.transpose(1, 2), dy.reshape(len(dy), -1, layer.embedding_dim))


# (layer, x, dy, workspace) -> name and rows' gradients [r, *] of each parameter, in canonical order, each to
# be used before the next is asked for.
LayerGradients = Callable[[Any, Tensor, Tensor, Workspace], RowGradients]

LAYERS: dict[type[nn.Module], LayerGradients] = {
    nn.Conv2d: _matrix,
    nn.Linear: _matrix,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
}


def _layer_kind(layer: nn.Module) -> type[nn.Module] | None:
    """The handled kind whose computation this layer does, also through a subclass that leaves it alone."""
    for kind in LAYERS:
        if isinstance(layer, kind) and type(layer).forward is kind.forward:
            plain = not isinstance(layer, nn.Conv2d) or (layer.groups == 1 and layer.padding_mode == "zeros")
            plain = (
                plain
                and not getattr(layer, "scale_grad_by_freq", False)
                and not getattr(layer, "max_norm", 0)
            )
            return kind if plain else None
    return None


def _bytes_per_row(layer: Any, x: Tensor, dy: Tensor) -> int:
    """What a row takes: its gradient of the weight, its input and for a convolution its patches."""
    patches = dy[0, 0].numel() * layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else x[0].numel()
    return 4 * (layer.weight.numel() + patches)


class ImageGradients(FeatureExtractor):
    """Per-image features of a UNet2DModel, or of any module made of the `LAYERS`; see `FeatureExtractor`.

    Args:
        layers: by the names of layers, what takes the place of `LAYERS`: gradients in other coordinates.

    Raises:
        UserError: a layer with covered parameters cannot be handled; the message names it. Such models are
            left to `das.gradients.extractor.loop_features`.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        projection: Projection,
        precision: torch.dtype = torch.float32,
        layers: Mapping[str, LayerGradients] = MappingProxyType({}),
    ) -> None:
        super().__init__(unet, schedule, projection, precision)
        self._layers = {name: layer for name, layer in unet.named_modules() if self._covers(name, layer)}
        covered = sum(p.numel() for layer in self._layers.values() for p in self._own(layer))
        expected = sum(self.projection.sizes.values())
        if covered != expected:
            raise UserError(
                f"model: its layers hold {covered} parameters, the model {expected}; "
                "parameters shared between layers are not supported"
            )
        self._row_gradients = {
            name: layers.get(name, LAYERS[_layer_kind(layer) or nn.Module])
            for name, layer in self._layers.items()
        }
        self._norms = NormBuffer(projection)
        self._workspace = Workspace()
        self._accumulator, self._rows = torch.empty(0), 0
        # Inputs of the layers called in this batch, until the last backward pass consumes them.
        self._waiting: dict[str, tuple[Tensor, int]] = {}
        # Of a backward pass: the layers consumed, whether norms are formed, and whether another one follows.
        self._done: set[str] = set()
        self._normalise = self._again = False

    def _covers(self, name: str, layer: nn.Module) -> bool:
        own = self._own(layer)
        if own and _layer_kind(layer) is None:
            kinds = ", ".join(kind.__name__ for kind in LAYERS)
            raise UserError(
                f"layer {name or 'model'}: per-image gradients of {type(layer).__name__}"
                f"({layer.extra_repr()}) are not supported, allowed are plain {kinds}"
            )
        return bool(own)

    def _own(self, layer: nn.Module) -> list[nn.Parameter]:
        """The covered parameters that a layer holds itself."""
        covered = set(map(id, self.parameters.values()))
        return [p for p in layer.parameters(recurse=False) if id(p) in covered]

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        handles = [
            layer.register_forward_hook(self._forward_hook(name, layer))
            for name, layer in self._layers.items()
        ]
        try:
            with super()._prepared():
                for parameter in self.parameters.values():
                    parameter.requires_grad_(False)
                yield
        finally:
            for handle in handles:
                handle.remove()
            for parameter in self.parameters.values():
                parameter.requires_grad_(True)
            self._waiting.clear()

    def _project(
        self, rows: Rows, outputs: Sequence[str], normalised: Collection[str]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        functions = {output: output_function(output) for output in outputs}
        self._rows = len(rows.noised)
        self._waiting.clear()
        self._done.clear()
        prediction = self._predict(rows)
        for output, function in functions.items():
            self._accumulator = self.projection.accumulator(self._rows)
            self._norms.start(self._rows)
            self._done.clear()
            self._normalise, self._again = output in normalised, output != outputs[-1]
            function(prediction, rows.target, rows.weights).sum().backward(retain_graph=self._again)
            for name in self._layers:
                if name not in self._done:
                    reason = (
                        "no gradient reached it" if name in self._waiting else "the model never called it"
                    )
                    raise UserError(f"layer {name}: {reason}, so that its gradients would be missing")
            yield output, self.projection.finish(self._accumulator), self._norms.finish()

    def _forward_hook(self, name: str, layer: nn.Module) -> Callable[..., Tensor | None]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if name in self._waiting or name in self._done:
                raise UserError(f"layer {name}: called twice in one forward pass, which is not supported")
            if len(inputs) != 1 or not len(inputs[0]) == len(output) == self._rows:
                raise UserError(f"layer {name}: its input has no dimension of rows, which is not supported")
            self._waiting[name] = inputs[0].detach(), inputs[0]._version

            def consume(dy: Tensor) -> None:
                x, version = self._waiting[name] if self._again else self._waiting.pop(name)
                if x._version != version:
                    raise UserError(
                        f"layer {name}: its input was overwritten in place, which is not supported"
                    )
                self._consume(name, layer, x, dy)
                self._done.add(name)

            if output.requires_grad:
                output.register_hook(consume)
                return None
            # Nothing before this layer needs a gradient now: without a new start, its own would be lost. A
            # copy, because the model may go on to work in place.
            output = output.detach().requires_grad_()
            output.register_hook(consume)
            return output.clone()

        return keep

    def _consume(self, name: str, layer: nn.Module, x: Tensor, dy: Tensor) -> None:
        """Form and project the gradients of one layer, a few rows at a time."""
        x = x if x.dtype == dy.dtype or not x.is_floating_point() else x.to(dy.dtype)  # as autocast did
        row_gradients = self._row_gradients[name]
        prefix = f"{name}." if name else ""
        budget = CPU_BYTES if dy.device.type == "cpu" else GPU_BYTES
        step = max(1, budget // _bytes_per_row(layer, x, dy))
        for start in range(0, len(dy), step):
            some = slice(start, start + step)
            accumulator = self._accumulator[some]
            for parameter, gradients in row_gradients(layer, x[some], dy[some], self._workspace):
                if prefix + parameter not in self.parameters:
                    continue
                flat = gradients.flatten(1).float()
                self.projection.add(accumulator, prefix + parameter, flat)
                if self._normalise:
                    self._norms.add(some, prefix + parameter, flat)


class NormBuffer:
    """Exact norms of rows of gradients: norms of short pieces, which are then summed in float64.

    A piece is short enough for float32 to add no visible error.
    """

    def __init__(self, projection: Projection) -> None:
        pieces = [math.ceil(size / NORM_CHUNK) for size in projection.sizes.values()]
        ends = itertools.accumulate(pieces)
        self._columns = {
            name: (end - count, end) for name, count, end in zip(projection.sizes, pieces, ends, strict=True)
        }
        self._width, self._device = sum(pieces), projection.device
        self._buffer = torch.empty(0)

    def start(self, rows: int) -> None:
        """Begin a batch of rows."""
        self._buffer = torch.zeros(rows, self._width, device=self._device)

    def add(self, rows: slice, name: str, gradients: Tensor) -> None:
        """One parameter's gradients, float32 [len(rows), size]."""
        first, last = self._columns[name]
        whole, rest = divmod(gradients.shape[1], NORM_CHUNK)
        buffer = self._buffer[rows]
        if whole:
            pieces = gradients.narrow(1, 0, whole * NORM_CHUNK).unflatten(1, (whole, NORM_CHUNK))
            torch.linalg.vector_norm(pieces, dim=2, out=buffer[:, first : first + whole])
        if rest:
            tail = gradients.narrow(1, whole * NORM_CHUNK, rest) if whole else gradients
            torch.linalg.vector_norm(tail, dim=1, out=buffer[:, last - 1])

    def finish(self) -> Tensor:
        """The norms over all parameters, float64 [rows]."""
        return self._buffer.double().square().sum(1).sqrt()
