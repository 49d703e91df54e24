"""Reading the tables, as CSV, that list the images of some sources."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from das.data.git_lfs import refuse_pointer
from das.errors import UserError

_SAVE = "save the table as UTF-8 (in a spreadsheet: CSV UTF-8)"


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
        raise UserError(
            f"{path}: no column {', '.join(missing)}, expected are {', '.join(required)}, "
            f"found {', '.join(columns) or 'nothing'}{_separator(columns)}"
        )
    return columns, _by_column(path, columns, rows)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}: not a table in CSV and UTF-8 ({error})") from error


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 where it begins with a mark of that.

    Other encodings cannot be told from one another: a guess would change names and captions without a sign.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    refuse_pointer(content, str(path))
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # Spreadsheets write a mark before UTF-8, too.
        text = content.decode("utf-16") if wide else content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        if wide:
            raise UserError(
                f"{path}: not a table in UTF-16, as its first bytes say ({error.reason})"
            ) from error
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise UserError(
            f"{path}: line {line}: byte 0x{byte:02x} is not UTF-8, but another encoding, such as Latin-1 or "
            f"Windows-1252; {_SAVE}"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{path}: line {line}: holds bytes of zero, as UTF-16 without a mark at its beginning and files "
            f"that are no text do; {_SAVE}"
        )
    return text


def _separator(columns: list[str]) -> str:
    """What to say of columns that another sign than a comma separates."""
    for sign, name in (("\t", "tabs"), (";", "semicolons")):
        if len(columns) == 1 and sign in columns[0]:
            return f"; columns are separated by {name}, expected are commas"
    return ""


def _by_column(
    path: Path, columns: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in rows:
        if not any(value.strip() for value in row):
            continue  # commas alone, as spreadsheets write behind the last row
        if len(row) != len(columns):
            raise UserError(f"{path}: line {line} has {len(row)} values, expected {len(columns)}")
        yield line, dict(zip(columns, row, strict=True))
