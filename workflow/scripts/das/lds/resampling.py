"""Random choices of subsets, the same for all methods: splits in halves and bootstrap resamples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from das.lds.correlation import Counts
from das.noise import generator

SPLITS = 20


@dataclass(frozen=True)
class Halves:
    """Multiplicities [B, S] of two disjoint parts of the subsets, B times."""

    left: Counts
    right: Counts


@dataclass(frozen=True)
class Resamples:
    """All random choices of subsets: splits in halves, bootstrap resamples of all subsets and of halves."""

    splits: Halves
    all: Counts
    halves: Halves

    @classmethod
    def draw(cls, subsets: int, replicates: int, seed: int) -> Resamples:
        """Draw them; bootstrapped halves never share a subset, since each resamples one half."""
        random = generator("lds", seed)
        splits = list(_halves(random, subsets, SPLITS))
        resampled = [
            (_resample(random, left), _resample(random, right))
            for left, right in _halves(random, subsets, replicates)
        ]
        everything = np.ones(subsets, dtype=np.int64)
        whole = np.stack([_resample(random, everything) for _ in range(replicates)])
        return cls(_stack(splits), whole, _stack(resampled))


def _halves(random: np.random.Generator, subsets: int, times: int) -> Iterator[tuple[Counts, Counts]]:
    for _ in range(times):
        left = np.zeros(subsets, dtype=np.int64)
        left[random.permutation(subsets)[: subsets // 2]] = 1
        yield left, 1 - left


def _resample(random: np.random.Generator, members: Counts) -> Counts:
    """Draw as many samples as there are members, with replacement, from them."""
    size = int(members.sum())
    return random.multinomial(size, members / size)


def _stack(pairs: Sequence[tuple[Counts, Counts]]) -> Halves:
    left, right = zip(*pairs, strict=True)
    return Halves(np.stack(left), np.stack(right))
