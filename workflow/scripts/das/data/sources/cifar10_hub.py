"""CIFAR-10 from the Hugging Face hub's copy, `uoft-cs/cifar10`: parquet files of PNG images.

Its order is that of published indices. No checksums are published for it, so that it never counts as the
published data; its first labels show whether the order is the usual one.
"""

from __future__ import annotations

from das.data.sources.base import SourceSettings, Split
from das.data.sources.encoded import EncodedSource, Table
from das.data.sources.parquet import Parquet, files_of_split, read_labels
from das.errors import UserError

CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
FIRST_TRAIN_LABELS = [0, 6, 0, 2, 7]
FIRST_TEST_LABELS = [3, 8, 8, 0, 6]

FIRST_LABELS: dict[Split, list[int]] = {"train": FIRST_TRAIN_LABELS, "test": FIRST_TEST_LABELS}
COUNTS: dict[Split, int] = {"train": 50_000, "test": 10_000}


class Cifar10Hub(EncodedSource):
    """Images of 32x32 RGB pixels in columns `img` {bytes, path} and `label`."""

    kind = "cifar10"
    options = ()
    class_names = CLASS_NAMES
    image_shape = (32, 32, 3)

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.files:
            raise UserError(
                "source.files: describe the binary archive, but parquet files were found; remove it"
            )
        self.container = images = Parquet("img")
        self.tables = {}
        for split in self.splits:
            files = files_of_split(settings.located, split)
            labels = read_labels(files, "label", len(CLASS_NAMES))
            self.tables[split] = Table(images.names(files), labels)

    def check(self) -> str:
        """See `Source.check`; compares the first labels with the published ones.

        Raises:
            UserError: there are as many images as published, but in another order.
        """
        complete = all(len(self.labels(split)) == count for split, count in COUNTS.items())
        for split, expected in FIRST_LABELS.items():
            found = self.labels(split)[: len(expected)].tolist()
            if found != expected and complete:
                first = files_of_split(self.settings.located, split)[0]
                raise UserError(
                    f"{first}: first labels of the {split} split are {found}, expected {expected}; "
                    "the order of the images is not the published one"
                )
            if found != expected:
                return "hub's layout: not the published order, content not checked"
        return "hub's layout: the first labels of both splits agree with the published order"
