"""Sources whose images lie encoded, as PNG, JPEG or WebP, in a container."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from das.data.sources.base import Batch, Source, SourceSettings, Split
from das.data.sources.containers import Container
from das.data.sources.decoding import decode
from das.errors import UserError

IMAGES_PER_BATCH = 16


@dataclass(frozen=True)
class Table:
    """The images of a split in the source's order."""

    names: Sequence[str]
    """In the container."""
    labels: NDArray[np.int64]
    """[N]"""
    indices: NDArray[np.int64] | None = None
    """As published indices count, [N]; None: 0, 1, ..."""
    captions: list[str] | None = None
    """The images' own captions, [N]."""


class EncodedSource(Source):
    """A container and, for each split, a table of what lies in it.

    A subclass sets `container`, `class_names` and `tables` when it is opened.
    """

    container: Container
    tables: dict[Split, Table]
    options: ClassVar[tuple[str, ...]] = ("crop", "resize", "channels")

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self.geometry = settings.geometry

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """See `Source.image_shape`: where the settings leave it open, that of the first image."""
        geometry = self.geometry
        side = geometry.resize or (geometry.crop if isinstance(geometry.crop, int) else None)
        if side is not None:
            return (side, side, geometry.channels)
        name, content = next(self.container.read(self.tables["train"].names))
        height, width, channels = decode(content, self.container.where(name), geometry).shape
        return (height, width, channels)

    def labels(self, split: Split) -> NDArray[np.int64]:
        """See `Source.labels`."""
        return self.tables[split].labels

    def indices(self, split: Split) -> NDArray[np.int64]:
        """See `Source.indices`."""
        indices = self.tables[split].indices
        return super().indices(split) if indices is None else indices

    def captions(self, split: Split) -> list[str] | None:
        """See `Source.captions`."""
        return self.tables[split].captions or super().captions(split)

    def paths(self, split: Split) -> list[str]:
        """See `Source.paths`."""
        return list(self.tables[split].names)

    def read(self, split: Split, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """See `Source.read`. Holds some batches of 16 images at a time."""
        names = self.tables[split].names
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(names):
            raise IndexError(f"index {indices.min()} or {indices.max()} is not in 0 to {len(names) - 1}")
        positions_of: dict[str, list[int]] = defaultdict(list)
        for position, index in enumerate(indices):
            positions_of[names[index]].append(position)
        positions: list[int] = []
        images: list[NDArray[np.uint8]] = []
        for name, content in self.container.read(positions_of):
            image = self._decode(name, content)
            for position in positions_of[name]:
                positions.append(position)
                images.append(image)
            if len(images) >= IMAGES_PER_BATCH:
                yield np.array(positions, np.int64), np.stack(images)
                positions, images = [], []
        if images:
            yield np.array(positions, np.int64), np.stack(images)

    def _decode(self, name: str, content: bytes) -> NDArray[np.uint8]:
        where = self.container.where(name)
        image = decode(content, where, self.geometry)
        if image.shape != self.image_shape:
            (height, width), (wanted_height, wanted_width) = image.shape[:2], self.image_shape[:2]
            mend = "; set source.crop and source.resize" if "resize" in self.options else ""
            raise UserError(
                f"{where}: is {width}x{height} pixels, "
                f"but the images before it are {wanted_width}x{wanted_height}{mend}"
            )
        return image
