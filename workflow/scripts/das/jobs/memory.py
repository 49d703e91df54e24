"""How much memory there is, and refusing work that cannot fit into it before it begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from das.errors import UserError


def total_memory(groups: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory of this machine, or fewer where the process's control groups leave it fewer.

    Args:
        groups: where the system shows control groups, of version 1 or 2.
        process: the file that lists those of this process.
    """
    limits = [psutil.virtual_memory().total]
    listed = process.read_text().splitlines() if process.exists() else []
    for line in listed:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        # A limit of any group above counts too.
        for group in (Path(path), *Path(path).parents):
            for name in ("memory.max", "memory.limit_in_bytes"):
                with suppress(OSError):  # none, or not to be seen from within a container
                    found = (groups / kinds / group.relative_to("/") / name).read_text().strip()
                    limits += [int(found)] if found.isdecimal() else []
    return min(limits)


def require_memory(needed: int, what: str, advice: str) -> None:
    """Refuse work that needs more bytes than are free.

    Raises:
        UserError: names what needs how much, what is free, and what to lower.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(f"{what} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; {advice}")
