"""`snakemake --logger line`: progress of the whole on one line, and else nothing but warnings and errors.

Snakemake finds a logger by the name of this package. `workflow/logger` has to be on PYTHONPATH.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from tqdm import tqdm


class LogHandler(LogHandlerBase):
    """On a terminal, a bar of jobs with the last one that started. Elsewhere a line for each of these."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.setFormatter(DefaultFormatter(self.common_settings.quiet, self.common_settings.show_failed_logs))
        self._bar: Any = tqdm(
            disable=None,  # where standard error is no terminal
            bar_format="{n} of {total} jobs |{bar}| {elapsed} {desc}",
            total=0,
            ncols=100,
            nrows=20,  # a terminal that says it has none would show no bar
            delay=1e-9,  # nothing before the first job
        )
        self._closing = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()
        # Jobs would draw bars of their own over this one.
        os.environ["DAS_PROGRESS"] = "log"

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record says of the whole; print a warning or an error."""
        event, about = getattr(record, "event", None), vars(record)
        if event == LogEvent.RUN_INFO:
            self._bar.total = about["stats"]["total"]
        elif event == LogEvent.PROGRESS:
            self._bar.n, self._bar.total = about["done"], about["total"]
            self._bar.refresh()
        elif event == LogEvent.JOB_INFO:
            self._started(about["rule_msg"] or about["rule_name"])
        elif record.levelno >= logging.WARNING:
            tqdm.write(self.format(record), file=sys.stderr)

    def close(self) -> None:
        """Leave the line as it is."""
        self._closing.set()
        self._bar.close()
        super().close()

    def _tick(self) -> None:
        """Show the time, however long a job takes."""
        while not self._closing.wait(1):
            self._bar.refresh()

    def _started(self, job: str) -> None:
        if self._bar.disable:
            print(f"{self._bar.n} of {self._bar.total} jobs, {job}", file=sys.stderr, flush=True)
        else:
            self._bar.set_description_str(job)
