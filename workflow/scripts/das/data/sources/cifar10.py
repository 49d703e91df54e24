"""CIFAR-10 from the official binary archive, streamed member by member and never unpacked.

Layout (https://www.cs.toronto.edu/~kriz/cifar.html): a gzipped tar with `data_batch_1..5.bin` and
`test_batch.bin`, each of 10,000 records of 1 label byte and 3072 pixel bytes: a 32x32 plane of red, one of
green, one of blue. The hub's copy is read by `cifar10_hub`.

Order: published indices (D-TRAK, DAS) count images in the order of the Hugging Face hub's copy, which starts
with batch 4. An index here means the same image as there.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from das.data.sources.base import Batch, Source, SourceSettings, Split
from das.data.sources.cifar10_hub import CLASS_NAMES, FIRST_TEST_LABELS, FIRST_TRAIN_LABELS, Cifar10Hub
from das.data.sources.originals import open_originals
from das.errors import UserError

MEMBER_BYTES = 30_730_000  # of each member of the published archive
RECORD_BYTES = 1 + 3 * 32 * 32
RECORDS_PER_READ = 500  # 1.5 MB

FOLDER = "cifar-10-batches-bin"
# The members of each split in the hub's order.
MEMBERS: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"{FOLDER}/data_batch_{i}.bin" for i in (4, 3, 2, 5, 1)),
    "test": (f"{FOLDER}/test_batch.bin",),
}
# First labels, by which a wrong order or a wrong record layout is noticed.
FIRST_LABELS = {
    f"{FOLDER}/data_batch_1.bin": [6, 9, 9, 4, 1, 1, 2, 7, 8, 3],
    f"{FOLDER}/data_batch_4.bin": FIRST_TRAIN_LABELS,
    f"{FOLDER}/test_batch.bin": FIRST_TEST_LABELS,
}


def open_source(settings: SourceSettings) -> Source:
    """The official archive, or the hub's copy where parquet files were located."""
    if settings.located and settings.located[0].suffix == ".parquet":
        return Cifar10Hub(settings)
    return Cifar10(settings)


class Cifar10(Source):
    """50,000 training and 10,000 test images of 32x32 RGB pixels in the hub's order."""

    kind = "cifar10"
    class_names = CLASS_NAMES
    image_shape = (32, 32, 3)

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        for path in settings.located:
            _refuse_python_version(path)
        (archive,) = open_originals(settings).values()
        self._path = archive.path
        self._sha256 = archive.sha256
        self.is_published = archive.is_published

    def labels(self, split: Split) -> NDArray[np.int64]:
        """See `Source.labels`. The first call reads the whole archive once (2 s)."""
        return np.concatenate([self._member_labels[name] for name in MEMBERS[split]]).astype(np.int64)

    def read(self, split: Split, indices: NDArray[np.int64]) -> Iterator[Batch]:
        """See `Source.read`. Reads the archive once, 500 records at a time."""
        order = np.argsort(indices, kind="stable").astype(np.int64)
        ascending = indices[order]
        sizes = [len(self._member_labels[name]) for name in MEMBERS[split]]
        if len(indices) and (ascending[0] < 0 or ascending[-1] >= sum(sizes)):
            raise IndexError(f"index {ascending[0]} or {ascending[-1]} is not in 0 to {sum(sizes) - 1}")
        first_index = dict(zip(MEMBERS[split], np.cumsum([0, *sizes]), strict=False))
        for name, start, records in self._records(MEMBERS[split]):
            first = first_index[name] + start
            low, high = np.searchsorted(ascending, [first, first + len(records)])
            if low < high:
                yield order[low:high], _pixels(records[ascending[low:high] - first])

    def check(self) -> str:
        """See `Source.check`; compares the first labels with the published ones.

        Raises:
            UserError: they differ, so that indices would not mean the published images.
        """
        if not self.is_published:
            return f"sha256 {self._sha256}: not the published archive, order and labels not checked"
        for name, expected in FIRST_LABELS.items():
            found = self._member_labels[name][: len(expected)].tolist()
            if found != expected:
                raise UserError(
                    f"{self._path}: first labels of {name} are {found}, expected {expected}; "
                    "the order of the images is not the published one"
                )
        return (
            f"sha256 {self._sha256}: the published archive, "
            "member sizes and the first labels of batches 1, 4 and test agree"
        )

    @cached_property
    def _member_labels(self) -> dict[str, NDArray[np.uint8]]:
        """Labels of each member; the archive orders its members otherwise, so all are read first."""
        parts: dict[str, list[NDArray[np.uint8]]] = {}
        for name, start, records in self._records(MEMBERS["train"] + MEMBERS["test"]):
            wrong = np.flatnonzero(records[:, 0] >= len(self.class_names))
            if len(wrong):
                raise UserError(
                    f"{self._path}: member {name}, record {start + wrong[0]}: "
                    f"label is {records[wrong[0], 0]}, allowed is 0 to {len(self.class_names) - 1}"
                )
            # A copy: a view would keep the pixels of its records alive.
            parts.setdefault(name, []).append(records[:, 0].copy())
        return {name: np.concatenate(labels) for name, labels in parts.items()}

    def _records(self, names: tuple[str, ...]) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
        """Records uint8 [n, 3073] of the named members: (member, number of the first record, records)."""
        missing = set(names)
        try:
            with tarfile.open(self._path, "r|gz") as tar:
                for member in tar:
                    if member.name in missing:
                        missing.remove(member.name)
                        yield from self._member_records(tar, member)
                    if not missing:
                        return
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise UserError(f"{self._path}: not a readable .tar.gz archive ({error})") from error
        raise UserError(f"{self._path}: no member {', '.join(sorted(missing))}; {_WANTED}")

    def _member_records(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo
    ) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
        where = f"{self._path}: member {member.name}"
        if not member.isreg():
            raise UserError(f"{where} is a link or a special file, expected a plain file")
        if self.is_published and member.size != MEMBER_BYTES:
            raise UserError(f"{where} has {member.size} bytes, expected {MEMBER_BYTES}")
        if member.size == 0 or member.size % RECORD_BYTES:
            raise UserError(f"{where} has {member.size} bytes, expected a multiple of {RECORD_BYTES}")
        stream = tar.extractfile(member)
        assert stream is not None  # extractfile returns None for what is not a plain file
        for start in range(0, member.size // RECORD_BYTES, RECORDS_PER_READ):
            content = stream.read(RECORDS_PER_READ * RECORD_BYTES)
            yield member.name, start, np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)


_WANTED = "expected is the binary version, cifar-10-binary.tar.gz"


def _pixels(records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images uint8 [n, 32, 32, 3] of records [n, 3073], whose pixels are planes of red, green, blue."""
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _refuse_python_version(path: Path) -> None:
    """Name the likely mistake before the size is compared: the python version holds pickles, never read."""
    try:
        with tarfile.open(path, "r|gz") as tar:
            first = tar.next()
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        return  # missing or damaged: the check of size and hash says so in better words
    if first is not None and first.name.startswith("cifar-10-batches-py"):
        raise UserError(f"{path}: is the python version, whose pickles are not read; {_WANTED}")
