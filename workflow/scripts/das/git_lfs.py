"""What Git LFS leaves in the place of a file whose content has not been fetched."""

from __future__ import annotations

from das.errors import UserError


def refuse_pointer(content: bytes, name: str) -> None:
    """Refuse a pointer in place of a file.

    Args:
        content: of the file, or its first 100 bytes.

    Raises:
        UserError: names the file and what fetches its content.
    """
    if content.startswith(b"version https://git-lfs.github.com/spec/"):
        raise UserError(
            f"{name}: is a Git LFS pointer, not the file itself; run `git lfs pull` where it is from"
        )
