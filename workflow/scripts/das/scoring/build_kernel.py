"""Which form of the kernel features take, and the matrices that it is made of."""

from __future__ import annotations

import numpy as np

from das.jobs.blocks import blocks
from das.jobs.memory import require_memory
from das.scoring.kernel import Features, Floats, Kernel
from das.scoring.solved_kernel import SolvedDualKernel, SolvedPrimalKernel
from das.scoring.spectral_kernel import SpectralDualKernel, SpectralPrimalKernel


def build_kernel(features: Features, given: Floats | None = None, spectral: bool = False) -> Kernel:
    """The kernel of training features, through the smaller of its two forms.

    Memory: a few m x m matrices and two blocks of features.

    Args:
        given: GᵀG [k, k] where it is known; or a matrix H that takes its place, K = (H + λI)⁻¹, of which the
            leverage is not defined.
        spectral: whether to make a `SpectralKernel`, for leverages or norms at many dampings, or to choose
            one of them.

    Raises:
        UserError: all features are zero, or the kernel does not fit into memory.
    """
    size = features.k if given is not None else min(features.n, features.k)
    require_memory(
        8 * 4 * size**2,  # the matrix, its eigenvectors and the solver's work space
        f"features: the kernel of {features.n} images with k = {features.k}",
        "lower gradients.dimension",
    )
    if given is None and features.n <= features.k:
        return (SpectralDualKernel if spectral else SolvedDualKernel)(features, _outer_gram(features))
    gram = inner_gram(features) if given is None else given
    return (SpectralPrimalKernel if spectral else SolvedPrimalKernel)(features, gram)


def inner_gram(features: Features) -> Floats:
    """GᵀG, [k, k]."""
    gram = np.zeros((features.k, features.k))
    for rows in blocks(features.n, features.k):
        block = features.read(rows)
        gram += block.T @ block
    return gram


def _outer_gram(features: Features) -> Floats:
    """The lower triangle of blocks of GGᵀ, [N, N]; no solver reads another part."""
    gram = np.zeros((features.n, features.n))
    cuts = list(blocks(features.n, features.k))
    for position, columns in enumerate(cuts):
        right = features.read(columns)
        for rows in cuts[position:]:
            left = right if rows == columns else features.read(rows)
            gram[rows.start : rows.stop, columns.start : columns.stop] = left @ right.T
    return gram
