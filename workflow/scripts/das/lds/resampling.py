"""Random choices of subsets, the same for all methods: halves, bootstrap resamples and smaller draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from das.lds.correlation import Counts
from das.noise import generator

SPLITS = 20
FEWEST_SUBSETS = 8  # each half has 4
DRAWS = 20  # of each smaller number of subsets


@dataclass(frozen=True)
class Halves:
    """Multiplicities [B, S] of two disjoint parts of the subsets, B times."""

    left: Counts
    right: Counts


@dataclass(frozen=True)
class Draws:
    """Some of the subsets, drawn without replacement `DRAWS` times.

    Attributes:
        whole: multiplicities [DRAWS, S], all 0 or 1.
        halves: 20 splits in halves of each draw, one draw after the other, [DRAWS * SPLITS, S].
    """

    whole: Counts
    halves: Halves


@dataclass(frozen=True)
class Resamples:
    """All random choices of subsets.

    Attributes:
        splits: splits of all subsets in halves.
        all: bootstrap resamples of all subsets.
        halves: bootstrap resamples of both halves of a split.
        draws: by number of subsets, 8, 16, 32, ... up to three quarters of S.
    """

    splits: Halves
    all: Counts
    halves: Halves
    draws: dict[int, Draws]

    @classmethod
    def draw(cls, subsets: int, replicates: int, seed: int) -> Resamples:
        """Draw them; bootstrapped halves never share a subset, since each resamples one half."""
        random = generator("lds", seed)
        everything = np.ones(subsets, dtype=np.int64)
        splits = list(_halves(random, everything, SPLITS))
        resampled = [
            (_resample(random, left), _resample(random, right))
            for left, right in _halves(random, everything, replicates)
        ]
        whole = np.stack([_resample(random, everything) for _ in range(replicates)])
        draws = {}
        size = FEWEST_SUBSETS
        while size <= 0.75 * subsets:
            draws[size] = _draws(random, subsets, size)
            size *= 2
        return cls(_stack(splits), whole, _stack(resampled), draws)


def _halves(random: np.random.Generator, whole: Counts, times: int) -> Iterator[tuple[Counts, Counts]]:
    members = np.flatnonzero(whole)
    for _ in range(times):
        left = np.zeros_like(whole)
        left[members[random.permutation(len(members))[: len(members) // 2]]] = 1
        yield left, whole - left


def _draws(random: np.random.Generator, subsets: int, size: int) -> Draws:
    whole = np.zeros((DRAWS, subsets), dtype=np.int64)
    for drawn in whole:
        drawn[random.permutation(subsets)[:size]] = 1
    return Draws(whole, _stack([pair for drawn in whole for pair in _halves(random, drawn, SPLITS)]))


def _resample(random: np.random.Generator, members: Counts) -> Counts:
    """Draw as many samples as there are members, with replacement, from them."""
    size = int(members.sum())
    return random.multinomial(size, members / size)


def _stack(pairs: Sequence[tuple[Counts, Counts]]) -> Halves:
    left, right = zip(*pairs, strict=True)
    return Halves(np.stack(left), np.stack(right))
