"""Cuts of rows into blocks that fit into memory: they decide how sums are rounded."""

from __future__ import annotations

from collections.abc import Iterator

# Of rows that are worked on at once.
BLOCK_BYTES = 2**27


def blocks(n: int, width: int) -> Iterator[range]:
    """The rows 0 to n in blocks that take at most 128 MiB each as float64 rows of `width` numbers.

    The cuts depend on n and width alone, so results do not depend on how features were cut into shards.
    """
    size = max(1, BLOCK_BYTES // (8 * max(1, width)))
    for start in range(0, n, size):
        yield range(start, min(start + size, n))
