"""Which training images the models of a counterfactual evaluation are trained without, or on which alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.noise import generator
from das.plan.paths import KEEP


def highest(scores: Path, queries: int, count: int) -> NDArray[np.int64]:
    """The training images with the highest scores of the first queries, int64 [queries, count].

    Raises:
        UserError: the file has fewer queries, or no more than `count` training images.
    """
    with artifacts.read(scores, "scores") as artifact:
        found, n = artifact.shape("scores")
        if queries > found:
            raise UserError(f"{scores}: has {found} queries, counterfactual.queries asks for {queries}")
        _require_fewer(count, n)
        rows = artifact.read("scores", (found, n), np.float32, slice(0, queries))
    return np.argsort(-rows, axis=1, kind="stable")[:, :count].astype(np.int64)


def at_random(n: int, queries: int, count: int, seed: int) -> NDArray[np.int64]:
    """Others of n training images for each query, int64 [queries, count]; a function of seed and query."""
    _require_fewer(count, n)
    draws = (generator("counterfactual", seed, query) for query in range(queries))
    return np.stack([random.permutation(n)[:count] for random in draws])


def _require_fewer(count: int, n: int) -> None:
    if not 1 <= count < n:
        raise UserError(
            f"counterfactual.images: found {count}, allowed is 1 to {n - 1} of {n} training images"
        )


def membership(chosen: NDArray[np.int64], n: int, test: str) -> NDArray[np.bool_]:
    """Which of n images the model of each query is trained on, bool [queries, n].

    Args:
        test: one of `das.plan.paths.TESTS`.
    """
    named = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(named, chosen, True, axis=1)
    return named if test == KEEP else ~named
