"""Reading the parquet files of the Hugging Face hub's copies, which hold an encoded image per row.

Needs pyarrow, which only these layouts need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.data.sources.containers import MAX_MEMBER_BYTES, Container, require_moderate
from das.errors import UserError

ROWS_PER_READ = 64


class Parquet(Container):
    """Rows of parquet files whose `column` is a struct with the field `bytes`, an encoded image.

    A member is named `file:row`, with rows counted in the file.
    """

    def __init__(self, column: str) -> None:
        self._column = f"{column}.bytes"

    def names(self, files: Sequence[Path]) -> list[str]:
        """Names of all rows of some files, in order."""
        names: list[str] = []
        for file in files:
            with _opened(file) as parquet:
                if self._column not in _leaves(parquet):
                    raise UserError(
                        f"{file}: no column {self._column}, it holds {', '.join(_leaves(parquet))}"
                    )
                names += [f"{file}:{row}" for row in range(parquet.metadata.num_rows)]
        return names

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`. Reads one column, and of it the row groups that hold what is wanted."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for name in names:
            file, _, number = name.rpartition(":")
            wanted[file].add(int(number))
        for file, rows in wanted.items():
            with _opened(Path(file)) as parquet:
                for row, content in self._rows(file, parquet, rows):
                    yield f"{file}:{row}", content

    def where(self, name: str) -> str:
        """See `Container.where`."""
        file, _, row = name.rpartition(":")
        return f"{file}: row {row}"

    def _rows(self, file: str, parquet: Any, rows: set[int]) -> Iterator[tuple[int, bytes]]:
        first = 0
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if not rows.isdisjoint(range(first, first + count)):
                self._require_moderate_group(file, parquet, group)
                for start, values in _batches(file, parquet, group, self._column):
                    for row, value in enumerate(values, first + start):
                        if row in rows:
                            yield row, _bytes(value, f"{file}: row {row}")
            first += count

    def _require_moderate_group(self, file: str, parquet: Any, group: int) -> None:
        described = parquet.metadata.row_group(group)
        column = described.column(_leaves(parquet).index(self._column))
        # The sum is known before anything is unpacked; that of each row only afterwards.
        if column.total_uncompressed_size > MAX_MEMBER_BYTES * max(described.num_rows, 1):
            raise UserError(
                f"{file}: row group {group} has {column.total_uncompressed_size} bytes unpacked "
                f"in {described.num_rows} rows, allowed are {MAX_MEMBER_BYTES} per row"
            )


def read_labels(files: Sequence[Path], column: str, classes: int) -> NDArray[np.int64]:
    """The column of labels of all rows of some files, int64 [N].

    Raises:
        UserError: no such column, or a label that is not 0 to classes - 1; it names file and row.
    """
    parts = [np.zeros(0, np.int64)]
    for file in files:
        with _opened(file) as parquet:
            if column not in _leaves(parquet):
                raise UserError(f"{file}: no column {column}, it holds {', '.join(_leaves(parquet))}")
            values = _guarded(file, lambda opened=parquet: opened.read([column])[column].to_pylist())
        for row, value in enumerate(values):
            if not (isinstance(value, int) and 0 <= value < classes):
                raise UserError(f"{file}: row {row}: label is {value!r}, allowed is 0 to {classes - 1}")
        parts.append(np.array(values, np.int64))
    return np.concatenate(parts)


def files_of_split(located: Sequence[Path], split: str) -> list[Path]:
    """The files of a split, named `split-*.parquet` or lying in a folder `split`.

    Raises:
        UserError: there are none.
    """
    found = [path for path in located if path.name.startswith(f"{split}-") or path.parent.name == split]
    if not found:
        raise UserError(
            f"source.path: no parquet file of the {split} split; expected are {split}-*.parquet, "
            f"found {', '.join(path.name for path in located[:3])}"
        )
    return found


def _opened(file: Path) -> Any:
    """The file as a `pyarrow.parquet.ParquetFile`, which reads no more than it is asked for."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{file}: parquet files need pyarrow; install it: "
            'pip install "das-workflow[parquet]", or pip install pyarrow'
        ) from error
    return _guarded(file, lambda: pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20))


def _leaves(parquet: Any) -> list[str]:
    """Names of the columns, with the fields of structs as `column.field`."""
    return [parquet.schema.column(i).path for i in range(len(parquet.schema))]


def _batches(file: str, parquet: Any, group: int, column: str) -> Iterator[tuple[int, Any]]:
    """Values of a column in a row group, some rows at a time: (number of the first in the group, values)."""
    batches = parquet.iter_batches(ROWS_PER_READ, row_groups=[group], columns=[column], use_threads=False)
    start = 0
    while (batch := _guarded(file, lambda: next(batches, None))) is not None:
        yield start, batch.column(0).field("bytes")
        start += batch.num_rows


def _bytes(value: Any, where: str) -> bytes:
    """The content of an arrow scalar, whose length is known before it is copied."""
    buffer = value.as_buffer() if value.is_valid else None
    if buffer is None:
        raise UserError(f"{where}: holds no bytes of an image")
    require_moderate(buffer.size, where)
    return buffer.to_pybytes()


def _guarded(file: str | Path, action: Any) -> Any:
    import pyarrow

    try:
        return action()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file}: not a readable parquet file ({reason})") from error
