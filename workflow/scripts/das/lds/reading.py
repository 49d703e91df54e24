"""What LDS is measured from: the files of predictions and of losses, checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from das import artifacts
from das.errors import UserError
from das.lds.correlation import Floats
from das.lds.resampling import FEWEST_SUBSETS


def read_losses(paths: Sequence[Path], split: str, predicted: Predicted) -> Floats:
    """Losses of one split, mean over noise draws, [R, S, Q], seeds and subsets in ascending order.

    Raises:
        UserError: a file does not fit the predictions, is given twice, or one is missing.
    """
    _, subsets, queries = predicted.prediction.shape
    found: dict[tuple[int, int], tuple[Path, Floats]] = {}
    for path in paths:
        with artifacts.read(path, "losses") as artifact:
            artifacts.require_same("dataset", predicted.artifact, artifact)
            subset, seed = int(artifact.attributes["subset"]), int(artifact.attributes["seed"])
            loss = artifact.read(split, (None, queries), np.float32).astype(np.float64).mean(0)
        if not 0 <= subset < subsets:
            raise UserError(
                f"{path}: of subset {subset}, but {predicted.artifact.path} has {subsets} subsets"
            )
        if (subset, seed) in found:
            raise UserError(f"{path}: subset {subset}, seed {seed} is already in {found[subset, seed][0]}")
        found[subset, seed] = path, loss
    seeds = sorted({seed for _, seed in found})
    missing = [f"subset {s} seed {r}" for s in range(subsets) for r in seeds or [0] if (s, r) not in found]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"losses: missing are {', '.join(missing[:5])}{more}; every subset needs every seed")
    return np.stack([[found[s, r][1] for s in range(subsets)] for r in seeds])


@dataclass(frozen=True)
class Predicted:
    """An opened "predictions" artifact: prediction [L, S, Q] and relative dampings [L], NaN if undamped."""

    artifact: artifacts.Artifact
    dampings: Floats
    prediction: Floats

    @property
    def damped(self) -> bool:
        """Whether the method has a damping."""
        return not np.isnan(self.dampings).all()

    @classmethod
    def read(cls, path: Path) -> Predicted:
        """Read it."""
        with artifacts.read(path, "predictions") as artifact:
            dampings = np.asarray(artifact.attributes["damping_relative"])
            prediction = artifact.read("prediction", (len(dampings), None, None), np.float64)
            return cls(artifact, dampings, prediction)


def require_enough_subsets(predicted: Predicted) -> None:
    """Refuse predictions for so few subsets that none can be held out."""
    subsets = predicted.prediction.shape[1]
    if subsets < FEWEST_SUBSETS:
        raise UserError(
            f"lds.subsets: found {subsets}, allowed are {FEWEST_SUBSETS} and more, "
            "since the damping is chosen on one half of them and measured on the other"
        )
