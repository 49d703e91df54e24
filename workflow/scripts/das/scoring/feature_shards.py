"""HDF5 shards: features, read as if they were one array [n, k], and errors and kernels, which are joined.

Features lie as float32 [n, k], or as [n, T, k] where timesteps were kept apart, of which one is read at a
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.jobs.blocks import blocks


class Shards:
    """The features of a split.

    Args:
        timestep: which to read of features that keep their T timesteps apart: its position, 0 to T - 1.
        dimension: a divisor of the stored dimension, to which features are folded; see
            `das.gradients.projection.fold`.

    Attributes:
        n: number of images.
        k: dimension of a feature.
        timesteps: those that are kept apart; empty for means over timesteps.
        dataset, weights, settings: provenance, the same in every shard.
        provenance: the first shard's attributes, to compare with other artifacts.

    Raises:
        UserError: no files, shards that disagree on provenance or on k, or that leave a gap or overlap; or
            features that cannot be read at this timestep or dimension.
    """

    def __init__(
        self, paths: Sequence[Path], timestep: int | None = None, dimension: int | None = None
    ) -> None:
        if not paths:
            raise UserError("features: no shards were given")
        # By position, not by name: as text, shard-10 comes before shard-2.
        opened = sorted((_Shard(Path(path), timestep) for path in paths), key=lambda shard: shard.first)
        self._shards = opened
        self.provenance: artifacts.Artifact = opened[0].artifact
        self.timesteps = opened[0].timesteps
        self.k = opened[0].k
        self.n = 0
        for shard in opened:
            artifacts.require_same_analysis(self.provenance, shard.artifact)
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
        self._stored = self.k
        if dimension is not None:
            self._require_divisor(dimension)
            self.k = dimension

    def _require_divisor(self, dimension: int) -> None:
        path, kind = self.provenance.path, self.settings["projection"]
        if kind == "none":
            raise UserError(f"{path}: features of projection none cannot be folded to dimension {dimension}")
        allowed = [d for d in range(1, self.k + 1) if self.k % d == 0]
        if dimension not in allowed:
            raise UserError(
                f"{path}: features cannot be folded to dimension {dimension}, allowed is one of "
                f"{', '.join(map(str, allowed))}"
            )

    def require_same(self, other: Shards) -> None:
        """Refuse features of other weights, settings, projection or another data set.

        Raises:
            UserError: naming both files and what differs.
        """
        artifacts.require_same_analysis(self.provenance, other.provenance)
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
        if self.k == self._stored:
            return self._read(rows)
        from das.gradients.projection import fold  # here, since other scoring need not load torch

        folded = np.empty((len(rows), self.k))
        for part in blocks(len(rows), self._stored):
            stored = self._read(range(rows.start + part.start, rows.start + part.stop))
            folded[part.start : part.stop] = fold(stored, self.k, self.settings["projection_seed"])
        return folded

    def _read(self, rows: range) -> NDArray[np.float64]:
        parts = [shard.read(rows) for shard in self._shards if shard.overlaps(rows)]
        return np.concatenate(parts).astype(np.float64)


class _Shard:
    """One file and its place among the images of its split."""

    def __init__(self, path: Path, timestep: int | None) -> None:
        self.path, self._timestep = path, timestep
        with artifacts.read(path, "features") as artifact:
            self.artifact = artifact
            self._shape = artifact.shape("features")
            self.timesteps = self._read_timesteps(artifact)
            self.first = int(artifact.attributes["first"])
            self.count = int(artifact.attributes["count"])
        self.k = self._shape[-1]
        if self.count != self._shape[0]:
            raise UserError(f"{path}: says it holds {self.count} images, but holds {self._shape[0]}")

    def _read_timesteps(self, artifact: artifacts.Artifact) -> list[int]:
        """The timesteps that are kept apart; refuses features of which one is asked for, or not, in vain."""
        axes, timestep = len(self._shape), self._timestep
        if axes not in (2, 3):
            raise UserError(
                f"{self.path}: array 'features' has shape {self._shape}, expected [n, k] or [n, T, k]"
            )
        if axes == 2:
            if timestep is not None:
                raise UserError(
                    f"{self.path}: features are means over timesteps, asked for is the one at position "
                    f"{timestep}; make features with by_timestep: true"
                )
            return []
        if timestep is None or not 0 <= timestep < self._shape[1]:
            asked = "means over them" if timestep is None else f"position {timestep}"
            raise UserError(
                f"{self.path}: features keep {self._shape[1]} timesteps apart, asked for is {asked}, allowed "
                f"is a position from 0 to {self._shape[1] - 1}"
            )
        found: list[int] = artifact.read("timesteps", (self._shape[1],), np.int64).tolist()
        return found

    def overlaps(self, rows: range) -> bool:
        return rows.start < self.first + self.count and self.first < rows.stop

    def read(self, rows: range) -> NDArray[np.float32]:
        start = max(rows.start - self.first, 0)
        stop = min(rows.stop - self.first, self.count)
        with artifacts.read(self.path, "features") as artifact:
            return artifact.read("features", self._shape, np.float32, slice(start, stop), self._timestep)
