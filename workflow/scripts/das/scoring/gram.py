"""The Gram matrix GᵀG of training features as an artifact: what all methods and splits sum up alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from das.errors import UserError
from das.jobs import artifacts
from das.jobs.memory import require_memory
from das.scoring.build_kernel import inner_gram
from das.scoring.feature_shards import Shards
from das.scoring.kernel import Floats


def sum_gram(paths: Sequence[Path], output: Path) -> None:
    """Write the artifact "gram" of the features in shards: `gram` float64 [k, k], and `count`, of images.

    Raises:
        UserError: shards do not belong together, a feature is not finite, or memory does not suffice.
    """
    features = Shards(paths)
    what = f"features: the Gram matrix with k = {features.k}"
    require_memory(8 * 2 * features.k**2, what, "lower gradients.dimension")
    origin = features.dataset, features.settings, features.weights
    precision = features.provenance.attributes["precision"]
    with artifacts.write(output, "gram", *origin, precision=precision, count=features.n) as file:
        file["gram"] = inner_gram(features)


def read_gram(path: Path, features: Shards) -> Floats:
    """The matrix in an artifact "gram", which must be of these features.

    Raises:
        UserError: it is of others; names both files and what differs.
    """
    with artifacts.read(path, "gram") as artifact:
        artifacts.require_same_analysis(features.provenance, artifact)
        if artifact.attributes["count"] != features.n:
            raise UserError(
                f"{path}: is of {artifact.attributes['count']} images, but the features of "
                f"{features.provenance.path} are of {features.n}; they must agree"
            )
        return artifact.read("gram", (features.k, features.k), np.float64)
