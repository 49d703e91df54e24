"""What files hold, as a hash of their bytes. Imports nothing heavy: the workflow asks while it plans.

A plan has to know whether images, a table or a model are still those that results were made from; names,
sizes and dates do not say it. Bytes do, and hashes of them are remembered, so that only new files are read.
A file is the same while its size, inode, mtime and ctime are: whoever writes into a file and sets its date
back, as some tools do, cannot set back its ctime.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from das.data.sources.locate import image_files
from das.data.sources.tables import read_table
from das.errors import UserError

# Where hashes are remembered, seen from the working folder: beside what Snakemake remembers.
MEMORY = Path(".snakemake/das/data/content")
# A file this young may change again within one tick of its clock; its hash is not remembered yet.
_YOUNG_SECONDS = 2.0


def hash_images(folder: str, table: str | None = None, memory: Path = MEMORY) -> str:
    """Hexadecimal sha256 over the names and bytes of a folder's images, or of those that its table lists.

    It is the same for a copy of the folder.

    Args:
        table: name of a CSV in the folder, see `das.data.sources.folder`; its own bytes count too.

    Raises:
        UserError: no such folder, or a file cannot be read.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder, expected a folder of images")
    if table is None:
        return hash_files(image_files(folder), folder, memory)
    rows = read_table(Path(folder, table), ("path",))[1]
    return hash_files((table, *(row["path"] for _, row in rows)), folder, memory)


def hash_files(names: Iterable[str], folder: str = "", memory: Path = MEMORY) -> str:
    """Hexadecimal sha256 over the names and bytes of files, in this order.

    Args:
        folder: where they lie; it does not count.

    Raises:
        UserError: a file cannot be read.
    """
    names = list(names)
    paths = [os.path.join(folder, name) for name in names]
    digest = hashlib.sha256()
    for name, held in zip(names, _remembered_hashes(paths, memory), strict=True):
        digest.update(f"{name}\0{held}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _remembered_hashes(paths: list[str], memory: Path) -> list[str]:
    """The hash of each file; those of files that are the same as the last time are not computed."""
    # One file for each set of folders, so that a plan of one data set reads the hashes of no other.
    folders = "\0".join(sorted(map(os.path.abspath, {os.path.dirname(path) for path in paths})))
    store = memory / f"{hashlib.sha256(folders.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.json"
    known = _load(store)
    begun = time.time()
    marks = [_mark(path) for path in paths]
    unknown = {
        path: mark for path, mark in zip(paths, marks, strict=True) if known.get(path, [None])[:-1] != mark
    }
    if unknown:
        with ThreadPoolExecutor() as pool:
            bar = tqdm(
                pool.map(_hash, unknown), "reading files", len(unknown), unit="file", delay=2, leave=False
            )
            found = dict(zip(unknown, bar, strict=True))
        hashes = {path: found.get(path) or known[path][-1] for path in paths}
        _save(
            store,
            {
                path: [*mark, hashes[path]]
                for path, mark in zip(paths, marks, strict=True)
                if path not in unknown or begun - mark[2] / 1e9 > _YOUNG_SECONDS
            },
        )
    else:
        hashes = {path: known[path][-1] for path in paths}
    return [hashes[path] for path in paths]


def _mark(path: str) -> list[int]:
    """Size, mtime and ctime in ns, and inode of a file."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is no file")
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _load(store: Path) -> dict[str, list]:
    try:
        known = json.loads(store.read_bytes())
    except (OSError, ValueError):  # none yet, or not whole: then all is read anew
        return {}
    return known if isinstance(known, dict) else {}


def _save(store: Path, known: dict[str, list]) -> None:
    """Remember, whole or not at all; where it cannot be written, the next plan reads the files again."""
    beside = store.with_name(f"{store.name}.{os.getpid()}")
    with suppress(OSError):
        store.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(known))
        beside.replace(store)
