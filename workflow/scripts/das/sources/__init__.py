"""Sources of images: one small loader per kind, found by its kind in a registry.

To add a source, write a module of this package named after its kind with a subclass of `Source`, and
enter the class in `SOURCES`. Nothing else needs to know it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError

Split = Literal["train", "test"]

# Positions in the requested indices, int64 [n], and their images, uint8 [n, H, W, C].
Batch = tuple[NDArray[np.int64], NDArray[np.uint8]]

# Kind of a source, which is also the name of its module here, and the class in that module.
SOURCES = {"cifar10": "Cifar10", "digits": "Digits"}


@dataclass(frozen=True)
class Archive:
    """A published file: where it lies, its size in bytes and the hexadecimal sha256 of its content."""

    url: str
    size: int
    sha256: str


@dataclass(frozen=True)
class SourceSettings:
    """Which images to use. What is None comes from the publisher of that kind of source."""

    kind: str
    path: Path | None = None
    """The archive, downloaded or placed by hand; None for a source that is embedded in a library."""
    url: str | None = None
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise UserError(f"source.kind: found {self.kind!r}, allowed are {', '.join(SOURCES)}")
        if self.size is not None and self.size < 1:
            raise UserError(f"source.size: found {self.size}, allowed is a number of bytes from 1")
        if self.sha256 is not None and not _is_sha256(self.sha256):
            raise UserError(f"source.sha256: found {self.sha256!r}, allowed are 64 digits of 0-9 and a-f")


class Source(ABC):
    """The interface of a source. Opening one checks its file; nothing is read ahead into memory."""

    kind: str
    """The name under which it is registered."""
    published: Archive | None = None
    """The file that `fetch_source` downloads; None for an embedded source."""
    splits: tuple[Split, ...] = ("train", "test")
    """A source with "train" alone is one pool, from which training and validation images are drawn."""
    class_names: tuple[str, ...]
    """Names in the order of the source's labels 0, 1, ..."""
    image_shape: tuple[int, int, int]
    """Shape of every image, (H, W, C)."""

    @abstractmethod
    def __init__(self, settings: SourceSettings) -> None:
        """Open the source and check its file; raises UserError where it is not what is expected."""

    @abstractmethod
    def labels(self, split: Split) -> NDArray[np.int64]:
        """Labels of all images of a split, int64 [N], in the source's order."""

    @abstractmethod
    def read(self, split: Split, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """Stream the images at `indices` of a split, in the order in which they lie in the file.

        Yields:
            positions int64 [n] into `indices`, and images uint8 [n, H, W, C]; each position once.
        """

    def check(self) -> str:
        """What was checked of the content, as one line to be kept with the images."""
        return "embedded in a pinned library"


def open_source(settings: SourceSettings) -> Source:
    """The source of the kind that the settings name, with its file checked."""
    source: Source = _source_class(settings.kind)(settings)
    return source


def archive(settings: SourceSettings) -> Archive:
    """The file to download: what the settings say, and what is published where they say nothing.

    Raises:
        UserError: the source is embedded in a library.
    """
    published = _source_class(settings.kind).published
    if published is None:
        raise UserError(
            f"source.kind: {settings.kind!r} is embedded in a library and has no file to download"
        )
    return Archive(
        url=settings.url or published.url,
        size=settings.size or published.size,
        sha256=settings.sha256 or published.sha256,
    )


def _source_class(kind: str) -> type[Source]:
    found: type[Source] = getattr(import_module(f"das.sources.{kind}"), SOURCES[kind])
    return found


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
