"""Locks on files, which the system frees however a process ends; some network file systems have none."""

from __future__ import annotations

import errno
import fcntl
from typing import IO

# What a file system answers that has no locks, or whose server of locks is not there.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class NoLocksError(Exception):
    """The file system has no locks; the text says what it answered."""


def lock(file: IO[str], shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process has it, unless told to wait.

    Raises:
        NoLocksError: the file system has no locks.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in UNSUPPORTED:
            raise NoLocksError(error.strerror) from error
        raise
    return True
