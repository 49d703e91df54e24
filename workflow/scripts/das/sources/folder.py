"""Any folder of PNG, JPEG or WebP images: in subfolders named after their class, or listed in a table.

A table is a CSV with the column `path`, seen from the folder, and the columns `label` and `caption` where
there are labels and captions. Images without labels are of one class, "image".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from das.artifacts import file_sha256
from das.errors import UserError
from das.sources import containers
from das.sources.base import Source, SourceSettings, Split
from das.sources.encoded import EncodedSource, Table
from das.sources.locate import image_files
from das.sources.tables import read_table

ONE_CLASS = "image"
COLUMNS = ("path", "label", "caption")


def open_source(settings: SourceSettings) -> Source:
    """See `das.sources.open_source`."""
    return Folder(settings)


class Folder(EncodedSource):
    """One pool of images, in the order of their names or of the table's rows."""

    kind = "folder"
    options = (*EncodedSource.options, "table")
    splits: tuple[Split, ...] = ("train",)

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.folder is None:
            raise UserError("source.path: not set; kind folder needs a folder of images")
        self.container = containers.Folder(settings.folder)
        if settings.table is None:
            names = image_files(settings.folder)
            if not names:
                raise UserError(f"{settings.folder}: holds no PNG, JPEG or WebP image")
            classes, captions = _classes_of_subfolders(settings.folder, names), None
            self._listed = ""
        else:
            table = settings.folder / settings.table
            names, classes, captions = _read_images(table, settings.folder)
            self._listed = f" listed in {settings.table} of sha256 {file_sha256(table)}"
            if captions is not None and settings.captions is not None:
                raise UserError(
                    f"source.captions: found {settings.captions!r}, but {table} has captions; remove one"
                )
        self.class_names = tuple(sorted(set(classes)))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = np.array([numbers[name] for name in classes], np.int64)
        self.tables = {"train": Table(names, labels, captions=captions)}

    def check(self) -> str:
        """See `Source.check`."""
        return f"a user's folder, {len(self.tables['train'].names)} images{self._listed}; content not checked"


def _classes_of_subfolders(folder: Path, names: list[str]) -> list[str]:
    """The class of each image: its subfolder's name."""
    deep = [name for name in names if name.count("/") > 1]
    if deep:
        raise UserError(
            f"{folder / deep[0]}: lies in a folder inside a folder; expected are images directly in the "
            "folder of their class, or a table (`source.table`)"
        )
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise UserError(
            f"{folder / loose[0]}: lies beside subfolders with images; expected are images in "
            "subfolders alone, one for each class, or no subfolders"
        )
    return [ONE_CLASS if loose else name.split("/")[0] for name in names]


def _read_images(table: Path, folder: Path) -> tuple[list[str], list[str], list[str] | None]:
    """Paths, classes and captions of the images that a table lists."""
    columns, rows = read_table(table, ("path",))
    for column in columns:
        if column not in COLUMNS and column.lower() in COLUMNS:
            raise UserError(f"{table}: found column {column!r}, expected is {column.lower()!r}")
        if column not in COLUMNS and "label" not in columns:
            raise UserError(
                f"{table}: found column {column!r}, but none named 'label'; rename or remove it, "
                "so that no labels are passed over"
            )
    names: dict[str, None] = {}
    classes: list[str] = []
    captions: list[str] = []
    for line, row in rows:
        where, name = f"{table}: line {line}", row["path"]
        if containers.escapes(name):
            raise UserError(f"{where}: path is {name!r}, expected a path that stays in {folder}")
        if not (folder / name).is_file():
            raise UserError(f"{where}: no file {folder / name}")
        if name in names:
            raise UserError(f"{where}: path {name!r} is listed twice")
        for column in COLUMNS[1:]:
            if not row.get(column, "given").strip():
                raise UserError(f"{where}: {column} of {name} is empty")
        names[name] = None
        classes.append(row.get("label", ONE_CLASS).strip())
        captions.append(row.get("caption", "").strip())
    if not names:
        raise UserError(f"{table}: lists no images")
    return list(names), classes, captions if "caption" in columns else None
