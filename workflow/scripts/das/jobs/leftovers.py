"""What may be deleted: unfinished work that nobody continues, and retrained models whose losses are kept.

Unfinished work is the state of jobs, in `.resume/`; what a job that was killed had written beside its output;
and images that were prepared, but never took their place, since the settings had changed meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from das.jobs.resume import idle_state

# .train.h5.4711.tmp, .model.tmp, .CelebA.zip.part, and with the hash of a request train.0123456789ab.h5.
_HALF_MADE = re.compile(r"\..+\.(tmp|part)|\w+\.[0-9a-f]{12}(\.\w+)?")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs any more, and how much it holds."""

    path: Path
    bytes: int
    days: float
    """Since its newest file was written."""


def stale_states(root: Path, days: float) -> list[Leftover]:
    """States of unfinished jobs in which nothing was written for so many days and on which no job works."""
    found = []
    for folder in _folders(root):
        with idle_state(folder) as idle:
            state = _measure(folder)
            if idle and state.days >= days:
                found.append(state)
    return found


def delete_state(state: Leftover) -> None:
    """Delete the state of an unfinished job, unless one has begun to continue it since it was listed."""
    with idle_state(state.path) as idle:
        if idle and state.path.exists() and _measure(state.path).days >= state.days:
            shutil.rmtree(state.path)


def half_made(root: Path, days: float) -> list[Leftover]:
    """What lies below a folder beside what it should have become, and was not written to for so many days."""
    found = []
    for parent, folders, files in os.walk(root):
        matching = [name for name in (*folders, *files) if _HALF_MADE.fullmatch(name)]
        folders[:] = [name for name in folders if name not in matching]
        found += [_measure(Path(parent, name)) for name in sorted(matching)]
    return [leftover for leftover in found if leftover.days >= days]


def finished_models(pool: Path) -> list[Leftover]:
    """Retrained models in the folder `models` of a pool of which what was measured stands and is not older.

    That is in `losses`, or of models of a counterfactual evaluation in `outcomes.h5`.
    """
    found = []
    for folder in _folders(pool / "models"):
        measured = [pool / "losses" / f"{folder.name}.h5", pool / "outcomes.h5"]
        stood = [path.stat().st_mtime for path in measured if path.exists()]
        written = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
        if written and stood and min(stood) >= max(written):
            found.append(_measure(folder))
    return found


def delete(leftover: Leftover) -> None:
    """Delete a retrained model, or what is half made."""
    if leftover.path.is_dir():
        shutil.rmtree(leftover.path)
    else:
        leftover.path.unlink(missing_ok=True)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir())


def _measure(root: Path) -> Leftover:
    stats = [path.lstat() for path in (root, *root.rglob("*"))]
    newest = max(stat.st_mtime for stat in stats)
    return Leftover(root, sum(stat.st_size for stat in stats), (time.time() - newest) / 86400)
