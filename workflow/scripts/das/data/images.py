"""The artifact "images": what it holds, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts

KIND = "images"


def read_images(path: Path) -> NDArray[np.uint8]:
    """The images of a file, uint8 [N, H, W, C], checked."""
    with artifacts.read(path, KIND) as artifact:
        return artifact.read("images", (None, None, None, None), np.uint8)


def read_labels(path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels int64 [N] of the images of a file, and the class names that they number."""
    with artifacts.read(path, KIND) as artifact:
        count = artifact.shape("images")[0]
        labels = artifact.read("labels", (count,), np.int64)
        names = tuple(str(name) for name in artifact.attributes["class_names"])
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise UserError(
            f"{path}: labels are {labels.min()} to {labels.max()}, expected 0 to {len(names) - 1}"
        )
    return labels, names


def read_source_index(path: Path) -> tuple[NDArray[np.int64], bool]:
    """`source_index` int64 [N] of a file, and whether its images come from the published data."""
    with artifacts.read(path, KIND) as artifact:
        indices = artifact.read("source_index", (artifact.shape("images")[0],), np.int64)
        return indices, bool(artifact.attributes["published"])


def write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Store a text for each image of a file that is being written, such as "captions"."""
    # Names of files need not be UTF-8: what is not is written as \udcXX.
    readable = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    file.create_dataset(name, data=readable, dtype=h5py.string_dtype("utf-8"))
    file.attrs[f"has_{name}"] = True


def read_texts(path: Path, name: str) -> list[str] | None:
    """The texts of that name of the images of a file, [N]; None where they have none."""
    with artifacts.read(path, KIND) as artifact:
        if not artifact.attributes.get(f"has_{name}", False):
            return None
        values = artifact.read(name, (artifact.shape("images")[0],), h5py.string_dtype("utf-8"))
    return [value.decode("utf-8") for value in values]


def class_counts(path: Path) -> dict[str, int]:
    """Number of images of each class in a file."""
    labels, names = read_labels(path)
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
