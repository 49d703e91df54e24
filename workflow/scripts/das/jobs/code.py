"""Which modules decide the result of a script: what it imports, and what those import.

Rules depend on their files, and keys of unfinished work on their text: an edit makes again what it changes,
and nothing else. Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]

NEUTRAL = (
    "das/__init__.py",
    "das/cli.py",
    "das/errors.py",
    # How a job runs, whatever it computes.
    *(
        f"das/jobs/{name}.py"
        for name in (
            *("artifacts", "code", "device", "gpu_slots", "leftovers", "locks", "logs"),
            *("memory", "progress", "resume", "stop"),
        )
    ),
    # What artifacts of images hold, and which files are no images.
    "das/data/images.py",
    "das/data/git_lfs.py",
)
"""Modules that decide no result. An edit of them makes nothing again."""

# Packages likewise: what is asked for, and which files of the user's are refused, see params of the rules.
NEUTRAL_PACKAGES = ("das/plan/", "das/pipelines/")

# Packages whose modules are imported by name, as the settings say.
FAMILIES, SOURCES = "das/diffusion/models", "das/data/sources"

_IMPORT = re.compile(r"^ *from (das[\w.]*) import (\([^)]*\)|.+)$", re.MULTILINE)


@cache
def code_of(*entries: str, family: str | None = None, source: str | None = None) -> tuple[str, ...]:
    """Files that decide the result of entries: of all that these import, seen from the folder of the scripts.

    Args:
        entries: scripts or modules, such as "train_model.py" or "das/diffusion/training.py"; a module is part
            of its code, a script is not.
        family: of the model, whose module is added where an entry loads models.
        source: kind of the images, likewise.
    """
    named = [
        f"{package}/{name}.py"
        for package, name in ((FAMILIES, family), (SOURCES, source))
        if name is not None and f"{package}/__init__.py" in _reached(*entries)
    ]
    found = _reached(*entries, *named)
    # A package's own file says what there is in it, and computes nothing.
    return tuple(sorted(name for name in found if "/" in name and not name.endswith("__init__.py")))


@cache
def _reached(*entries: str) -> frozenset[str]:
    """Entries and all that they import, but for what decides no result."""
    found, ahead = set[str](), list(entries)
    while ahead:
        name = ahead.pop()
        if name in found or name in NEUTRAL or name.startswith(NEUTRAL_PACKAGES):
            continue
        found.add(name)
        ahead += imported(name)
    return frozenset(found)


@cache
def imported(name: str) -> tuple[str, ...]:
    """Files of this library that a file of it, or a script, imports."""
    files = []
    for module, names in _IMPORT.findall((SCRIPTS / name).read_text()):
        path = module.replace(".", "/")
        if (SCRIPTS / f"{path}.py").exists():
            files.append(f"{path}.py")
            continue
        files.append(f"{path}/__init__.py")
        for each in re.findall(r"(\w+)(?: as \w+)?", names):
            within = f"{path}/{each}"
            if (SCRIPTS / f"{within}.py").exists():
                files.append(f"{within}.py")
            elif (SCRIPTS / within).is_dir():
                files.append(f"{within}/__init__.py")
    return tuple(files)
