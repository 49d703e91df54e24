"""Reading the tables, as CSV, that list the images of some sources."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from das.errors import UserError


def read_table(
    path: Path, required: Collection[str]
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Names of a table's columns, and its rows as (number of the line, values by column).

    Lines count from 1, the header, as editors and spreadsheets show them.

    Raises:
        UserError: at once where a required column is missing, and by line where a row is not as the header.
    """
    rows = _rows(path)
    _, columns = next(rows, (1, []))
    columns = [name.strip() for name in columns]
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise UserError(f"{path}: column {', '.join(sorted(twice))} is there twice")
    missing = [name for name in required if name not in columns]
    if missing:
        found = ", ".join(columns) or "nothing"
        raise UserError(
            f"{path}: no column {', '.join(missing)}, expected are {', '.join(required)}, found {found}"
        )
    return columns, _by_column(path, columns, rows)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        # utf-8-sig: spreadsheets write a mark before the first column's name.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in CSV and UTF-8 ({error})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _by_column(
    path: Path, columns: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in rows:
        if len(row) != len(columns):
            raise UserError(f"{path}: line {line} has {len(row)} values, expected {len(columns)}")
        yield line, dict(zip(columns, row, strict=True))
