"""Choosing the training and validation images of a data set, and taking pictures of the user's own.

The split is that of the D-TRAK and DAS benchmark: scikit-learn's `train_test_split`, one seed, stratified
over the chosen classes unless told otherwise; training images from the source's "train" part, validation
images from "test".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from das.data.images import KIND, write_texts
from das.data.sources import containers
from das.data.sources.base import Source, Split
from das.data.sources.decoding import Geometry, decode
from das.data.sources.locate import image_files
from das.errors import UserError
from das.jobs import artifacts


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
    stratify: bool = True
    """Draw the same share of every class."""

    def __post_init__(self) -> None:
        for name, count, least in (("train", self.train, 1), ("val", self.val, 0)):
            if count < least:
                raise UserError(f"split.{name}: found {count}, allowed is {least} or more")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"split.seed: found {self.seed}, allowed is 0 to {2**32 - 1}")
        if self.classes is not None and not self.classes:
            raise UserError("source.classes: found an empty list, allowed are one or more class names")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise UserError(f"source.classes: a class is named twice in {list(self.classes)}")


@dataclass(frozen=True)
class _Images:
    """Some images of one part of a source: their positions in it and the source's own labels, int64 [N]."""

    part: Split
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]


def prepare(source: Source, settings: ImageSettings, dataset: str, train_path: Path, val_path: Path) -> None:
    """Write the training and the validation images of a data set.

    Each file holds `images` uint8 [N, H, W, C], `labels` int64 [N] counted in the chosen classes,
    `source_index` int64 [N] as published indices count in the source, `captions` and `paths` (in the folder
    or archive) where there are any, and the attributes `split`, `source_part`, `class_names`, `source_check`
    and `published`. Images are streamed: memory does not grow with N.

    Raises:
        UserError: an unknown class, a class without images, fewer images than the split needs, or an image
            that cannot be used.
    """
    classes = _class_numbers(source, settings.classes or source.class_names)
    train, val = _choose(source, settings, classes)
    record = asdict(settings) | {"classes": list(classes), "source": source.kind}
    check = source.check()
    for split, chosen, path in (("train", train, train_path), ("val", val, val_path)):
        attributes: dict[str, Any] = {
            "split": split,
            "source_part": chosen.part,
            "source_check": check,
            "published": source.is_published,
            "class_names": list(classes),
        }
        texts = {"captions": source.captions(chosen.part), "paths": source.paths(chosen.part)}
        with artifacts.write(path, KIND, dataset, record, **attributes) as file:
            file["labels"] = _renumbered(chosen.labels, list(classes.values()))
            file["source_index"] = source.indices(chosen.part)[chosen.positions]
            for name, values in texts.items():
                if values is not None:
                    write_texts(file, name, [values[position] for position in chosen.positions])
            # Contiguous, not compressed: a source delivers in its own order, and photographs hardly shrink.
            shape = (len(chosen.positions), *source.image_shape)
            _stream_images(source, chosen, file.create_dataset("images", shape, np.uint8))


def take_images(folder: Path, shape: Sequence[int], dataset: str, output: Path) -> None:
    """Write all images of a folder as queries: `images` uint8 [Q, H, W, C] and their `paths` in the folder.

    Of each, the largest square is cut out and resized. Their noise goes with what they show and not with
    their place, so that a picture more in the folder changes nothing about the others.

    Args:
        shape: (H, W, C) that they get, H equal to W.

    Raises:
        UserError: an image cannot be used.
    """
    names, geometry = image_files(folder), Geometry("square", shape[0], shape[2])
    files = containers.Folder(folder)
    images = [decode(content, files.where(name), geometry) for name, content in files.read(names)]
    with artifacts.write(output, KIND, dataset, {"folder": str(folder)}, noise_by_content=True) as file:
        file["images"] = np.stack(images)
        write_texts(file, "paths", names)


def _choose(source: Source, settings: ImageSettings, classes: dict[str, int]) -> tuple[_Images, _Images]:
    """The training and the validation images."""
    pool = _pool(source, "train", classes)
    if settings.val == 0:
        nothing = np.empty(0, np.int64)
        return _draw(pool, settings.train, settings, "split.train"), _Images("train", nothing, nothing)
    if "test" in source.splits:
        val_pool = _pool(source, "test", classes)
        return (
            _draw(pool, settings.train, settings, "split.train"),
            _draw(val_pool, settings.val, settings, "split.val"),
        )
    # One pool: both are drawn from it at once, so that they are disjoint.
    setting = "split.train + split.val"
    _require(pool, settings.train + settings.val, setting)
    return _split(pool, settings.train, settings.val, settings, setting)


def _pool(source: Source, part: Split, classes: dict[str, int]) -> _Images:
    """All images of the chosen classes in a part of the source, in its order."""
    labels = source.labels(part)
    for name, number in classes.items():
        if not (labels == number).any():
            raise UserError(f"source.classes: class {name!r} has no images in the {part} part of the source")
    positions = np.flatnonzero(np.isin(labels, list(classes.values()))).astype(np.int64)
    return _Images(part, positions, labels[positions])


def _draw(pool: _Images, count: int, settings: ImageSettings, setting: str) -> _Images:
    _require(pool, count, setting)
    if count == len(pool.positions):  # nothing to split off; the benchmark keeps the source's order
        return pool
    return _split(pool, count, None, settings, setting)[0]


def _require(pool: _Images, needed: int, setting: str) -> None:
    found = len(pool.positions)
    if needed > found:
        raise UserError(
            f"{setting}: the split needs {needed} images, "
            f"but the chosen classes have {found} in the {pool.part} part of the source"
        )


def _split(
    pool: _Images, first: int, second: int | None, settings: ImageSettings, setting: str
) -> tuple[_Images, _Images]:
    """Stratified by the source's own labels, so that the order of the chosen classes changes nothing."""
    try:
        a, b, a_labels, b_labels = train_test_split(
            pool.positions,
            pool.labels,
            train_size=first,
            test_size=second,
            random_state=settings.seed,
            stratify=pool.labels if settings.stratify else None,
        )
    except ValueError as error:  # fewer images than classes on one side
        reason = " ".join(str(error).split())
        raise UserError(
            f"{setting}: {len(pool.positions)} images cannot be split into classes: {reason}"
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
    for rows, images in source.read(chosen.part, chosen.positions):
        for row, image in zip(rows, images, strict=True):
            target[row] = image
        written += len(rows)
    if written != len(chosen.positions):
        raise RuntimeError(f"the source delivered {written} of {len(chosen.positions)} images")
