"""Timesteps by importance: a mean over all timesteps that is estimated from a few of them.

Notation: e(t) is measured at T timesteps and spreads by s(t), the root mean square of what is to be told from
it. N strata cut the timesteps into consecutive pieces, of which piece h has L_h. One timestep t_h is drawn in
each, and

    sum_h (L_h / T) e(t_h)

has the expectation mean_t e(t), whatever the strata. Pieces of equal sums of s are importance sampling with a
density proportional to s, which has the least variance, and stratified besides (A. Owen, Monte Carlo theory,
methods and examples, 2013, sections 8.4 and 9.1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.noise import generator

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# No spread counts for less than this share of the mean. A spread is an estimate, and where it is too small, a
# timestep stands for too many: so no weight is above 1.1 / FLOOR / N + 1 / T, 11 times that of uniform ones.
FLOOR = 0.1

KIND = "timesteps"


def cut_strata(spread: Floats, count: int) -> Integers:
    """Where strata of about equal sums of the spread begin, and T: int64 [count + 1], ascending.

    Args:
        spread: s(t) of every timestep, float64 [T], not negative. Only its proportions matter; where it is
            zero everywhere, strata are equally long.

    Raises:
        UserError: there are fewer timesteps than strata, or no strata.
    """
    steps = len(spread)
    if not 1 <= count <= steps:
        raise UserError(f"timesteps: found {count}, allowed is 1 to {steps}")
    density = np.maximum(spread, FLOOR * spread.mean() or 1)
    # No timestep counts for more than one stratum. If the k highest are one each, the others share the rest.
    # Of all k the least share is right: another one counts some timestep for more than it has.
    alone = np.arange(steps)[::-1]
    shared = np.cumsum(np.sort(density))[alone < count] / (count - alone[alone < count])
    reached = np.cumsum(np.minimum(density, shared.min())) / shared.min()
    number = np.arange(count + 1)
    nearest = np.rint(np.interp(number, [0, *reached], np.arange(steps + 1)))
    # At least one timestep in each, whatever rounding does.
    return np.clip(np.maximum.accumulate(nearest - number), 0, steps - count).astype(np.int64) + number


@dataclass(frozen=True)
class Sample:
    """Timesteps drawn in strata, anew for every noise draw.

    A choice that all draws had in common would be an error that no mean over draws makes smaller, and that
    their differences do not show.

    Attributes:
        timesteps: int64 [draws, N], ascending.
        weights: of each stratum in the mean over timesteps, float64 [N], of sum 1.
        steps: T.
    """

    timesteps: Integers
    weights: Floats
    steps: int

    @classmethod
    def draw(cls, bounds: Integers, draws: int, seed: int) -> Sample:
        """One timestep in each stratum of `cut_strata`, a function of the seed, the draw and its number."""
        pieces = list(enumerate(itertools.pairwise(bounds.tolist())))
        chosen = [
            [generator("strata", seed, draw, number).integers(*piece) for number, piece in pieces]
            for draw in range(draws)
        ]
        steps = int(bounds[-1])
        return cls(np.array(chosen, dtype=np.int64), np.diff(bounds) / steps, steps)

    @classmethod
    def read(cls, path: Path, draws: int, steps: int) -> Sample:
        """Read the artifact "timesteps"; refuse one of another number of draws, or of another schedule."""
        with artifacts.read(path, KIND) as artifact:
            [found] = artifact.shape("spread")
            if found != steps:
                raise UserError(f"{path}: of {found} timesteps, but the model has {steps}")
            timesteps = artifact.read("timesteps", (draws, None), np.int64)
            return cls(timesteps, artifact.read("weights", timesteps.shape[1:], np.float64), steps)
