"""Random choices of subsets, the same for all methods: halves, bootstrap resamples and smaller draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from das.lds.correlation import Counts
from das.noise import generator

SPLITS = 100
FEWEST_SUBSETS = 8  # each half has 4, and less one the 3 that the unbiased correlation needs
DRAWS = 20  # of each smaller number of subsets
SPLITS_OF_DRAW = 4


@dataclass(frozen=True)
class Halves:
    """Two disjoint parts of the subsets, B times: [B, S], 1 for the subsets of a part."""

    left: Counts
    right: Counts

    @property
    def parts(self) -> Counts:
        """All left and then all right parts, [2 B, S]."""
        return np.concatenate([self.left, self.right])


@dataclass(frozen=True)
class Draws:
    """Some of the subsets, drawn without replacement `DRAWS` times.

    Attributes:
        whole: [DRAWS, S], 1 for the subsets of a draw.
        halves: splits in halves of each draw, one draw after the other, [DRAWS * SPLITS_OF_DRAW, S].
    """

    whole: Counts
    halves: Halves


@dataclass(frozen=True)
class Resamples:
    """All random choices of subsets.

    Attributes:
        splits: splits of all subsets in halves.
        bootstrap: multiplicities [replicates, S] of the subsets in bootstrap resamples.
        draws: by number of subsets, 8, 16, 32, ... up to three quarters of S.
    """

    splits: Halves
    bootstrap: Counts
    draws: dict[int, Draws]

    @classmethod
    def draw(cls, subsets: int, replicates: int, seed: int) -> Resamples:
        """Draw them."""
        random = generator("lds", seed)
        everything = np.ones(subsets, dtype=np.int64)
        splits = _halves(random, everything, SPLITS)
        bootstrap = random.multinomial(subsets, everything / subsets, size=replicates)
        draws = {}
        size = FEWEST_SUBSETS
        while size <= 0.75 * subsets:
            draws[size] = _draws(random, subsets, size)
            size *= 2
        return cls(splits, bootstrap, draws)


def _halves(random: np.random.Generator, whole: Counts, times: int) -> Halves:
    return _stack([_half(random, whole) for _ in range(times)])


def _half(random: np.random.Generator, whole: Counts) -> tuple[Counts, Counts]:
    members = np.flatnonzero(whole)
    left = np.zeros_like(whole)
    left[members[random.permutation(len(members))[: len(members) // 2]]] = 1
    return left, whole - left


def _draws(random: np.random.Generator, subsets: int, size: int) -> Draws:
    whole = np.zeros((DRAWS, subsets), dtype=np.int64)
    for drawn in whole:
        drawn[random.permutation(subsets)[:size]] = 1
    return Draws(whole, _stack([_half(random, drawn) for drawn in whole for _ in range(SPLITS_OF_DRAW)]))


def _stack(pairs: Sequence[tuple[Counts, Counts]]) -> Halves:
    left, right = zip(*pairs, strict=True)
    return Halves(np.stack(left), np.stack(right))
