"""How noisy measured losses are, and what the LDS would be without that noise.

Losses are measured with some draws of noise. How well one draw ranks the subsets as another does says how
much of what is measured is the models' own (Spearman 1904):

    c     mean over queries and pairs of draws of 2 sin(pi r / 6), r the unbiased rank correlation of two
          draws: the correlation of the losses themselves where they are normal
    rel   D c / (1 + (D - 1) c), the reliability of the mean over D draws (Spearman-Brown)

Noise lowers every LDS by the factor sqrt(rel), one for all methods.
"""

from __future__ import annotations

import itertools

import numpy as np

from das.lds.correlation import Floats
from das.lds.estimate import Estimate
from das.lds.unbiased import correlations, of_queries_less_one

# Below it, a few subsets decide about the correction: its interval no longer covers (docs/measurements.md).
LEAST = 0.3


def reliability(draws: Floats) -> Estimate | None:
    """The reliability of the mean over draws of measured losses [D, S, Q], 0 to 1.

    Returns:
        None of a single draw.
    """
    if len(draws) < 2:
        return None
    pairs = itertools.combinations(draws, 2)
    ranks = [2 * np.sin(np.pi / 6 * of_queries_less_one(a, b)).mean(1) for a, b in pairs]
    # Draws of nothing but noise agree a little less than not at all as often as a little more.
    found = _of_mean(np.maximum(np.mean(ranks, axis=0), 0), len(draws))
    return Estimate(float(found[0]), found[1:])


def _of_mean(one: Floats, number: int) -> Floats:
    """The reliability of a mean of so many measurements, by that of one (Spearman-Brown)."""
    return number * one / (1 + (number - 1) * one)


def ceiling(losses: Floats) -> float:
    """LDS in percent of one training seed's losses as prediction of another's, of losses [R, S, Q].

    Returns:
        The mean over pairs of seeds; NaN of a single seed.
    """
    everything = np.ones((1, losses.shape[1]), np.int64)
    pairs = itertools.combinations(losses, 2)
    found = [correlations(a[None], b, everything).item() for a, b in pairs]
    return 100 * float(np.mean(found)) if found else float("nan")


def tells(found: Estimate) -> bool:
    """Whether a reliability is high enough to correct by it."""
    return found.interval[0] >= LEAST and found.less_one.min() > 0


def corrected(lds: Estimate, found: Estimate | None) -> Estimate | None:
    """The LDS that losses without noise of their measurement would have.

    Returns:
        None where the reliability is not known, or too low to say.
    """
    if found is None or not tells(found):
        return None
    return Estimate(lds.value / np.sqrt(found.value), lds.less_one / np.sqrt(found.less_one))


def highest(ceiling: float, seeds: int) -> float:
    """The highest LDS in percent against the mean over training seeds, by the LDS of one seed for another.

    Of losses whose part that seeds share is normal: a perfect prediction of that part has the correlation
    sqrt(rel), rel the reliability of the mean over seeds. NaN where seeds do not agree at all.
    """
    one = np.asarray(2 * np.sin(np.pi / 6 * ceiling / 100))
    if not one > 0:
        return float("nan")
    return float(600 / np.pi * np.arcsin(np.sqrt(_of_mean(one, seeds)) / 2))
