"""What every source of images offers, and the settings by which one is chosen."""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from das.data.sources import SOURCES
from das.data.sources.decoding import Geometry
from das.data.sources.published import published_files
from das.errors import UserError

Split = Literal["train", "test"]

# Positions in the requested indices, int64 [n], and their images, uint8 [n, H, W, C].
Batch = tuple[NDArray[np.int64], NDArray[np.uint8]]


@dataclass(frozen=True)
class SourceSettings:
    """Which images to use, and how."""

    kind: str
    located: tuple[Path, ...] = ()
    """The files to read, as `locate` gives them; none for an embedded source and for a folder of images."""
    folder: Path | None = None
    """For kind folder, where the images lie."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """url, size and sha256 of published files, by name, in place of what is published."""
    table: str | None = None
    """For kind folder, a CSV in it with a column path, and label and caption where there are any."""
    crop: int | Literal["square"] | None = None
    """Side of the central square to cut out, in pixels, or "square" for the largest one."""
    resize: int | None = None
    """Side to which images are resized, bilinear."""
    channels: int | None = None
    """3 for colour, which is the default, or 1 for grey."""
    captions: str | None = None
    """Caption of every image, in which {label} stands for the name of its class with spaces."""

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise UserError(f"source.kind: found {self.kind!r}, allowed are {', '.join(SOURCES)}")
        published_files(self.kind, self.files)
        _ = self.geometry  # checks its values
        if self.captions is not None:
            _require_template(self.captions)

    @property
    def geometry(self) -> Geometry:
        """What becomes of a decoded image."""
        return Geometry(self.crop, self.resize, 3 if self.channels is None else self.channels)


class Source(ABC):
    """The interface of a source. Opening one checks its files; nothing is read ahead into memory."""

    kind: str
    """The name under which it is registered."""
    options: ClassVar[tuple[str, ...]] = ()
    """Which of the settings table, crop, resize and channels it uses; others are refused."""
    splits: tuple[Split, ...] = ("train", "test")
    """A source with "train" alone is one pool, from which training and validation images are drawn."""
    class_names: tuple[str, ...]
    """Names in the order of the source's labels 0, 1, ..."""
    is_published: bool = False
    """Whether its files are the published ones by their checksums, so that published indices apply."""

    def __init__(self, settings: SourceSettings) -> None:
        """Open the source and check its files; raises UserError where they are not what is expected."""
        self.settings = settings
        for name in ("table", "crop", "resize", "channels"):
            value = getattr(settings, name)
            if value is not None and name not in self.options:
                raise UserError(f"source.{name}: found {value!r}, but {self.kind} does not use it; remove it")

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of every image, (H, W, C)."""

    @abstractmethod
    def labels(self, split: Split) -> NDArray[np.int64]:
        """Labels of all images of a split, int64 [N], in the source's order."""

    @abstractmethod
    def read(self, split: Split, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """Stream the images at `indices` of a split, in the order in which they lie in the file.

        Yields:
            positions int64 [n] into `indices`, and images uint8 [n, H, W, C]; each position once.
        """

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Numbers of the images of a split as published indices count them, int64 [N]."""
        return np.arange(len(self.labels(split)), dtype=np.int64)

    def captions(self, split: Split) -> list[str] | None:
        """Captions of the images of a split, [N]; None where there are none."""
        if self.settings.captions is None:
            return None
        names = [name.replace("_", " ") for name in self.class_names]
        texts = [self.settings.captions.format(label=name) for name in names]
        return [texts[label] for label in self.labels(split)]

    def paths(self, split: Split) -> list[str] | None:
        """Paths of the images of a split in their folder or archive, [N]; None where they have none."""
        return None

    @abstractmethod
    def check(self) -> str:
        """What was checked of the content, as one line to be kept with the images.

        Raises:
            UserError: the content is not what was published.
        """


def _require_template(template: str) -> None:
    try:
        plain = all(
            name is None or (name == "label" and not spec and not conversion)
            for _, name, spec, conversion in string.Formatter().parse(template)
        )
    except ValueError:  # a brace without its other half
        plain = False
    if not plain or not template.strip():
        raise UserError(f"source.captions: found {template!r}, allowed is text with {{label}} in it")
