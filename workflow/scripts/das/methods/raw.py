"""Similarity of pixels: baselines that know nothing of the model (arXiv 2311.00500).

For a latent model, latents stand in the place of pixels, as published.
"""

from __future__ import annotations

import numpy as np

from das.methods.base import Block, Floats, method


@method(inputs=("images",), damped=False)
def raw_dot(block: Block) -> Floats:
    """x_q · x_i, pixels in [-1, 1]."""
    return block.query_pixels @ block.train_pixels.T


@method(inputs=("images",), damped=False)
def raw_cos(block: Block) -> Floats:
    """x_q · x_i / (‖x_q‖ ‖x_i‖), pixels in [-1, 1]."""
    return _unit(block.query_pixels) @ _unit(block.train_pixels).T


def _unit(pixels: Floats) -> Floats:
    return pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
