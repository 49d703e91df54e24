"""Inner products in a Gauss-Newton matrix H, which the configuration names.

Of `das_gn` and `das_gn_raw` H is a kernel of projected gradients, `das.gradients.gauss_newton`; of `ekfac` it
is in Kronecker factors, and its features are multiplied by (H + λI)^(-1/2), `das.gradients.ekfac`.

The squares come from this project; docs/accuracy.md says how well `das_gn` does. The loss of a model on a
query grows with the variance of its prediction there, J_q H⁻¹ J_qᵀ with J the Jacobian. H is a sum over
training images, and what it takes away to have image i in it is ‖J_q H⁻¹ J_iᵀ‖² to first order: hence the
squares. A gradient of one output function takes the place of J.
"""

from __future__ import annotations

import numpy as np

from das.methods.base import Block, Floats, Product, method


@method(inputs=("kernel",), magnitude=True)
def das_gn(block: Block) -> Floats:
    """(g_qᵀ (H + λI)⁻¹ g_i)², g a mean over timesteps of normalised gradients.

    No residual and no leverage: on the benches they make no difference, and H is not a sum of g gᵀ.
    """
    return block.inner**2


@method(inputs=("kernel", "image_kernel"), magnitude=True)
def das_gn_raw(block: Block) -> Floats:
    """max(g_qᵀ (H + λI)⁻¹ g_i, 0) · max(x_qᵀ (XᵀX + λ'I)⁻¹ x_i, 0), x pixels less their mean.

    One factor of the model and one of the images, as in a product of kernels: an image counts that is near to
    the query in both. λ and λ' are the same relative to the mean eigenvalue of their matrices.
    """
    return np.maximum(block.inner, 0) * np.maximum(block.image_inner, 0)


@method(inputs=("features",), preconditioned=True)
def ekfac(block: Block) -> Product:
    """g_qᵀ (H + λI)⁻¹ g_i, g the gradient of the denoising loss, the features being (H + λI)^(-1/2) g.

    Influence functions with EK-FAC, arXiv 2410.13850. λ is a setting of the features.
    """
    return Product(block.query_features, block.train_features)


@method(inputs=("features",), magnitude=True, preconditioned=True)
def ekfac_squared(block: Block) -> Floats:
    """(g_qᵀ (H + λI)⁻¹ g_i)², as ekfac. A control: how much of a gain comes from squaring."""
    return (block.query_features @ block.train_features.T) ** 2
