"""What comparisons of methods are made of: a method's LDS, also less each subset, as an artifact.

Subsets and their splits in halves depend on the number of subsets and the seed alone. The same place in two
methods' arrays belongs to the same subsets, so that differences between methods are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.jobs import artifacts
from das.lds.correlation import Floats, centre
from das.lds.damping import choose_held_out, held_out, held_out_queries
from das.lds.estimate import Estimate
from das.lds.resampling import DRAWS, SPLITS_OF_DRAW, Resamples
from das.lds.unbiased import correlations, of_queries


@dataclass(frozen=True)
class Statistics:
    """LDS of one split in percent, the damping chosen on held-out subsets.

    Attributes:
        lds, centred: the LDS, and that of `centre`d losses and predictions.
        queries: [Q] LDS of each query; their mean is the LDS.
        sizes: int64 [K] numbers of subsets, ascending; the last is S.
        by_size: [K, 20] LDS of random draws, without replacement, of that many subsets. The last row
            repeats the LDS of all.
        dampings: [L] relative, those that were tried; [0] of a method without damping.
        by_damping: [L] LDS of all subsets with each of them.
        chosen: int64 [2, B] index of the damping that each half of B splits chose.
    """

    lds: Estimate
    centred: Estimate
    queries: Floats
    sizes: NDArray[np.int64]
    by_size: Floats
    dampings: Floats
    by_damping: Floats
    chosen: NDArray[np.int64]


@dataclass(frozen=True)
class MethodStatistics:
    """The statistics of one method, by split.

    Attributes:
        settings: number of subsets and of training seeds, and the seed of random choices; methods that agree
            on them can be compared.
        weights: sha256 of the model that was attributed, "" for methods that use none.
    """

    dataset: str
    method: str
    settings: dict[str, Any]
    weights: str
    splits: Mapping[str, Statistics]

    def write(self, path: Path) -> None:
        """Write the artifact "statistics": a group of arrays per split, named as in `Statistics`.

        An estimate is an array [1 + S], the value itself and less each subset.
        """
        named: dict[str, Any] = {"method": self.method, "splits": list(self.splits)}
        with artifacts.write(path, "statistics", self.dataset, self.settings, self.weights, **named) as file:
            for split, statistics in self.splits.items():
                for name, value in vars(statistics).items():
                    array = [value.value, *value.less_one] if isinstance(value, Estimate) else value
                    file[f"{split}/{name}"] = array

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
    everything = np.ones((1, len(measured)), dtype=np.int64)
    lds, chosen = held_out(prediction, measured, resamples.splits)
    centred, _ = held_out(centre(prediction), centre(measured), resamples.splits)
    if len(prediction) > 1:
        queries = held_out_queries(prediction, measured, resamples.splits, chosen)
    else:
        queries = 100 * of_queries(prediction[0], measured, everything)
    smaller = [each.halves.parts if len(prediction) > 1 else each.whole for each in resamples.draws.values()]
    parts = [everything, *smaller]
    found = 100 * correlations(prediction, measured, np.concatenate(parts))
    by_damping, *of_draws = np.split(found, np.cumsum([len(each) for each in parts[:-1]]))
    return Statistics(
        lds=lds,
        centred=centred,
        queries=queries,
        sizes=np.array([*resamples.draws, len(measured)], dtype=np.int64),
        by_size=np.stack([*map(_of_draws, of_draws), np.full(DRAWS, lds.value)]),
        dampings=dampings,
        by_damping=by_damping[0, : len(dampings)],
        chosen=chosen,
    )


def _of_draws(found: Floats) -> Floats:
    """LDS of draws of subsets, [DRAWS], by correlations on their halves; of one damping, on themselves."""
    if found.shape[1] == 1:
        return found[:, 0]
    lds, _ = choose_held_out(found.reshape(2, -1, found.shape[1]))
    return lds.reshape(DRAWS, SPLITS_OF_DRAW).mean(1)


def _read_split(artifact: artifacts.Artifact, split: str) -> Statistics:
    estimates, dampings = artifact.shape(f"{split}/lds"), artifact.shape(f"{split}/dampings")
    sizes: NDArray[np.int64] = artifact.read(f"{split}/sizes", (None,), np.int64)
    shapes: dict[str, tuple[int | None, ...]] = {
        "lds": estimates,
        "centred": estimates,
        "queries": (None,),
        "by_size": (len(sizes), DRAWS),
        "dampings": dampings,
        "by_damping": dampings,
    }
    arrays = {name: artifact.read(f"{split}/{name}", shape, np.float64) for name, shape in shapes.items()}
    lds, centred = (Estimate(float(each[0]), each[1:]) for each in map(arrays.pop, ("lds", "centred")))
    chosen: NDArray[np.int64] = artifact.read(f"{split}/chosen", (2, None), np.int64)
    return Statistics(lds=lds, centred=centred, sizes=sizes, chosen=chosen, **arrays)
