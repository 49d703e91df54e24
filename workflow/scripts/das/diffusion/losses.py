"""Losses of retrained models on the queries, one "losses" artifact per subset and seed, read as one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts


def read_losses(
    paths: Sequence[Path], split: str, reference: artifacts.Artifact, subsets: int, queries: int | None
) -> NDArray[np.float64]:
    """Losses of one split, [R, D, S, Q]: seeds and subsets in ascending order, each noise draw.

    Args:
        paths: in any order; float32 [draws, Q] arrays named as the splits, attributes `subset` (0 to S - 1)
            and `seed`.
        reference: an artifact of the data set that they must belong to, which has S subsets.
        subsets, queries: S and Q; the first file decides Q where it is None.

    Raises:
        UserError: a file does not fit, is given twice, or one is missing.
    """
    draws: int | None = None
    found: dict[tuple[int, int], tuple[Path, NDArray[np.float64]]] = {}
    for path in paths:
        with artifacts.read(path, "losses") as artifact:
            artifacts.require_same("dataset", reference, artifact)
            subset, seed = int(artifact.attributes["subset"]), int(artifact.attributes["seed"])
            loss = artifact.read(split, (draws, queries), np.float32).astype(np.float64)
            draws, queries = loss.shape
        if not 0 <= subset < subsets:
            raise UserError(f"{path}: of subset {subset}, but {reference.path} has {subsets} subsets")
        if (subset, seed) in found:
            raise UserError(f"{path}: subset {subset}, seed {seed} is already in {found[subset, seed][0]}")
        found[subset, seed] = path, loss
    seeds = sorted({seed for _, seed in found})
    missing = [f"subset {s} seed {r}" for s in range(subsets) for r in seeds or [0] if (s, r) not in found]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"losses: missing are {', '.join(missing[:5])}{more}; every subset needs every seed")
    losses = np.stack([[found[s, r][1] for s in range(subsets)] for r in seeds])
    return losses.swapaxes(1, 2)
