"""TRAK and D-TRAK: the inner product in the kernel alone."""

from __future__ import annotations

from das.methods.base import Block, Floats, method


@method(inputs=("features",))
def trak(block: Block) -> Floats:
    """g_qᵀ K g_i, g the gradient of the denoising loss.

    TRAK, arXiv 2303.14186, without its weighting by 1 - p, as used for diffusion models in arXiv 2311.00500.
    """
    return block.inner


@method(inputs=("features",))
def dtrak(block: Block) -> Floats:
    """g_qᵀ K g_i, g the gradient of mean(eps_theta²).

    D-TRAK, arXiv 2311.00500. The formula is TRAK's; the output function belongs to the features.
    """
    return block.inner


@method(inputs=("features",), magnitude=True)
def dtrak_squared(block: Block) -> Floats:
    """(g_qᵀ K g_i)², g as for dtrak. A control: how much of a gain comes from squaring."""
    return block.inner**2
