"""Refusing work that cannot fit into memory before it begins."""

from __future__ import annotations

import psutil

from das.errors import UserError


def require_memory(needed: int, what: str, advice: str) -> None:
    """Refuse work that needs more bytes than are free.

    Raises:
        UserError: names what needs how much, what is free, and what to lower.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(f"{what} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; {advice}")
