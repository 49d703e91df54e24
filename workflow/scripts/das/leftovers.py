"""What may be deleted: unfinished work that nobody continues, and retrained models whose losses are kept."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from das.resume import idle_state


@dataclass(frozen=True)
class Leftover:
    """A folder that nothing needs any more, and how much it holds."""

    folder: Path
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
    with idle_state(state.folder) as idle:
        if idle and state.folder.exists() and _measure(state.folder).days >= state.days:
            shutil.rmtree(state.folder)


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


def delete_model(model: Leftover) -> None:
    """Delete a retrained model."""
    shutil.rmtree(model.folder)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir())


def _measure(folder: Path) -> Leftover:
    stats = [path.stat() for path in (folder, *folder.rglob("*"))]
    newest = max(stat.st_mtime for stat in stats)
    return Leftover(folder, sum(stat.st_size for stat in stats), (time.time() - newest) / 86400)
