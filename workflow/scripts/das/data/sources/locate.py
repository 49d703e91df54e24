"""Which files a data set is read from. Imports nothing heavy: the workflow asks while it plans."""

from __future__ import annotations

import os
from pathlib import Path

from das.data.sources.listing import list_folder
from das.data.sources.published import PUBLISHED
from das.errors import UserError

DATA = "data"
"""Where published files are downloaded to, or placed by hand."""

# Kinds of which the Hugging Face hub's copy, parquet files, is read too.
_WITH_HUB = ("cifar10", "celeba")


def locate(kind: str, path: str | None, table: str | None = None) -> list[str]:
    """The files that a data set is read from, whether or not they exist where `path` is None.

    Args:
        path: `source.path`: a folder, for cifar10 also the archive; None for data/ and embedded sources.
        table: `source.table`, which kind folder knows. The images of a folder are not among the files: they
            may be too many for that; see `das.data.content`.

    Raises:
        UserError: nothing at `path`, or not what this kind is read from.
    """
    if kind == "folder":
        return _locate_folder(path, table)
    names = [file.name for file in PUBLISHED.get(kind, ())]
    if path is None:
        return [f"{DATA}/{name}" for name in names]
    if not names:
        raise UserError(f"source.path: found {path!r}, but {kind} has no file; remove it")
    wanted = " and ".join(names)
    if os.path.isfile(path):
        if len(names) > 1:
            raise UserError(f"source.path: {path!r} is a file, expected a folder with {wanted}")
        return [path]
    _require_folder(path, wanted if len(names) == 1 else f"a folder with {wanted}")
    missing = [name for name in names if not Path(path, name).is_file()]
    if not missing:
        return [f"{path}/{name}" for name in names]
    if kind == "cifar10":
        _refuse_pickles(path)
    others = sorted(list_folder(path).others) if kind in _WITH_HUB else []
    found = [name for name in others if name.lower().endswith(".parquet")]
    if not found:
        hub = ", or parquet files of the hub's copy" if kind in _WITH_HUB else ""
        raise UserError(
            f"source.path: folder {path!r} has no {', '.join(missing)}; expected are {wanted}{hub}"
        )
    return [f"{path}/{name}" for name in found]


def image_files(folder: str | Path) -> list[str]:
    """PNG, JPEG and WebP files below a folder, as `list_folder` finds them; sorted paths in it."""
    return list_folder(folder).images


def _locate_folder(path: str | None, table: str | None) -> list[str]:
    if path is None:
        raise UserError("source.path: not set; kind folder needs a folder of images")
    _require_folder(path, "a folder of images")
    if table is None:
        return []
    if not Path(path, table).is_file():
        raise UserError(f"source.table: no file {str(Path(path, table))!r}, expected a CSV in source.path")
    return [str(Path(path, table))]


def _require_folder(path: str, wanted: str) -> None:
    if not os.path.exists(path):
        raise UserError(f"source.path: no file or folder {path!r}, expected {wanted}")
    if not os.path.isdir(path):
        raise UserError(f"source.path: {path!r} is no folder, expected {wanted}")


def _refuse_pickles(path: str) -> None:
    """Name the likely mistake: the python version holds pickles, which can run code and are never read."""
    for name in ("cifar-10-batches-py", "data_batch_1", "cifar-10-python.tar.gz"):
        if Path(path, name).exists():
            archive = PUBLISHED["cifar10"][0]
            raise UserError(
                f"source.path: {path!r} holds the python version ({name}), whose pickles are not read; "
                f"expected is the binary version, {archive.name}, from {archive.url}"
            )
