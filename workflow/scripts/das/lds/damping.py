"""The choice of the damping on other subsets than those that it is judged on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from das.lds.correlation import Counts, Floats
from das.lds.estimate import Estimate
from das.lds.resampling import Halves
from das.lds.unbiased import less_one, of_queries


def choose_held_out(found: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """LDS with the damping chosen on one part of the subsets and measured on the other.

    Args:
        found: rank correlations [2, B, L, ...] of the left and the right parts of splits in halves.

    Returns:
        [B, ...], the mean of both ways; and the index of the damping chosen on the left and on the right
        part, [2, B, ...].
    """
    chosen = found.argmax(2)
    measured = np.take_along_axis(found[::-1], chosen[:, :, None], axis=2)[:, :, 0]
    return measured.mean(0), chosen


def held_out(prediction: Floats, measured: Floats, halves: Halves) -> tuple[Estimate, NDArray[np.int64]]:
    """LDS in percent, the mean over splits in halves, and the dampings chosen, [2, B].

    Less a subset, every split is the same less that subset, and chooses its dampings anew. Of one damping
    there is nothing to choose: it is measured on all subsets.
    """
    if len(prediction) == 1:
        return undamped(prediction, measured), np.zeros((2, len(halves.left)), np.int64)
    everything, less = less_one(prediction, measured, halves.parts)
    value, chosen = choose_held_out(everything.reshape(2, -1, len(prediction)))
    without, _ = choose_held_out(less.reshape(2, -1, *less.shape[1:]))
    return Estimate(100 * float(value.mean()), 100 * without.mean(0)), chosen


def held_out_queries(
    prediction: Floats, measured: Floats, halves: Halves, chosen: NDArray[np.int64]
) -> Floats:
    """The same of each query in percent, [Q], with the dampings that were chosen for all queries."""
    others = np.stack([halves.right, halves.left])
    total = np.zeros(measured.shape[1])
    for damping in np.unique(chosen):
        parts = others[chosen == damping]
        total += len(parts) * of_queries(prediction[damping], measured, parts)
    return 100 * total / chosen.size


def undamped(prediction: Floats, measured: Floats) -> Estimate:
    """LDS in percent of one prediction, [1, S, Q], on all subsets."""
    everything: Counts = np.ones((1, len(measured)), np.int64)
    value, less = less_one(prediction, measured, everything)
    return Estimate(100 * float(value[0, 0]), 100 * less[0, 0])
