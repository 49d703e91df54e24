"""Gradients of single rows and random projections by other libraries, for bench_gradients.py.

Each peer imports its library when it is made, so that the others run where one is missing. A source of
gradients is made of a UNet, which it may change, and called with noised images [R, C, H, W] and timesteps
[R]. It yields for each parameter its name and the gradients [R, *shape] of the mean of each row's prediction.
A library that is wrong on a UNet, or leaves parameters out, is mended, unless `mended` is false.

A projector is made for p elements, k numbers and a seed. It maps float32 [R, p] to [R, k], and keeps inner
products in expectation. Its library decides when the matrix is drawn: dense ones are, anew, with every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

RowGradients = Iterator[tuple[str, Tensor]]
Projector = Callable[[Tensor], Tensor]


def _layers(unet: nn.Module) -> list[nn.Module]:
    """The layers that hold parameters themselves."""
    return [layer for layer in unet.modules() if list(layer.parameters(recurse=False))]


class Vmap:
    """torch.func: vmap(grad), all rows at once."""

    def __init__(self, unet: nn.Module, mended: bool = True) -> None:
        self.unet = unet

    def __call__(self, noised: Tensor, steps: Tensor) -> RowGradients:
        parameters = {name: parameter.detach() for name, parameter in self.unet.named_parameters()}

        def output(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
            return torch.func.functional_call(self.unet, parameters, (x[None], t[None])).sample.mean()

        per_row = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0, 0))
        yield from per_row(parameters, noised, steps).items()


class Opacus:
    """GradSampleModule, which works in training mode alone: here its layers are in it, but not the dropout.

    It reads a convolution's input as if channels came first in memory. After the UNet's attention they come
    last, so that gradients are wrong without a sign; copies of such inputs mend it.
    """

    def __init__(self, unet: nn.Module, mended: bool = True) -> None:
        from opacus import GradSampleModule

        for layer in _layers(unet):
            layer.training = True
            if mended:
                layer.register_forward_pre_hook(lambda _, inputs: inputs[0].contiguous())
        self.unet = GradSampleModule(unet, loss_reduction="sum")

    def __call__(self, noised: Tensor, steps: Tensor) -> RowGradients:
        self.unet.zero_grad(set_to_none=True)
        self.unet(noised, steps).sample.flatten(1).mean(1).sum().backward()
        for name, parameter in self.unet._module.named_parameters():
            yield name, parameter.grad_sample
            parameter.grad_sample = None


class Captum:
    """SampleGradientWrapper, which its TracInCP uses.

    It stops at a layer whose input needs no gradient, so that all inputs are made to need one. It leaves out
    group norms without a sign; a formula for them mends it.
    """

    def __init__(self, unet: nn.Module, mended: bool = True) -> None:
        from captum._utils.sample_gradient import SUPPORTED_MODULES, SampleGradientWrapper

        SUPPORTED_MODULES[nn.GroupNorm] = self._group_norm
        layers = [layer for layer in _layers(unet) if mended or not isinstance(layer, nn.GroupNorm)]
        for layer in layers:
            layer.register_forward_pre_hook(
                lambda _, inputs: inputs[0] if inputs[0].requires_grad else inputs[0].clone().requires_grad_()
            )
        self.unet = unet
        self.wrapper = SampleGradientWrapper(unet, layers)
        self.wrapper.add_hooks()

    def __call__(self, noised: Tensor, steps: Tensor) -> RowGradients:
        output = self.unet(noised, steps).sample.flatten(1).mean(1)
        self.wrapper.compute_param_sample_gradients(output, loss_mode="sum")
        for name, parameter in self.unet.named_parameters():
            if hasattr(parameter, "sample_grad"):
                yield name, parameter.sample_grad
                del parameter.sample_grad

    @staticmethod
    def _group_norm(layer: Any, x: Tensor, dy: Tensor, reset: bool) -> None:
        standardised = functional.group_norm(x, layer.num_groups, eps=layer.eps)
        layer.weight.sample_grad = (standardised * dy).flatten(2).sum(2)
        layer.bias.sample_grad = dy.flatten(2).sum(2)


def trak_projector(size: int, dimension: int, seed: int) -> Projector:
    """What TRAKer takes on a CPU, and scaled; its CudaProjector needs a GPU."""
    from trak.projectors import BasicProjector

    projector = BasicProjector(size, dimension, seed, "normal", "cpu")
    return lambda gradients: projector.project(gradients, model_id=0) / math.sqrt(dimension)


def dattri_projector(kind: str, size: int, dimension: int, seed: int) -> Projector:
    """Its projection of that kind on a CPU, where it has no sketch; "random_mask" picks elements."""
    from dattri.func.projection import ProjectionType, make_random_projector

    cpu = torch.device("cpu")
    projector = make_random_projector([size], 1, dimension, 8, cpu, seed, ProjectionType(kind))
    scale = math.sqrt(size / dimension) if kind == "random_mask" else 1.0
    return lambda gradients: projector.project(gradients, ensemble_id=0) * scale
