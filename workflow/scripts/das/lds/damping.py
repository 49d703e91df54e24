"""The choice of the damping on other subsets than those that it is judged on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from das.lds.correlation import Floats, mean_spearman, spearman
from das.lds.resampling import Halves


def choose_held_out(prediction: Floats, measured: Floats, halves: Halves) -> tuple[Floats, NDArray[np.int64]]:
    """LDS with the damping chosen on other subsets than those that it is measured on.

    Returns:
        percent [B], the mean of both ways; and the index of the damping chosen on the left and on the
        right part, [2, B].
    """
    left = mean_spearman(prediction, measured, halves.left)
    right = mean_spearman(prediction, measured, halves.right)
    chosen = np.stack([left.argmax(1), right.argmax(1)])
    each = np.arange(len(left))
    return 50 * (right[each, chosen[0]] + left[each, chosen[1]]), chosen


def query_held_out(prediction: Floats, measured: Floats, halves: Halves) -> Floats:
    """Held-out LDS in percent of each query, [Q]: mean over all halves, the damping chosen for all queries.

    Its mean over queries is the mean of `choose_held_out`'s LDS.
    """
    _, chosen = choose_held_out(prediction, measured, halves)
    each = np.arange(len(halves.left))
    found = np.empty(measured.shape[1])
    for query in range(len(found)):
        left = spearman(prediction[:, :, query], measured[:, query], halves.left)
        right = spearman(prediction[:, :, query], measured[:, query], halves.right)
        found[query] = 50 * (right[each, chosen[0]] + left[each, chosen[1]]).mean()
    return found
