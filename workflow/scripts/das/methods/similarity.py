"""Similarity of images: baselines that know nothing of the model (arXiv 2311.00500).

Of pixels, in whose place the latents of a latent model stand, as published; of CLIP's image embeddings; and
of patches (`das.diffusion.patches`).
"""

from __future__ import annotations

import numpy as np

from das.methods.base import Block, Floats, Product, method


@method(inputs=("images",))
def raw_dot(block: Block) -> Product:
    """x_q · x_i, pixels in [-1, 1]. Source: arXiv 2311.00500."""
    return Product(block.query_pixels, block.train_pixels)


@method(inputs=("images",))
def raw_cos(block: Block) -> Product:
    """x_q · x_i / (‖x_q‖ ‖x_i‖), pixels in [-1, 1]. Source: arXiv 2311.00500."""
    return Product(unit(block.query_pixels), unit(block.train_pixels))


@method(inputs=("image_kernel",), magnitude=True)
def raw_kernel(block: Block) -> Floats:
    """max(x_qᵀ (XᵀX + λI)⁻¹ x_i, 0)², x pixels less their mean over the training images.

    A control: what a ridge kernel and squaring, as in das, make of images alone. It is das without residual
    and leverage for a linear model of pixels, where images on opposite sides of the mean count as unrelated.
    """
    return np.maximum(block.image_inner, 0) ** 2


@method(inputs=("embeddings",))
def clip_dot(block: Block) -> Product:
    """c_q · c_i, c CLIP's embedding of an image. Source: arXiv 2311.00500."""
    return Product(block.query_embeddings, block.train_embeddings)


@method(inputs=("embeddings",))
def clip_cos(block: Block) -> Product:
    """c_q · c_i / (‖c_q‖ ‖c_i‖), c CLIP's embedding of an image. Source: arXiv 2311.00500."""
    return Product(unit(block.query_embeddings), unit(block.train_embeddings))


@method(inputs=("patches",), magnitude=True)
def nda(block: Block) -> Floats:
    """Σ_p Σ_y w_py, p the patches of x_t, the noised query, and y those of image i.

    w_py ∝ exp(-‖p - √abar_t y‖² / 2 (1 - abar_t)), of sum 1 over the patches of all images. After NDA, arXiv
    2510.14269.
    """
    return block.patch_weights


def unit(rows: Floats) -> Floats:
    """Rows divided by their norms."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
