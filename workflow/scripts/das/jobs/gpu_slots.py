"""GPUs of one machine, shared out so that every job has its own.

Snakemake counts GPUs but gives no job one in particular. Here each GPU has a lock file, held while its job
runs and freed by the system however it ends. A scheduler that sets CUDA_VISIBLE_DEVICES has chosen already:
then there is one job for these GPUs, and its locks are its own.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from das.errors import UserError
from das.jobs.locks import NoLocksError, lock

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Not the temporary folder of the environment: some schedulers give each job its own.
LOCKS = Path("/tmp")
_NEEDED = "jobs share the GPUs of a machine by locks in its /tmp"


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Ids of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return found.stdout.split()


@contextmanager
def hold(count: int, gpus: Sequence[str], environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Hold `count` of the GPUs, waiting until so many are free; yields their ids.

    The locks pass on to a program that takes this process's place.

    Raises:
        UserError: there are fewer, or nothing to tell who has which.
    """
    if count > len(gpus):
        raise UserError(f"jobs.gpus: {count} asked for, visible are {len(gpus)} ({', '.join(gpus)})")
    # Within a job of a scheduler ids may be relative to it: 0 in one job is another GPU than in the next.
    name = f"das-gpu-{os.getuid()}-{environment.get('SLURM_JOB_ID', '')}"
    told = False
    while True:
        with ExitStack() as locks:
            held: list[str] = []
            for gpu in gpus:
                file = _open(LOCKS / f"{name}-{gpu}.lock")
                if len(held) < count and _lock(file):
                    locks.enter_context(file)
                    held.append(gpu)
                else:
                    file.close()
            if len(held) == count:
                yield held
                return
        if not told:
            log.warning("waiting for %d of the GPUs %s to become free", count, ", ".join(gpus))
            told = True
        time.sleep(random.uniform(0.2, 1))  # apart from others who wait


def _open(path: Path) -> IO[str]:
    try:
        return open(path, "a")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; {_NEEDED}") from error


def _lock(file: IO[str]) -> bool:
    """Take the lock on an open file, if it is free."""
    try:
        taken = lock(file)
    except NoLocksError as error:
        raise UserError(f"{file.name}: cannot be locked: {error}; {_NEEDED}") from error
    if taken:
        os.set_inheritable(file.fileno(), True)
    return taken
