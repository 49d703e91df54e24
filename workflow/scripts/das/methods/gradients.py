"""Products of gradients, without a kernel. Over checkpoints they are TracInCP, GAS and, about, ReTrac."""

from __future__ import annotations

from das.methods.base import Block, Product, method
from das.methods.similarity import unit


@method(inputs=("features",))
def grad_dot(block: Block) -> Product:
    """g_q · g_i, g the gradient of the denoising loss.

    Charpiat et al., NeurIPS 2019, as used in arXiv 2311.00500. Its mean over checkpoints is TracInCP,
    arXiv 2002.08484, as used in arXiv 2311.00500: without weighting checkpoints by their learning rates.
    """
    return Product(block.query_features, block.train_features)


@method(inputs=("features",))
def grad_cos(block: Block) -> Product:
    """g_q · g_i / (‖g_q‖ ‖g_i‖), g the gradient of the denoising loss.

    Its mean over checkpoints is gradient aggregated similarity (GAS), arXiv 2201.10055.
    """
    return Product(unit(block.query_features), unit(block.train_features))


@method(inputs=("features",))
def retrac(block: Block) -> Product:
    """g_q · g_i / ‖g_i‖, g the gradient of the denoising loss.

    After ReTrac, arXiv 2401.09031, of which only the abstract was known: gradients of training images are
    normalised, since some have large norms for the timesteps at which they were taken. Meant is the mean over
    checkpoints.
    """
    return Product(block.query_features, unit(block.train_features))
