"""Any folder of PNG, JPEG or WebP images: in subfolders named after their class, or listed in a table."""

from __future__ import annotations

import numpy as np

from das.data.sources import containers
from das.data.sources.base import Source, SourceSettings, Split
from das.data.sources.encoded import EncodedSource, Table
from das.data.sources.listing import list_images
from das.errors import UserError
from das.jobs.artifacts import file_sha256


def open_source(settings: SourceSettings) -> Source:
    """See `das.data.sources.open_source`."""
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
        listed = list_images(settings.folder, settings.table, settings.captions)
        if not listed.names:
            raise UserError(f"{settings.folder}: holds no PNG, JPEG or WebP image")
        self._listed = ""
        if settings.table is not None:
            sha256 = file_sha256(settings.folder / settings.table)
            self._listed = f" listed in {settings.table} of sha256 {sha256}"
        self.class_names = tuple(sorted(set(listed.classes)))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        labels = np.array([numbers[name] for name in listed.classes], np.int64)
        self.tables = {"train": Table(listed.names, labels, captions=listed.captions)}

    def check(self) -> str:
        """See `Source.check`."""
        return f"a user's folder, {len(self.tables['train'].names)} images{self._listed}; content not checked"
