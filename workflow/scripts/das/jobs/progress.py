"""Progress of long work: a bar on a terminal, a line now and then in the log."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

log = logging.getLogger("das")


def progress(
    items: Iterable[Any] | None, description: str, total: int | None = None, initial: int = 0
) -> Any:
    """A tqdm bar with rate and time left: redrawn on a terminal, a line now and then in the log."""
    return tqdm(
        items,
        desc=description,
        total=total,
        initial=initial,
        file=_ProgressLines(),
        mininterval=0.5,
        ncols=100,
    )


class _ProgressLines(io.TextIOBase):
    """Where tqdm draws: a terminal's line as often as it likes, the log file every ten seconds."""

    def __init__(self) -> None:
        self._logged = 0.0

    def write(self, text: str) -> int:
        # Not where another line shows the whole, see workflow/logger.
        if sys.stderr.isatty() and os.environ.get("DAS_PROGRESS") != "log":
            sys.stderr.write(text)
        line = text.strip("\r\n ")
        if line and (time.monotonic() - self._logged > 10 or "100%" in line):
            self._logged = time.monotonic()
            log.info(line)
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
