"""Ending well when somebody says so: SIGTERM from a scheduler at a job's time limit, SIGINT from a terminal.

What is done by then is kept and continues. Most work may be broken off anywhere, because its state is whole
at any moment; work that first has to save its state defers the end (`deferred`).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_asked: signal.Signals | None = None
_deferring = False


class Stopped(BaseException):
    """Raised where the work is broken off. Like KeyboardInterrupt, no `except Exception` swallows it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.signal = number


def listen() -> None:
    """From now on, the signals raise `Stopped`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _answer)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within the block a signal is only noted; at its end it raises `Stopped`.

    Yields a function that tells whether a signal has come: the block then saves its state and ends.
    """
    global _deferring
    _deferring = True
    try:
        yield lambda: _asked is not None
    finally:
        _deferring = False
    if _asked is not None:
        raise Stopped(_asked)


def _answer(number: int, frame: FrameType | None) -> None:
    global _asked
    if _asked is not None:  # told twice: it is ending already
        return
    _asked = signal.Signals(number)
    if not _deferring:
        raise Stopped(_asked)
