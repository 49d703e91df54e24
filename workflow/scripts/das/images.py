"""Choosing the training and validation images of a data set, and reading them back.

The split is that of the D-TRAK and DAS benchmark: scikit-learn's `train_test_split`, stratified over the
chosen classes, one seed; training images from the source's "train" part, validation images from "test".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from das import artifacts
from das.errors import UserError
from das.sources import Source, Split

KIND = "images"


@dataclass(frozen=True)
class ImageSettings:
    """Which images of a source make up a data set."""

    train: int
    """Number of training images."""
    val: int
    """Number of validation images."""
    classes: tuple[str, ...] | None = None
    """Chosen classes; their order numbers the labels of the data set. None: all classes of the source."""
    seed: int = 42

    def __post_init__(self) -> None:
        for name, count in (("train", self.train), ("val", self.val)):
            if count < 1:
                raise UserError(f"split.{name}: found {count}, allowed is 1 or more")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"split.seed: found {self.seed}, allowed is 0 to {2**32 - 1}")
        if self.classes is not None and not self.classes:
            raise UserError("source.classes: found an empty list, allowed are one or more class names")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise UserError(f"source.classes: a class is named twice in {list(self.classes)}")


@dataclass(frozen=True)
class _Images:
    """Some images of one part of a source: `indices` and the source's own `labels`, int64 [N]."""

    part: Split
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]


def prepare(source: Source, settings: ImageSettings, dataset: str, train_path: Path, val_path: Path) -> None:
    """Write the training and the validation images of a data set.

    Each file holds `images` uint8 [N, H, W, C], `labels` int64 [N] counted in the chosen classes,
    `source_index` int64 [N] in the source's part, and the attributes `split`, `source_part`,
    `class_names` and `source_check`. Images are streamed: memory does not grow with N.

    Raises:
        UserError: an unknown class, a class without images, or fewer images than the split needs.
    """
    classes = _class_numbers(source, settings.classes or source.class_names)
    train, val = _choose(source, settings, classes)
    record = asdict(settings) | {"classes": list(classes), "source": source.kind}
    check = source.check()
    for split, chosen, path in (("train", train, train_path), ("val", val, val_path)):
        attributes = {"split": split, "source_part": chosen.part, "source_check": check}
        with artifacts.write(path, KIND, dataset, record, class_names=list(classes), **attributes) as file:
            file["labels"] = _renumbered(chosen.labels, list(classes.values()))
            file["source_index"] = chosen.indices
            # Contiguous, not compressed: a source delivers in its own order, and photographs hardly shrink.
            shape = (len(chosen.indices), *source.image_shape)
            _stream_images(source, chosen, file.create_dataset("images", shape, np.uint8))


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


def class_counts(path: Path) -> dict[str, int]:
    """Number of images of each class in a file."""
    labels, names = read_labels(path)
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _choose(source: Source, settings: ImageSettings, classes: dict[str, int]) -> tuple[_Images, _Images]:
    """The training and the validation images."""
    pool = _pool(source, "train", classes)
    if "test" in source.splits:
        val_pool = _pool(source, "test", classes)
        return (
            _draw(pool, settings.train, settings.seed, "split.train"),
            _draw(val_pool, settings.val, settings.seed, "split.val"),
        )
    # One pool: both are drawn from it at once, so that they are disjoint.
    setting = "split.train + split.val"
    _require(pool, settings.train + settings.val, setting)
    return _split(pool, settings.train, settings.val, settings.seed, setting)


def _pool(source: Source, part: Split, classes: dict[str, int]) -> _Images:
    """All images of the chosen classes in a part of the source, in its order."""
    labels = source.labels(part)
    for name, number in classes.items():
        if not (labels == number).any():
            raise UserError(f"source.classes: class {name!r} has no images in the {part} part of the source")
    indices = np.flatnonzero(np.isin(labels, list(classes.values()))).astype(np.int64)
    return _Images(part, indices, labels[indices])


def _draw(pool: _Images, count: int, seed: int, setting: str) -> _Images:
    _require(pool, count, setting)
    if count == len(pool.indices):  # nothing to split off; the benchmark keeps the source's order
        return pool
    return _split(pool, count, None, seed, setting)[0]


def _require(pool: _Images, needed: int, setting: str) -> None:
    found = len(pool.indices)
    if needed > found:
        raise UserError(
            f"{setting}: the split needs {needed} images, "
            f"but the chosen classes have {found} in the {pool.part} part of the source"
        )


def _split(pool: _Images, first: int, second: int | None, seed: int, setting: str) -> tuple[_Images, _Images]:
    """Stratified by the source's own labels, so that the order of the chosen classes changes nothing."""
    try:
        a, b, a_labels, b_labels = train_test_split(
            pool.indices,
            pool.labels,
            train_size=first,
            test_size=second,
            random_state=seed,
            stratify=pool.labels,
        )
    except ValueError as error:  # fewer images than classes on one side
        reason = " ".join(str(error).split())
        raise UserError(
            f"{setting}: {len(pool.indices)} images cannot be split into classes: {reason}"
        ) from error
    return _Images(pool.part, a, a_labels), _Images(pool.part, b, b_labels)


def _class_numbers(source: Source, classes: Sequence[str]) -> dict[str, int]:
    """The source's label of each chosen class."""
    for name in classes:
        if name not in source.class_names:
            known = ", ".join(source.class_names)
            raise UserError(f"source.classes: unknown class {name!r}, allowed are {known}")
    return {name: source.class_names.index(name) for name in classes}


def _renumbered(labels: NDArray[np.int64], numbers: Sequence[int]) -> NDArray[np.int64]:
    """Labels of the source as positions in the list of chosen classes."""
    lookup = np.full(max(numbers) + 1, -1, dtype=np.int64)
    lookup[list(numbers)] = np.arange(len(numbers))
    return lookup[labels]


def _stream_images(source: Source, chosen: _Images, target: h5py.Dataset) -> None:
    written = 0
    for positions, images in source.read(chosen.part, chosen.indices):
        for position, image in zip(positions, images, strict=True):
            target[position] = image
        written += len(positions)
    if written != len(chosen.indices):
        raise RuntimeError(f"the source delivered {written} of {len(chosen.indices)} images")
