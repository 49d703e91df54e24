"""What comparisons of methods are made of: a method's LDS over random choices of subsets, as an artifact.

The choices depend on the number of subsets and the seed alone. The same place in two methods' arrays
belongs to the same subsets, so that differences between methods are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.jobs import artifacts
from das.lds.correlation import Counts, Floats, centre, lds, mean_spearman, query_lds
from das.lds.damping import choose_held_out, query_held_out
from das.lds.resampling import DRAWS, SPLITS, Resamples


@dataclass(frozen=True)
class Statistics:
    """LDS of one split in percent, the damping chosen on held-out subsets.

    Arrays with subsets in halves treat a method without damping as one with a single damping, so that any
    two methods are measured on the same subsets. Its `queries` and `by_size` are of whole sets of subsets.

    Attributes:
        halves, halves_centred: [20] LDS, and centred LDS, of each split in halves; means are the LDS.
        replicates, replicates_centred: [B] the same for each bootstrap resample of two halves.
        queries: [Q] LDS of each query.
        sizes: int64 [K] numbers of subsets, ascending; the last is S.
        by_size: [K, 20] LDS of random draws, without replacement, of that many subsets. The last row
            repeats the LDS of all.
        dampings: [L] relative, those that were tried; [0] of a method without damping.
        by_damping: [L] LDS of all subsets with each of them.
    """

    halves: Floats
    halves_centred: Floats
    replicates: Floats
    replicates_centred: Floats
    queries: Floats
    sizes: NDArray[np.int64]
    by_size: Floats
    dampings: Floats
    by_damping: Floats


@dataclass(frozen=True)
class MethodStatistics:
    """The statistics of one method, by split.

    Attributes:
        settings: number of subsets, of bootstrap resamples and of training seeds, and the seed of random
            choices; methods that agree on them can be compared.
        weights: sha256 of the model that was attributed, "" for methods that use none.
    """

    dataset: str
    method: str
    settings: dict[str, Any]
    weights: str
    splits: Mapping[str, Statistics]

    def write(self, path: Path) -> None:
        """Write the artifact "statistics": a group of arrays per split, named as in `Statistics`."""
        named: dict[str, Any] = {"method": self.method, "splits": list(self.splits)}
        with artifacts.write(path, "statistics", self.dataset, self.settings, self.weights, **named) as file:
            for split, statistics in self.splits.items():
                for field in fields(statistics):
                    file[f"{split}/{field.name}"] = getattr(statistics, field.name)

    @classmethod
    def read(cls, path: Path) -> MethodStatistics:
        """Read it.

        Raises:
            UserError: the file is not such an artifact, or its arrays do not fit each other.
        """
        with artifacts.read(path, "statistics") as artifact:
            splits = {
                str(split): _read_split(artifact, str(split)) for split in artifact.attributes["splits"]
            }
            method = str(artifact.attributes["method"])
            return cls(artifact.dataset, method, artifact.settings, artifact.weights, splits)


def measure_statistics(
    prediction: Floats, measured: Floats, resamples: Resamples, dampings: Floats
) -> Statistics:
    """Statistics of prediction [L, S, Q] against measured [S, Q].

    Args:
        dampings: [L] of the predictions; [0] of a method without damping, for which L is 1.
    """
    centred = centre(measured)
    if len(dampings):
        queries = query_held_out(prediction, measured, resamples.splits)
        by_size = [
            choose_held_out(prediction, measured, draws.halves)[0].reshape(DRAWS, SPLITS).mean(1)
            for draws in resamples.draws.values()
        ]
    else:
        queries = query_lds(prediction, measured)[0]
        by_size = [
            100 * mean_spearman(prediction, measured, draws.whole)[:, 0] for draws in resamples.draws.values()
        ]
    return Statistics(
        halves=choose_held_out(prediction, measured, resamples.splits)[0],
        halves_centred=choose_held_out(prediction, centred, resamples.splits)[0],
        replicates=choose_held_out(prediction, measured, resamples.halves)[0],
        replicates_centred=choose_held_out(prediction, centred, resamples.halves)[0],
        queries=queries,
        sizes=np.array([*resamples.draws, len(measured)], dtype=np.int64),
        by_size=np.stack([*by_size, np.full(DRAWS, queries.mean())]),
        dampings=dampings,
        by_damping=lds(prediction, measured)[: len(dampings)],
    )


def _read_split(artifact: artifacts.Artifact, split: str) -> Statistics:
    replicates = artifact.shape(f"{split}/replicates")[0]
    sizes: Counts = artifact.read(f"{split}/sizes", (None,), np.int64)
    dampings = artifact.shape(f"{split}/dampings")
    shapes: dict[str, tuple[int | None, ...]] = {
        "halves": (SPLITS,),
        "halves_centred": (SPLITS,),
        "replicates": (replicates,),
        "replicates_centred": (replicates,),
        "queries": (None,),
        "by_size": (len(sizes), DRAWS),
        "dampings": dampings,
        "by_damping": dampings,
    }
    arrays = {name: artifact.read(f"{split}/{name}", shape, np.float64) for name, shape in shapes.items()}
    return Statistics(sizes=sizes, **arrays)
