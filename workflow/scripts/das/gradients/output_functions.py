"""The scalar of the noise prediction whose gradient is a row's feature, one registry for all of them.

Notation: e is the model's prediction of the noise eps in one row, an (image, timestep) pair. "mean" is the
output function of DAS (arXiv 2410.18639), "mean-squared-l2-norm" that of D-TRAK (arXiv 2311.00500), which
also studies the others; "loss" is the denoising loss of TRAK.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from das.diffusion.process import Schedule
from das.errors import UserError

# (prediction [R, C, H, W], noise [R, C, H, W], loss weight [R]) -> [R]
OutputFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


def _per_row(rows: Tensor) -> Tensor:
    return rows.flatten(1)


def _loss(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row((prediction - noise).square()).mean(1)


def _weighted_mse(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return weight * _loss(prediction, noise, weight)


def _mean(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction).mean(1)


def _mean_squared_l2_norm(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction.square()).mean(1)


def _l1_norm(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction.abs()).sum(1)


def _l2_norm(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction.square()).sum(1).sqrt()


def _linf_norm(prediction: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction.abs()).amax(1)


OUTPUT_FUNCTIONS: dict[str, OutputFunction] = {
    "loss": _loss,
    "weighted-mse": _weighted_mse,
    "mean": _mean,
    "mean-squared-l2-norm": _mean_squared_l2_norm,
    "l1-norm": _l1_norm,
    "l2-norm": _l2_norm,
    "linf-norm": _linf_norm,
}


# <v, e> of a probe v, which stands in the place of the noise. No choice for features: its rows are averaged
# in `das.gradients.gauss_newton` by their outer products.
PROBE = "probe"


def _probe(prediction: Tensor, probe: Tensor, weight: Tensor) -> Tensor:
    return _per_row(prediction * probe).sum(1)


def output_function(name: str) -> OutputFunction:
    """The output function of that name; UserError if there is none."""
    if name == PROBE:
        return _probe
    if name not in OUTPUT_FUNCTIONS:
        raise UserError(f"output function: found {name!r}, allowed is one of {', '.join(OUTPUT_FUNCTIONS)}")
    return OUTPUT_FUNCTIONS[name]


def loss_weights(schedule: Schedule, timesteps: Tensor) -> Tensor:
    """beta_t / (2 alpha_t (1 - abar_t)) with alpha = 1 - beta, for integer timesteps [R]; float32 [R].

    The weight of "weighted-mse": it makes the loss the term of timestep t in the variational bound.
    """
    beta = schedule.betas.to(timesteps.device, torch.float64)[timesteps]
    abar = schedule.alphas_cumprod.to(timesteps.device, torch.float64)[timesteps]
    return (beta / (2 * (1 - beta) * (1 - abar))).float()
