"""TRAK, D-TRAK and influence functions: the inner product in the kernel, plain or divided by a norm."""

from __future__ import annotations

from das.methods.base import Block, Floats, Product, method


@method(inputs=("kernel",))
def trak(block: Block) -> Product:
    """g_qᵀ K g_i, g the gradient of the denoising loss.

    TRAK, arXiv 2303.14186, without its weighting by 1 - p, as used for diffusion models in arXiv 2311.00500.
    With queries along their sampling steps it is Journey TRAK, arXiv 2312.06205.
    """
    return block.product


@method(inputs=("kernel",))
def dtrak(block: Block) -> Product:
    """g_qᵀ K g_i, g the gradient of mean(eps_theta²).

    D-TRAK, arXiv 2311.00500. The formula is TRAK's; the output function belongs to the features.
    """
    return block.product


@method(inputs=("kernel",), magnitude=True)
def dtrak_squared(block: Block) -> Floats:
    """(g_qᵀ K g_i)², g as for dtrak. A control: how much of a gain comes from squaring."""
    return block.inner**2


@method(inputs=("kernel", "norms"))
def relative_if(block: Block) -> Product:
    """g_qᵀ K g_i / ‖K g_i‖, g as for trak: relative influence, arXiv 2003.11630, as in arXiv 2311.00500."""
    return block.product / block.kernel_norm


@method(inputs=("kernel", "norms"))
def renormalised_if(block: Block) -> Product:
    """g_qᵀ K g_i / ‖g_i‖, g as for trak: renormalised influence, arXiv 2201.10055."""
    return block.product / block.feature_norm
