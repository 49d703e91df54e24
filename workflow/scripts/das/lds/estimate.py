"""An estimate with the interval that its jackknife over subsets gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from das.lds.correlation import Floats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure, and what it is without each subset: `value`, and `less_one` [S].

    Differences of two estimates over the same subsets are paired.
    """

    value: float
    less_one: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.less_one - other.less_one)

    @property
    def error(self) -> float:
        """The standard error by the delete-one jackknife (Efron and Stein 1981)."""
        subsets = len(self.less_one)
        # Less the first, equal values have a spread of exactly 0.
        return float(np.sqrt((subsets - 1) ** 2 / subsets * (self.less_one - self.less_one[0]).var(ddof=1)))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of Student's t with S - 1 degrees of freedom."""
        margin = float(stdtrit(len(self.less_one) - 1, (1 + LEVEL) / 2)) * self.error
        return self.value - margin, self.value + margin
