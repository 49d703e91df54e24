"""Scripts that jobs run, and the code that decides their results, as rules ask for them.

A rule has the code as a parameter, by a hash of its text. As inputs, modules would be looked for among what
all rules make, for every job, and a file with another date would be another file.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache

from das.jobs.code import SCRIPTS, code_of
from das.plan.paths import nameable
from das.plan.plan import Plan, Wildcards


def script_file(name: str) -> str:
    """A script, or another file beside the scripts, seen from the working folder."""
    return f"{nameable(os.path.relpath(SCRIPTS))}/{name}"


def script_code(plan: Plan, wildcards: Wildcards, name: str) -> str:
    """A hash of the modules that decide the result of a script, for the data set that a path names."""
    settings = plan.datasets.get(wildcards.get("dataset"), {"model": {}, "source": {}})
    return _hash(code_of(name, family=settings["model"].get("family"), source=settings["source"].get("kind")))


def module_code(*names: str) -> str:
    """A hash of modules and of those that they import."""
    return _hash(code_of(*names))


@cache
def _hash(names: tuple[str, ...]) -> str:
    """Of names and texts; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode() + (SCRIPTS / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
