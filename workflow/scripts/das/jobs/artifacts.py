"""Reading and writing HDF5 artifacts: whole or not at all, with provenance, checked when read.

Every artifact carries the root attributes

    schema        version of the layout that this module writes
    kind          what the file is: "images", "subsets", "features", "errors", "losses", ...
    dataset       name of the data set
    settings      JSON of the exact settings that made the content
    das_version, torch_version
    weights       sha256 of the model weights that the content came from ("" where there is none)
    seconds       wall-clock time that it took, with that of what it was put together from: since the process
                  started, or wrote the artifact before this one; of features that shared a pass, what each
                  would have taken alone. Of a job that was killed and resumed, most count the last run alone

and whatever a kind adds. Values of `settings` come back decoded.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from das import __version__
from das.errors import UserError
from das.jobs.locks import UNSUPPORTED, NoLocksError, lock

SCHEMA = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it onto `path` when the block ends well.

    Whatever happens inside the block, `path` holds either its old content or all of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


_last = time.monotonic()


def seconds_since_last(restart: bool = False) -> float:
    """Seconds since this process started, or since the last call that restarted the clock."""
    global _last
    now, before = time.monotonic(), _last
    if restart:
        _last = now
    return now - before


@contextmanager
def write(
    path: Path,
    kind: str,
    dataset: str,
    settings: dict[str, Any],
    weights: str = "",
    *,
    earlier_seconds: float = 0.0,
    **attributes: Any,
) -> Iterator[h5py.File]:
    """Open a new artifact for writing; it appears under `path` only when the block ends well.

    Args:
        earlier_seconds: what its parts took before this process, or this part of its work, began.
        attributes: what the kind adds.
    """
    with replacing(path) as beside:
        try:
            # Nobody else knows this file, and some file systems have no locks.
            with h5py.File(beside, "w", locking=False) as file:
                file.attrs["schema"] = SCHEMA
                file.attrs["kind"] = kind
                file.attrs["dataset"] = dataset
                file.attrs["settings"] = json.dumps(settings, sort_keys=True)
                file.attrs["das_version"] = __version__
                file.attrs["torch_version"] = version("torch")
                file.attrs["weights"] = weights
                for name, value in attributes.items():
                    file.attrs[name] = value
                yield file
                file.attrs.setdefault("seconds", earlier_seconds + seconds_since_last(restart=True))
        except OSError as error:
            if error.filename is not None:  # another file, for h5py names none
                raise
            # h5py reports a full disk as a plain OSError with or without errno.
            raise UserError(f"{path}: cannot be written: {_first_line(error)}") from error


class Artifact:
    """An open artifact: `attributes` and checked access to its arrays."""

    def __init__(self, path: Path, file: h5py.File, attributes: dict[str, Any]) -> None:
        self.path = path
        self._file = file
        self.attributes: dict[str, Any] = attributes
        self.kind: str = self.attributes["kind"]
        self.settings: dict[str, Any] = json.loads(self.attributes["settings"])
        self.weights: str = self.attributes["weights"]
        self.dataset: str = self.attributes["dataset"]

    def __contains__(self, name: str) -> bool:
        """Whether there is an array `name`."""
        return name in self._file

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the array `name`."""
        return tuple(self._array(name).shape)

    def read(
        self,
        name: str,
        shape: tuple[int | None, ...],
        dtype: DTypeLike,
        rows: slice = slice(None),
        column: int | None = None,
    ) -> NDArray[Any]:
        """Rows of the array `name`.

        Args:
            shape: expected shape of the whole array, None where any length will do.
            dtype: expected dtype.
            rows: which part of the first axis to read.
            column: which position of the second axis to read, which is then left out; all without it.

        Raises:
            UserError: the array is missing, of another shape or dtype, or not finite.
        """
        array = self._array(name)
        wanted = tuple("any" if n is None else n for n in shape)
        fits = len(array.shape) == len(shape) and all(
            n is None or n == found for n, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise UserError(f"{self.path}: array {name!r} has shape {array.shape}, expected {wanted}")
        if array.dtype != np.dtype(dtype):
            raise UserError(f"{self.path}: array {name!r} is {array.dtype}, expected {np.dtype(dtype)}")
        with _naming(self.path, f"array {name!r}"):
            values: NDArray[Any] = array[rows] if column is None else array[rows, column]
        if np.issubdtype(values.dtype, np.floating):
            finite = np.isfinite(values)
            if not finite.all():
                where = tuple(int(i) for i in np.argwhere(~finite)[0])
                where = (
                    where[0] + (rows.start or 0),
                    *(() if column is None else (column,)),
                    *where[1:],
                )
                raise UserError(
                    f"{self.path}: array {name!r} is not finite at {where}; delete the file and make it again"
                )
        return values

    def _array(self, name: str) -> h5py.Dataset:
        with _naming(self.path, f"array {name!r}"):
            if name not in self._file:
                raise UserError(f"{self.path}: no array {name!r}, it holds {sorted(self._file)}")
            return self._file[name]


@contextmanager
def read(path: Path, *kinds: str) -> Iterator[Artifact]:
    """Open an artifact of one of the given kinds for reading, or of any kind where none is given.

    Raises:
        UserError: the file is missing, out of reach, cut short, of another kind or of another schema.
    """
    path = Path(path)
    try:
        # An artifact is whole as soon as it is there, so that readers need not keep writers away.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path}: {_why_closed(path, error)}") from error
    with file:
        with _naming(path, "its description"):
            attributes = dict(file.attrs)
        found = attributes.get("kind", "unknown content")
        if kinds and found not in kinds:
            raise UserError(f"{path}: holds {found}, expected {' or '.join(kinds)}")
        if attributes.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: written with schema {attributes.get('schema')}, this version reads {SCHEMA}; "
                "delete it and make it again"
            )
        with _naming(path, "its description"):
            artifact = Artifact(path, file, attributes)
        yield artifact


def require_same(name: str, *artifacts: Artifact) -> None:
    """Refuse artifacts that disagree on the root attribute `name`, for example `weights`."""
    first = artifacts[0]
    for other in artifacts[1:]:
        if first.attributes.get(name) != other.attributes.get(name):
            raise UserError(
                f"{other.path}: {name} is {other.attributes.get(name)!r}, "
                f"but {first.path} has {first.attributes.get(name)!r}; they must agree"
            )


def require_same_analysis(first: Artifact, other: Artifact) -> None:
    """Refuse a shard that is not of the same analysis: its data set, weights, precision and settings."""
    for name in ("dataset", "weights", "precision", "settings"):
        require_same(name, first, other)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_closed(path: Path, error: OSError) -> str:
    """Why h5py cannot open a file. Only one whose content is wrong may be deleted: then there is no errno."""
    if error.errno == errno.ENOENT:
        return f"a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "no such file"
    if error.errno in (errno.EAGAIN, *UNSUPPORTED):
        return (
            f"cannot be locked ({os.strerror(error.errno)}), which HDF5_USE_FILE_LOCKING asks for; "
            "unset it, the file is whole as it is"
        )
    if error.errno:
        return f"cannot be opened: {os.strerror(error.errno)}"
    if _held_for_writing(path) or "already open for" in str(error):
        return f"another program has it open for writing; close it there ({_first_line(error)})"
    return f"not a complete HDF5 file ({_first_line(error)}); delete it and make it again"


def _held_for_writing(path: Path) -> bool:
    """Whether another program holds the lock that HDF5 takes to write."""
    with open(path) as file:
        try:
            return not lock(file, shared=True)
        except NoLocksError:
            return False


@contextmanager
def _naming(path: Path, part: str) -> Iterator[None]:
    """Say in one line why h5py cannot read a part of an open file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{path}: {part} cannot be read: {os.strerror(error.errno)}") from error
        raise UserError(
            f"{path}: {part} is damaged ({_first_line(error)}); delete the file and make it again"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
