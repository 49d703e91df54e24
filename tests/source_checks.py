"""What tests of all sources ask."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from das.data.sources import open_source
from das.data.sources.base import Source, SourceSettings
from das.data.sources.locate import locate
from das.errors import UserError


def opened(kind: str, path: Path, **settings: Any) -> Source:
    """The source at a path, opened as the workflow does it."""
    folder = path if kind == "folder" else None
    located = tuple(Path(file) for file in locate(kind, str(path), settings.get("table")))
    return open_source(SourceSettings(kind, located, folder, **settings))


def read_all(source: Source, split: str, indices: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
    """The images at some indices, or all of them, each delivered exactly once."""
    if indices is None:
        indices = np.arange(len(source.labels(split)))
    images = np.zeros((len(indices), *source.image_shape), np.uint8)
    times = np.zeros(len(indices), int)
    for positions, batch in source.read(split, indices):
        assert batch.dtype == np.uint8
        images[positions] = batch
        times[positions] += 1
    assert (times == 1).all(), "every requested image comes exactly once"
    return images


def message_of(action: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The one line with which a user's mistake is refused."""
    with pytest.raises(UserError) as caught:
        action(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def peak_of_reading(source: Source, split: str) -> tuple[int, int]:
    """Bytes that reading a whole split takes at most, and bytes of its images."""
    indices = np.arange(len(source.labels(split)))
    total = 0
    tracemalloc.start()
    try:
        for _, images in source.read(split, indices):
            total += images.nbytes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak, total
