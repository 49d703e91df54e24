"""What a few retrained models tell of all: where models differ, and how many timesteps tell them apart.

Notation: d(t) is the error of a model on a query at timestep t, less the mean of it over the M models, and
d'(t) the same with other noise. Over models, with M - 1 for their number, and queries, the mean of

    d(t) d'(u)             is K(t, u), by how much models differ, since two draws share no noise
    (d(t) - d'(t))² / 2    is V(t), the variance of one draw's noise
    (d(t)² + d'(t)²) / 2   is K(t, t) + V(t), the square of the spread

They are measured at some timesteps, and linear between them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from das.diffusion.strata import Floats, Integers, cut_strata
from das.errors import UserError
from das.jobs import artifacts

KIND = "pilot"
SPLITS = ("val", "gen")


@dataclass(frozen=True)
class Differences:
    """How models differ on the queries of a split: K, float64 [T, T], and V, float64 [T]."""

    covariance: Floats
    noise: Floats

    @property
    def signal(self) -> float:
        """Variance between models of the mean of their errors over all timesteps."""
        return float(self.covariance.mean())

    def reliability(self, bounds: Integers, draws: int) -> float:
        """Predicted correlation of two measurements, with one timestep of each stratum in so many draws.

        It is the share of the signal in the variance of a measurement, pooled over queries: four models are
        too few to tell it for each. 0 where models do not differ.
        """
        if self.signal <= 0:
            return 0.0
        first, lengths = bounds[:-1], np.diff(bounds)
        squares = np.add.reduceat(self.covariance.diagonal() + self.noise, first)
        means = np.add.reduceat(np.add.reduceat(self.covariance, first, axis=0), first, axis=1).diagonal()
        noise = (lengths * squares - means).sum() / len(self.noise) ** 2 / draws
        return float(self.signal / (self.signal + max(noise, 0)))


@dataclass(frozen=True)
class Pilot:
    """What was measured of a few models.

    Attributes:
        spread: of models at every timestep, root mean square over all queries, float64 [T].
        splits: how they differ on the queries of each split.
    """

    dataset: str
    spread: Floats
    splits: Mapping[str, Differences]

    def reliability(self, bounds: Integers, draws: int) -> dict[str, float]:
        """The predicted reliability of each split, see `Differences.reliability`."""
        return {split: each.reliability(bounds, draws) for split, each in self.splits.items()}

    def choose_strata(self, settings: Mapping[str, Any]) -> Integers:
        """Strata of a budget, or the fewest with which every split reaches a reliability; see `cut_strata`.

        Args:
            settings: budget, reliability where it is auto, and draws; as in the section `lds` of a data set.
        """
        if settings["budget"] != "auto":
            return cut_strata(self.spread, settings["budget"])
        for split, differences in self.splits.items():
            if not differences.signal > 0:
                raise UserError(
                    f"{self.dataset}: lds.budget: auto cannot tell, for on {split} the models of the pilot "
                    f"do not differ beyond noise (variance {differences.signal:.2g}, needed is more than 0); "
                    "say how many timesteps, such as 100"
                )

        def reached(count: int) -> float:
            return min(self.reliability(cut_strata(self.spread, count), settings["draws"]).values())

        # By bisection: it rises with the count, but for the rounding of strata.
        counts = range(1, len(self.spread))
        return cut_strata(self.spread, 1 + bisect_left(counts, settings["reliability"], key=reached))


def read_pilot(path: Path) -> Pilot:
    """Read the artifact "pilot": errors of each split, float32 [M, 2, Q, timesteps], two noise draws each."""
    with artifacts.read(path, KIND) as artifact:
        timesteps = artifact.read("timesteps", (None,), np.int64)
        shape = (len(artifact.attributes["models"]), 2, None, len(timesteps))
        errors = [artifact.read(split, shape, np.float32).astype(np.float64) for split in SPLITS]
        dataset, steps = artifact.dataset, int(artifact.attributes["steps"])
    # What a value at each measured timestep adds at every one.
    every = np.arange(steps)
    between = np.stack([np.interp(every, timesteps, one) for one in np.eye(len(timesteps))], axis=1)
    differences = [error - error.mean(axis=0) for error in errors]
    squares = np.concatenate([difference.reshape(-1, len(timesteps)) ** 2 for difference in differences])
    splits = {split: _pooled(each, between) for split, each in zip(SPLITS, differences, strict=True)}
    return Pilot(dataset, between @ np.sqrt(squares.mean(axis=0)), splits)


def _pooled(difference: Floats, between: Floats) -> Differences:
    """K and V of d [M, 2, Q, timesteps], between the timesteps too."""
    one, other = difference[:, 0], difference[:, 1]
    number = (len(difference) - 1) * one.shape[1]
    covariance = np.einsum("mqt,mqu->tu", one, other) / number
    noise = ((one - other) ** 2).sum(axis=(0, 1)) / 2 / number
    return Differences(between @ (covariance + covariance.T) @ between.T / 2, between @ noise)
