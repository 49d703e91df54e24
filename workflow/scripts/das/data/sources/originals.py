"""The published files that a source is read from, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from das.data.download import check
from das.data.sources.base import SourceSettings
from das.data.sources.published import published_file, published_files
from das.errors import UserError


@dataclass(frozen=True)
class Original:
    """One file that agrees with what is published, or with what the settings say in its place."""

    name: str
    path: Path
    sha256: str
    has_published_checksum: bool
    """Whether the publisher states one."""
    is_published: bool
    """Whether it was compared with the one that the publisher states."""

    def __str__(self) -> str:
        """What is known of it, for `Source.check`."""
        if self.is_published:
            status = "the published file"
        elif self.has_published_checksum:
            status = "not the published file, content not checked"
        else:
            status = "no checksum is published, content not checked"
        return f"{self.name} sha256 {self.sha256}: {status}"


def open_originals(settings: SourceSettings) -> dict[str, Original]:
    """All published files of a kind among the located ones, by name, with size and checksum compared.

    Raises:
        UserError: a file is not among them, missing, or not what was expected.
    """
    expected = published_files(settings.kind, settings.files)
    paths = {path.name: path for path in settings.located}
    if len(expected) == len(paths) == 1:
        paths = dict(zip(expected, paths.values(), strict=True))  # whatever the user calls it
    originals = {}
    for name, file in expected.items():
        if name not in paths:
            raise UserError(f"source.path: {name} is not among its files; expected are {', '.join(expected)}")
        published = published_file(name)
        originals[name] = Original(
            name,
            paths[name],
            check(paths[name], file),
            published.has_checksum,
            published.has_checksum and file.sha256 == published.sha256,
        )
    return originals
