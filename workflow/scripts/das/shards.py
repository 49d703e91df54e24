"""HDF5 shards of per-image results: features float32 [n, k], read as if they were one array, and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das import artifacts
from das.errors import UserError

# What all shards of an analysis, of training and of query images, must have in common.
AGREE = ("dataset", "weights", "projection", "precision", "settings")

BLOCK_BYTES = 2**27


def blocks(n: int, width: int) -> Iterator[range]:
    """The rows 0 to n in blocks that take at most 128 MiB each as float64 rows of `width` numbers.

    The cuts depend on n and width alone, so results do not depend on how features were cut into shards.
    """
    size = max(1, BLOCK_BYTES // (8 * max(1, width)))
    for start in range(0, n, size):
        yield range(start, min(start + size, n))


class Shards:
    """The features of a split.

    Attributes:
        n: number of images.
        k: dimension of a feature.
        dataset, weights, settings: provenance, the same in every shard.
        provenance: the first shard's attributes, to compare with other artifacts.

    Raises:
        UserError: no files, shards that disagree on provenance or on k, or that leave a gap or overlap.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise UserError("features: no shards were given")
        # By position, not by name: as text, shard-10 comes before shard-2.
        opened = sorted((_Shard(Path(path)) for path in paths), key=lambda shard: shard.first)
        self._shards = opened
        self.provenance: artifacts.Artifact = opened[0].artifact
        self.k = opened[0].k
        self.n = 0
        for shard in opened:
            _require_same(self.provenance, shard.artifact)
            if shard.k != self.k:
                raise UserError(
                    f"{shard.path}: features have {shard.k} numbers, {opened[0].path} has {self.k}"
                )
            if shard.first != self.n:
                raise UserError(
                    f"{shard.path}: starts at image {shard.first}, expected {self.n}; "
                    "a shard is missing or given twice"
                )
            self.n += shard.count
        self.dataset = self.provenance.dataset
        self.weights = self.provenance.weights
        self.settings: dict[str, Any] = self.provenance.settings

    def require_same(self, other: Shards) -> None:
        """Refuse features of other weights, settings, projection or another data set.

        Raises:
            UserError: naming both files and what differs.
        """
        _require_same(self.provenance, other.provenance)
        if self.k != other.k:
            raise UserError(
                f"{other.provenance.path}: features have {other.k} numbers, "
                f"{self.provenance.path} has {self.k}"
            )

    def read(self, rows: range) -> NDArray[np.float64]:
        """Features of consecutive images, [len(rows), k].

        Raises:
            UserError: a feature is not finite; names the file.
        """
        parts = [shard.read(rows) for shard in self._shards if shard.overlaps(rows)]
        return np.concatenate(parts).astype(np.float64)


class _Shard:
    """One file and its place among the images of its split."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with artifacts.read(path, "features") as artifact:
            self.artifact = artifact
            shape = artifact.shape("features")
            if len(shape) != 2:
                raise UserError(f"{path}: array 'features' has shape {shape}, expected ('any', 'any')")
            self.k = shape[1]
            self.first = int(artifact.attributes["first"])
            self.count = int(artifact.attributes["count"])
        if self.count != shape[0]:
            raise UserError(f"{path}: says it holds {self.count} images, but holds {shape[0]}")

    def overlaps(self, rows: range) -> bool:
        return rows.start < self.first + self.count and self.first < rows.stop

    def read(self, rows: range) -> NDArray[np.float32]:
        start = max(rows.start - self.first, 0)
        stop = min(rows.stop - self.first, self.count)
        with artifacts.read(self.path, "features") as artifact:
            return artifact.read("features", (self.count, self.k), np.float32, slice(start, stop))


def _require_same(first: artifacts.Artifact, other: artifacts.Artifact) -> None:
    for name in AGREE:
        artifacts.require_same(name, first, other)


def join_errors(paths: Sequence[Path], output: Path) -> None:
    """Put shards of training errors together: `error` float32 [N, T] and `timesteps` of all images.

    Raises:
        UserError: shards are of different models or settings, or leave a gap.
    """
    opened = []
    for path in paths:
        with artifacts.read(path, "errors") as artifact:
            opened.append((int(artifact.attributes["first"]), artifact.shape("error"), artifact))
    opened.sort(key=lambda shard: shard[0])
    first = opened[0][2]
    total, width = 0, opened[0][1][1]
    for start, shape, artifact in opened:
        for name in AGREE:
            artifacts.require_same(name, first, artifact)
        if start != total:
            raise UserError(f"{artifact.path}: starts at image {start}, expected {total}; a shard is missing")
        total += shape[0]
    with artifacts.write(output, "errors", first.dataset, first.settings, first.weights) as file:
        joined = file.create_dataset("error", (total, width), np.float32)
        for start, shape, shard in opened:
            with artifacts.read(shard.path, "errors") as artifact:
                joined[start : start + shape[0]] = artifact.read("error", shape, np.float32)
                timesteps = artifact.read("timesteps", (width,), np.int64)
        file["timesteps"] = timesteps
