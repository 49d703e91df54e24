"""A row for each odd input: what it is, how it is made, and what comes of it.

The files `test_odd_*.py` beside this one each hold a table ROWS and one test that goes through it. A fault
that somebody met becomes a row: its name, a function that makes the input in an empty folder, and, where it
has to be refused, parts of the line that the user reads. A row without such parts is an input that is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from das.errors import UserError


@dataclass(frozen=True)
class Row:
    what: str
    make: Callable[[Path], Any]
    """Makes the input in an empty folder; what it returns is handed on to the test."""
    refused: tuple[str, ...] = ()
    """What the line has to name: the file or setting, what was found, what is allowed. Empty: it is taken."""
    expected: Any = None
    """Of an input that is taken, what the test compares with."""


def rows(table: list[Row]) -> pytest.MarkDecorator:
    """Run a test for each row of a table."""
    return pytest.mark.parametrize("row", table, ids=[row.what for row in table])


def outcome(row: Row, folder: Path, use: Callable[[Any], Any]) -> Any:
    """What `use` makes of the row's input; of one that is refused None, when the line is as it should be."""
    made = row.make(folder)
    if not row.refused:
        return use(made)
    with pytest.raises(UserError) as caught:
        use(made)
    line = str(caught.value)
    assert "\n" not in line
    for part in row.refused:
        assert part in line, line
    return None
