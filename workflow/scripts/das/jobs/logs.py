"""What logs of jobs say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path


def errors_of_jobs(logs: Iterable[str]) -> Iterator[str]:
    """The errors with which jobs ended, by logs of Snakemake."""
    text = "".join(Path(log).read_text() for log in logs)
    for path in dict.fromkeys(re.findall(r"^ +log: (.+) \(check log file", text, re.MULTILINE)):
        if os.path.exists(path):
            # Logs go on from one attempt to the next; the last line is of this one.
            yield from re.findall(r"error: .+(?=\n\Z)", Path(path).read_text())
