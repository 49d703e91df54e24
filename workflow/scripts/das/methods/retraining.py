"""Methods that watch retrained models: what models lose that did not see an image.

The models are others than those that judge the methods (arXiv 2311.00500): M models, each trained on a
random half of the training images; m is one of them, a_mi is 1 where it saw image i, else 0, y_mq its loss on
query q.
"""

from __future__ import annotations

import numpy as np

from das.methods.base import Block, Floats, method

ALPHAS = (0.1, 1.0, 10.0)
FOLDS = 5


@method(inputs=("retraining",))
def empirical_influence(block: Block) -> Floats:
    """Mean of y_mq over the models without image i, minus that over the models with it.

    Feldman and Zhang, arXiv 2008.03703, as used in arXiv 2311.00500. An image that every model saw, or none,
    has score 0: nothing is known of it.
    """
    seen = block.retrained_on
    with_image, without = seen.sum(0), (1 - seen).sum(0)
    known = (with_image > 0) & (without > 0)
    weights = (1 - seen) / np.maximum(without, 1) - seen / np.maximum(with_image, 1)
    return block.retrained_losses.T @ np.where(known, weights, 0)


def _ridge_duals(everything: Block) -> Floats:
    """Each query's ridge regression in its dual form, a coefficient of every model, [M, Q].

    The regression's coefficients of images are (a - mean a)ᵀ duals, so that no N x Q array is needed.
    """
    from sklearn.linear_model import RidgeCV  # here: the workflow reads this module whenever it is parsed

    losses = everything.retrained_losses
    centred = everything.retrained_on - everything.retrained_on.mean(0)
    # All that a ridge regression sees of its N variables are the inner products of the M samples.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    samples = vectors * np.sqrt(np.maximum(values, 0))
    duals = np.empty_like(losses)
    for query, loss in enumerate(losses.T):
        alpha = RidgeCV(ALPHAS, cv=FOLDS).fit(samples, loss).alpha_
        duals[:, query] = vectors @ (vectors.T @ (loss - loss.mean()) / (values + alpha))
    return duals


@method(inputs=("retraining",), prepare=_ridge_duals)
def datamodel(block: Block) -> Floats:
    """Minus the coefficient of a_mi in a ridge regression of y_mq on all a_m, alpha by cross-validation.

    Ilyas et al., arXiv 2202.00622, as used in arXiv 2311.00500: scikit-learn's RidgeCV with alpha 0.1, 1 or
    10 and 5 folds.
    """
    return -(block.prepared.T @ (block.retrained_on - block.retrained_on.mean(0)))
