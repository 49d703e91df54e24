"""ArtBench-10 from its table and its archive of 256x256 images, streamed and never unpacked.

Layout (https://artbench.eecs.berkeley.edu): `ArtBench-10.csv` lists 60,000 images with the columns `name`,
`label` and `split`; `artbench-10-imagefolder.tar` holds each as `{label}/{name}` below a top folder.

Published indices (D-TRAK, DAS) are numbers of the table's rows, over both splits, from 0.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from das.data.sources.base import Source, SourceSettings, Split
from das.data.sources.containers import Tar
from das.data.sources.encoded import EncodedSource, Table
from das.data.sources.originals import open_originals
from das.data.sources.tables import read_table
from das.errors import UserError


def open_source(settings: SourceSettings) -> Source:
    """See `das.data.sources.open_source`."""
    return ArtBench(settings)


class ArtBench(EncodedSource):
    """5,000 training and 1,000 test paintings of each of ten styles."""

    kind = "artbench"
    class_names = (
        *("art_nouveau", "baroque", "expressionism", "impressionism", "post_impressionism"),
        *("realism", "renaissance", "romanticism", "surrealism", "ukiyo_e"),
    )

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._originals = open_originals(settings)
        self.is_published = all(original.is_published for original in self._originals.values())
        self.container = Tar(self._originals["artbench-10-imagefolder.tar"].path)
        self.tables = self._read_tables()

    def check(self) -> str:
        """See `Source.check`."""
        return "; ".join(str(original) for original in self._originals.values())

    def _read_tables(self) -> dict[Split, Table]:
        path = self._originals["ArtBench-10.csv"].path
        splits = get_args(Split)
        names: dict[Split, list[str]] = {split: [] for split in splits}
        labels: dict[Split, list[int]] = {split: [] for split in splits}
        indices: dict[Split, list[int]] = {split: [] for split in splits}
        _, rows = read_table(path, ("name", "label", "split"))
        for index, (line, row) in enumerate(rows):
            if row["label"] not in self.class_names:
                allowed = ", ".join(self.class_names)
                raise UserError(f"{path}: line {line}: label is {row['label']!r}, allowed are {allowed}")
            if row["split"] not in splits:
                raise UserError(f"{path}: line {line}: split is {row['split']!r}, allowed are train, test")
            split: Split = "train" if row["split"] == "train" else "test"
            names[split].append(f"{row['label']}/{row['name']}")
            labels[split].append(self.class_names.index(row["label"]))
            indices[split].append(index)
        return {
            split: Table(names[split], np.array(labels[split], np.int64), np.array(indices[split], np.int64))
            for split in splits
        }
