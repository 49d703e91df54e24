"""What Git LFS leaves in the place of a file whose content has not been fetched."""

from __future__ import annotations

from pathlib import Path

from das.errors import UserError

_START = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(content: bytes, name: str) -> None:
    """Refuse a pointer in place of a file.

    Args:
        content: of the file, or its first hundred bytes.

    Raises:
        UserError: names the file and what fetches its content.
    """
    if content.startswith(_START):
        raise UserError(
            f"{name}: is a Git LFS pointer, not the file itself; run `git lfs pull` where it is from"
        )


def refuse_pointer_file(file: Path) -> None:
    """The same of a file, of which the beginning is read.

    Raises:
        UserError: the file is a pointer.
        OSError: it cannot be read.
    """
    with open(file, "rb") as opened:
        refuse_pointer(opened.read(len(_START)), str(file))
