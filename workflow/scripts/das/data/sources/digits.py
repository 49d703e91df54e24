"""The 8x8 handwritten digits in scikit-learn's wheel: real images with no download."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from das.data.sources.base import Batch, Source, SourceSettings, Split
from das.errors import UserError


def open_source(settings: SourceSettings) -> Source:
    """See `das.data.sources.open_source`."""
    return Digits(settings)


class Digits(Source):
    """1797 grey images of 8x8 pixels, ten classes, one pool without a published test split.

    The values 0..16 of the source become 0..255.
    """

    kind = "digits"
    splits: tuple[Split, ...] = ("train",)
    class_names = tuple("0123456789")
    image_shape = (8, 8, 1)

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.located:
            raise UserError(
                f"source.path: found {settings.located[0]}, but the digits have no file; remove it"
            )
        digits = load_digits()
        self._labels: NDArray[np.int64] = digits.target.astype(np.int64)
        self._images: NDArray[np.uint8] = np.round(digits.images * 255 / 16).astype(np.uint8)[..., None]

    def labels(self, split: Split) -> NDArray[np.int64]:
        """See `Source.labels`."""
        return self._labels

    def read(self, split: Split, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """See `Source.read`; the whole source is 115 kB, so it comes as one batch."""
        yield np.arange(len(indices), dtype=np.int64), self._images[indices]

    def check(self) -> str:
        """See `Source.check`."""
        return "embedded in a pinned library"
