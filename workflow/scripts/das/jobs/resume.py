"""State of unfinished jobs, so that a job killed at any moment continues where it was.

States of a job, by what lies in its folder `.resume/{stage}-{key}`:

    nothing     not started, or finished: the state is removed once the declared outputs stand
    partial     blocks or a training state, each file whole because it is written beside and renamed
    complete    everything computed, but killed before the outputs stood, or by an orphan while the rerun
                waited; the rerun only assembles the outputs

The key is a hash over settings, inputs and code, so state is never continued under other settings. The
state lies outside the declared outputs because Snakemake deletes those before it runs a job again.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.jobs import locks
from das.jobs.artifacts import replacing
from das.jobs.code import SCRIPTS, code_of

log = logging.getLogger(__name__)


def job_key(settings: dict[str, Any], family: str, *scripts: str) -> str:
    """A key that changes when the settings change, or the code that decides the result.

    Args:
        family: of the model.
        scripts: that compute the result, such as "train_model.py"; see `das.jobs.code`.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in code_of(*scripts, family=family):
        digest.update((SCRIPTS / name).read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def job_state(root: Path, stage: str, key: str) -> Iterator[Path]:
    """Yield the folder with a job's state, held by a lock; remove it when the block ends well.

    The lock waits for an orphan of an earlier run that still works on the same job, for example after
    the main process was killed. That one, when it ends, leaves the state to those who wait: they assemble
    from it what it has computed. On a file system without locks both work, side by side: each writes the same
    blocks, whole or not at all.
    """
    folder, waiting = root / f"{stage}-{key}", root / f"{stage}-{key}.waiting"
    with _held(root / f"{stage}-{key}.lock", waiting):
        folder.mkdir(exist_ok=True)
        yield folder
        if not _anybody(waiting):
            with suppress(FileNotFoundError):  # without locks another may have worked on it, and ended first
                shutil.rmtree(folder)


@contextmanager
def idle_state(folder: Path) -> Iterator[bool]:
    """Yield whether no job works on the state in a folder; if so, none begins to before the block ends."""
    path = folder.with_name(f"{folder.name}.lock")
    with open(path, "w") as file:
        try:
            # Free, but no more the file: a job ended meanwhile and removed it; another may have begun.
            idle = locks.lock(file) and _same_file(file.fileno(), path)
        except locks.NoLocksError as error:
            log.warning("%s is left: %s, and so nothing tells whether a job works on it", folder, error)
            idle = False
        if not idle:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, waiting: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which is removed in the end.

    Those who wait for it share a lock on the file `waiting`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "w") as file:
            try:
                if not locks.lock(file):
                    log.info("another process still works on this job; waiting for it to end")
                    with open(waiting, "a+") as queue:  # on NFS a shared lock needs a file that can be read
                        locks.lock(queue, shared=True, wait=True)
                        locks.lock(file, wait=True)
            except locks.NoLocksError as error:
                log.info("%s: %s; a process that still works on this job would go unnoticed", path, error)
            # Where the holder before us has removed the file, a lock on it excludes nobody.
            if not _same_file(file.fileno(), path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether a path is still that of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _anybody(waiting: Path) -> bool:
    """Whether somebody waits; removes the file where nobody does."""
    if not waiting.exists():
        return False
    with open(waiting, "w") as queue:
        try:
            if not locks.lock(queue):
                return True
        except locks.NoLocksError:
            pass  # nobody can wait
        waiting.unlink(missing_ok=True)
        return False


def image_blocks(first: int, stop: int, size: int) -> list[range]:
    """The range [first, stop) cut at multiples of `size`.

    Cutting at multiples, not from `first`, keeps blocks aligned with the blocks of `das.noise`.
    """
    cuts = [first, *range((first // size + 1) * size, stop, size), stop]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def compute_blocks(
    state: Path, name: str, ranges: Iterable[range], compute: Callable[[range], NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """Results of `compute` for each range, in order; those already in `state` are read, not computed."""
    for [values] in compute_together([state], name, ranges, lambda block, _: [compute(block)]):
        yield values


def compute_together(
    states: Sequence[Path],
    name: str,
    ranges: Iterable[range],
    compute: Callable[[range, list[int]], Sequence[NDArray[Any]]],
) -> Iterator[list[NDArray[Any]]]:
    """The same of several results, each with a state of its own.

    Args:
        compute: called with a range and the positions of the results that their states do not have.
    """
    for block in ranges:
        parts = [state / f"{name}-{block.start:08d}-{block.stop:08d}.npy" for state in states]
        found = {position: _load(part) for position, part in enumerate(parts)}
        missing = [position for position, values in found.items() if values is None]
        if missing:
            for position, values in zip(missing, compute(block, missing), strict=True):
                content = io.BytesIO()
                np.save(content, values, allow_pickle=False)
                with replacing(parts[position]) as beside:
                    beside.write_bytes(content.getbuffer())  # unlike np.save, it says why it cannot write
                found[position] = values
        yield [values for values in found.values() if values is not None]


def _load(part: Path) -> NDArray[Any] | None:
    """The block in a file; None where there is none, or one that a broken disk has cut short."""
    if not part.exists():
        return None
    try:
        values: NDArray[Any] = np.load(part, allow_pickle=False)
    except (ValueError, EOFError) as error:
        log.warning("%s is damaged (%s); its block is computed again", part, error)
        return None
    return values
