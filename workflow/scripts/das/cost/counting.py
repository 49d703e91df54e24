"""FLOPs and memory of a pass through a network of which only shapes exist.

A network is built without memory for its numbers, and a pass of rows through it is played with shapes alone.
That gives exactly

    FLOPs    of the matrix products, convolutions and attention, a multiply-add counted as two
    bytes    that are live at once beside the weights: activations, what backward keeps, gradients
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


@dataclass(frozen=True)
class Pass:
    """One pass of a batch of rows through a network."""

    flops: int
    """Of the whole batch, backward included where there is one."""
    bytes: int
    """Most that is live at once, beside the weights and the inputs."""


class Network:
    """A network of which only shapes exist.

    Args:
        module: built on the meta device.
        shapes: of the inputs of one row; () is an integer timestep.

    Attributes:
        parameters, trained: numbers of parameters.
        tensors: shapes of those that are trained, by name.
    """

    def __init__(self, module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
        self._module, self._shapes = module, shapes
        self._played: dict[tuple[int, bool, bool], Pass] = {}
        self.tensors = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
        self.parameters = sum(p.numel() for p in module.parameters())
        self.trained = sum(math.prod(shape) for shape in self.tensors.values())

    def forward(self, rows: int) -> Pass:
        """A pass without gradients, in evaluation mode."""
        return self._play(rows)

    def training(self, rows: int) -> Pass:
        """Forward and backward in training mode; the bytes hold the gradients of the trained parameters."""
        return self._play(rows, training=True, backward=True)

    def gradients(self, rows: int) -> Pass:
        """Forward and backward in evaluation mode; the bytes are what backward waits for.

        Per-image gradients are formed and sketched layer by layer while that shrinks, and never held.
        """
        return self._play(rows, backward=True)

    def _play(self, rows: int, *, training: bool = False, backward: bool = False) -> Pass:
        key = (rows, training, backward)
        if key not in self._played:
            self._played[key] = self._count(*key)
        return self._played[key]

    def _count(self, rows: int, training: bool, backward: bool) -> Pass:
        self._module.train(training)
        # Fake tensors of a CPU, not of the meta device, on which attention would not be the fused kind.
        with FakeTensorMode():
            state = {
                name: torch.empty(p.shape, dtype=p.dtype, requires_grad=p.requires_grad)
                for name, p in [*self._module.named_parameters(), *self._module.named_buffers()]
            }
            inputs = tuple(
                torch.empty(rows, *shape) if shape else torch.empty(rows, dtype=torch.int64)
                for shape in self._shapes
            )
            live = LiveBytes([*state.values(), *inputs])
            flops = FlopCounterMode(display=False, custom_mapping=_ATTENTION)
            with flops, live, torch.set_grad_enabled(backward):
                output: Tensor = tree_leaves(torch.func.functional_call(self._module, state, inputs))[0]
                peak = live.peak
                if backward:
                    output.square().mean().backward()
        return Pass(flops.get_total_flops(), live.peak if training else peak)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward_flops(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter knows the fused attention of GPUs only.
_ATTENTION: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


class LiveBytes(TorchDispatchMode):
    """Follows the memory of the tensors that operations make; `peak` is the most that lived at once.

    Args:
        given: tensors that are there already and do not count.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in given}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key)
