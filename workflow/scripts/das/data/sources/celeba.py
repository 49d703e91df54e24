"""CelebA's aligned faces from the publisher's archive, streamed and never unpacked, or from the hub's copy.

Layout (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html): `img_align_celeba.zip` holds
`img_align_celeba/000001.jpg`, ... of 178x218 pixels; `list_eval_partition.txt` has a line `000001.jpg 0` for
each, with 0 for training, 1 for validation and 2 for test. The hub's copy, `flwrlabs/celeba`, has parquet
files of each split with a column `image` {bytes, path}, in the same order.

Published indices (D-TRAK, DAS) count images within their split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from das.data.sources.base import Source, SourceSettings, Split
from das.data.sources.containers import Zip
from das.data.sources.encoded import EncodedSource, Table
from das.data.sources.originals import open_originals
from das.data.sources.parquet import Parquet, files_of_split
from das.errors import UserError

FOLDER = "img_align_celeba"
# The benchmark does not use the validation images.
SPLITS: dict[str, Split | None] = {"0": "train", "1": None, "2": "test"}


def open_source(settings: SourceSettings) -> Source:
    """The publisher's archive, or the hub's copy where parquet files were located."""
    if settings.located and settings.located[0].suffix == ".parquet":
        return CelebaHub(settings)
    return Celeba(settings)


class _Faces(EncodedSource):
    kind = "celeba"
    class_names = ("face",)

    def _set_tables(self, names: dict[Split, list[str]]) -> None:
        self.tables = {split: Table(n, np.zeros(len(n), np.int64)) for split, n in names.items()}


class Celeba(_Faces):
    """162,770 training and 19,962 test images of one class."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._originals = open_originals(settings)
        self.is_published = all(original.is_published for original in self._originals.values())
        self.container = Zip(self._originals["img_align_celeba.zip"].path)
        self._set_tables(_read_partition(self._originals["list_eval_partition.txt"].path))

    def check(self) -> str:
        """See `Source.check`."""
        return "; ".join(str(original) for original in self._originals.values())


class CelebaHub(_Faces):
    """The same images from the hub's copy, for which no checksums are published."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.files:
            raise UserError("source.files: describe the archive, but parquet files were found; remove it")
        self.container = images = Parquet("image")
        self._set_tables({s: images.names(files_of_split(settings.located, s)) for s in self.splits})

    def check(self) -> str:
        """See `Source.check`."""
        return "hub's layout: no checksum is published, content not checked"


def _read_partition(path: Path) -> dict[Split, list[str]]:
    """Names in the archive of the images of each split, in the order of the lines."""
    names: dict[Split, list[str]] = {"train": [], "test": []}
    try:
        lines = path.read_text("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason})") from error
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or parts[1] not in SPLITS:
            raise UserError(
                f"{path}: line {number}: found {line[:80]!r}, expected a name and 0, 1 or 2, "
                "such as '000001.jpg 0'"
            )
        split = SPLITS[parts[1]]
        if split is not None:
            names[split].append(f"{FOLDER}/{parts[0]}")
    return names
