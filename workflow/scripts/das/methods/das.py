"""The Diffusion Attribution Score and controls that leave out or change one part of it each.

Diffusion Attribution Score, arXiv 2410.18639; g is the mean over timesteps of the normalised gradient of
mean(eps_theta). The unsquared term is how the output of a linear model changes at the query when image i
is left out and the model is solved again.
"""

from __future__ import annotations

import numpy as np

from das.methods.base import Block, Floats, Product, method


def _term(block: Block) -> Product:
    """g_qᵀ K g_i · r_i / (1 - h_i)."""
    return block.product * (block.residual / block.one_minus_leverage)


@method(inputs=("kernel", "leverage", "errors"), magnitude=True)
def das(block: Block) -> Floats:
    """(g_qᵀ K g_i · r_i / (1 - h_i))², with h_i from the same K. Source: arXiv 2410.18639."""
    return _term(block).scores() ** 2


@method(inputs=("kernel", "leverage"), magnitude=True)
def das_no_residual(block: Block) -> Floats:
    """(g_qᵀ K g_i / (1 - h_i))². A control: das without the residual."""
    return (block.inner / block.one_minus_leverage) ** 2


@method(inputs=("kernel", "errors"), magnitude=True)
def das_no_leverage(block: Block) -> Floats:
    """(g_qᵀ K g_i · r_i)². A control: das without the leverage."""
    return (block.inner * block.residual) ** 2


@method(inputs=("kernel", "norms"), magnitude=True)
def das_relative(block: Block) -> Floats:
    """(g_qᵀ K g_i / ‖K g_i‖)²: das relative to how far the parameters move without image i.

    In the manner of relative influence, arXiv 2003.11630. The parameters of the linear model move by
    K g_i r_i / (1 - h_i), so residual and leverage cancel. With the features and the kernel of das_gn it is
    that method relative to the same.
    """
    return (block.inner / block.kernel_norm) ** 2


@method(inputs=("kernel", "leverage", "errors"))
def das_linear(block: Block) -> Product:
    """g_qᵀ K g_i · r_i / (1 - h_i). A control: das before it is squared."""
    return _term(block)


@method(inputs=("kernel", "leverage", "errors"))
def das_signed_square(block: Block) -> Floats:
    """sign(x) x², x = g_qᵀ K g_i · r_i / (1 - h_i). A control: das with its sign."""
    term = _term(block).scores()
    return np.sign(term) * term**2


def _error_scale(everything: Block) -> Floats:
    """Norm over the training images of sqrt(error[:, t]), [T]."""
    return np.linalg.norm(np.sqrt(everything.errors), axis=0)


@method(inputs=("kernel", "leverage", "errors"), magnitude=True, prepare=_error_scale)
def das_code_residual(block: Block) -> Floats:
    """(g_qᵀ K g_i · r'_i / (1 - h_i))², r'_i = mean_t sqrt(e[i, t]) / ‖sqrt(e[:, t])‖.

    A control: the residual that the published code has in place of the paper's, read as a norm over the
    training images, so that every timestep counts alike.
    """
    residual = (np.sqrt(block.errors) / block.prepared).mean(1)
    return (block.inner * (residual / block.one_minus_leverage)) ** 2
