"""The random subsets of the training images on which models are retrained, for LDS and for methods.

Subset s of the D-TRAK and DAS benchmark is `train_test_split(images, train_size=0.5, random_state=42 + 2 s,
stratify=labels)[0]`, in the order of the training images; for CelebA without `stratify`. Its loop advances a
counter and adds the loop's own number, hence the step of 2. The subsets of its retraining baselines follow
2 * 256 LDS subsets: they are those from seed 42 + 512 = 554 on, again in steps of 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts

KIND = "subsets"


def draw(
    labels: NDArray[np.int64],
    count: int,
    fraction: float = 0.5,
    seed: int = 42,
    seed_step: int = 2,
    class_names: Sequence[str] = (),
    stratify: bool = True,
    pool: str = "lds",
) -> NDArray[np.bool_]:
    """Draw `count` subsets of N images; subset s depends on seed + seed_step * s alone.

    Args:
        labels: class of each image, int64 [N].
        fraction: share of the images in a subset; floor(fraction * N) images are taken.
        class_names: used in messages.
        stratify: take the same share of every class.
        pool: the section of the data set's settings that messages name.

    Returns:
        membership, bool [count, N].

    Raises:
        UserError: a setting out of range, an empty subset, or a class without images in a subset.
    """
    _require_settings(pool, count, fraction, seed, seed_step)
    membership = np.zeros((count, len(labels)), dtype=bool)
    for subset in range(count):
        chosen = draw_one(labels, subset, fraction, seed, seed_step, stratify)
        _require_classes(labels, chosen, subset, class_names)
        membership[subset, chosen] = True
    return membership


def draw_one(
    labels: NDArray[np.int64],
    subset: int,
    fraction: float = 0.5,
    seed: int = 42,
    seed_step: int = 2,
    stratify: bool = True,
) -> NDArray[np.int64]:
    """The images of one subset, int64 [n], in the order in which they are drawn. See `draw`."""
    from sklearn.model_selection import train_test_split  # here, since loading it takes seconds

    images = np.arange(len(labels))
    if int(fraction * len(images)) == 0:
        raise UserError(f"lds.fraction: {fraction} of {len(images)} images leaves subset {subset} empty")
    try:
        chosen: NDArray[np.int64]
        chosen, _ = train_test_split(
            images,
            train_size=fraction,
            random_state=seed + seed_step * subset,
            stratify=labels if stratify else None,
        )
    except ValueError as error:  # fewer images than classes, inside the subset or outside it
        reason = " ".join(str(error).split())
        raise UserError(
            f"lds.fraction: subset {subset} of {len(images)} images cannot be drawn "
            f"{'by class ' if stratify else ''}with fraction {fraction}: {reason}"
        ) from error
    return chosen


def check_published(
    drawn: Mapping[int, NDArray[np.int64]],
    source_index: NDArray[np.int64],
    is_published: bool,
    expected: Mapping[int, Sequence[int]],
) -> str:
    """Compare how subsets begin with how published ones do, by the images' indices in their source.

    Args:
        drawn: the images of some subsets as `draw_one` gives them, by subset.
        source_index: of the training images, int64 [N].
        is_published: whether the images come from the published data.
        expected: first published indices of those subsets.

    Returns:
        What was compared, as one line to be kept with the subsets.

    Raises:
        UserError: they differ, so that figures would not compare with published ones.
    """
    if not expected:
        return "no published indices"
    if not is_published:
        return "not checked: not the published archive"
    for subset, first in expected.items():
        found = source_index[drawn[subset][: len(first)]].tolist()
        if found != list(first):
            raise UserError(
                f"lds.published_indices: subset {subset} begins {found}, published is {list(first)}; images, "
                "split or seeds are not the published ones, remove the setting if they are not meant to be"
            )
    *others, last = map(str, expected)
    if not others:
        return f"subset {last} begins as published"
    return f"subsets {', '.join(others)} and {last} begin as published"


def write(
    path: Path,
    membership: NDArray[np.bool_],
    dataset: str,
    settings: dict[str, Any],
    published_check: str = "no published indices",
) -> None:
    """Write `membership` bool [S, N] with the settings that it was drawn with."""
    with artifacts.write(path, KIND, dataset, settings, published_check=published_check) as file:
        file.create_dataset(
            "membership", data=membership, chunks=(1, membership.shape[1]), compression="gzip"
        )


def read_membership(path: Path) -> NDArray[np.bool_]:
    """`membership` bool [S, N] of a file, checked."""
    with artifacts.read(path, KIND) as artifact:
        return artifact.read("membership", (None, None), np.bool_)


def members(path: Path, subset: int) -> NDArray[np.int64]:
    """Ascending indices, int64 [n], of the training images in one subset of a file."""
    with artifacts.read(path, KIND) as artifact:
        count = artifact.shape("membership")[0]
        if not 0 <= subset < count:
            raise UserError(f"{path}: holds no subset {subset}, allowed are 0 to {count - 1}")
        row = artifact.read("membership", (None, None), np.bool_, rows=slice(subset, subset + 1))[0]
    return np.flatnonzero(row).astype(np.int64)


def _require_settings(pool: str, count: int, fraction: float, seed: int, seed_step: int) -> None:
    if count < 1:
        raise UserError(f"{pool}.subsets: found {count}, allowed is 1 or more")
    if not 0 < fraction < 1:
        raise UserError(f"lds.fraction: found {fraction}, allowed is between 0 and 1, both excluded")
    if seed_step < 1:
        raise UserError(f"{pool}.seed_step: found {seed_step}, allowed is 1 or more")
    last = seed + seed_step * (count - 1)
    if seed < 0 or last >= 2**32:
        raise UserError(f"{pool}.seed: seeds are {seed} to {last}, allowed is 0 to {2**32 - 1}")


def _require_classes(
    labels: NDArray[np.int64], chosen: NDArray[np.int64], subset: int, class_names: Sequence[str]
) -> None:
    missing = np.setdiff1d(labels, labels[chosen])
    if len(missing):
        name = repr(class_names[missing[0]]) if class_names else str(missing[0])
        raise UserError(
            f"lds.fraction: class {name} has no images in subset {subset} "
            f"({int((labels == missing[0]).sum())} in all); allowed is a fraction that leaves some"
        )
