"""What LDS is measured from: the files of predictions and of losses, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from das.errors import UserError
from das.jobs import artifacts
from das.lds.correlation import Floats
from das.lds.resampling import FEWEST_SUBSETS


@dataclass(frozen=True)
class Predicted:
    """An opened "predictions" artifact: prediction [L, S, Q] and relative dampings [L], NaN if undamped.

    `by_gcv` [S, Q] is the prediction at the damping of generalised cross-validation, where there is one.
    """

    artifact: artifacts.Artifact
    dampings: Floats
    prediction: Floats
    by_gcv: Floats | None

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
            by_gcv = None
            if "damping_gcv" in artifact.attributes:
                by_gcv = artifact.read("prediction_gcv", prediction.shape[1:], np.float64)
            return cls(artifact, dampings, prediction, by_gcv)


def require_enough_subsets(predicted: Predicted) -> None:
    """Refuse predictions for so few subsets that none can be held out."""
    subsets = predicted.prediction.shape[1]
    if subsets < FEWEST_SUBSETS:
        raise UserError(
            f"lds.subsets: found {subsets}, allowed are {FEWEST_SUBSETS} and more, "
            "since the damping is chosen on one half of them and measured on the other"
        )
