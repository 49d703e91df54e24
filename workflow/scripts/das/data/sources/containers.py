"""Reading encoded images out of archives and folders, one at a time. Nothing is ever written to the disk.

Parquet files, which need a library of their own, are in `parquet`.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

from das.errors import UserError

MAX_MEMBER_BYTES = 64_000_000  # of one encoded image, before it is read


class Container(ABC):
    """Where the encoded images of a source lie, under names that are unique in it."""

    @abstractmethod
    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Stream the named members with their content, in the order in which they lie.

        Raises:
            UserError: a member is missing, no plain file, too large or damaged, or the container is.
        """

    @abstractmethod
    def where(self, name: str) -> str:
        """A member's full name for messages."""


class Tar(Container):
    """A tar archive, compressed or not, read from its beginning until all that is wanted has come.

    A member's name is its last two path components, `folder/file`, under whatever top folder it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        missing = set(names)
        if not missing:
            return
        try:
            with tarfile.open(self.path, "r|*") as tar:
                for member in tar:
                    name = "/".join(member.name.split("/")[-2:])
                    if name in missing:
                        missing.remove(name)
                        yield name, self._content(tar, member)
                    if not missing:
                        return
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise UserError(f"{self.path}: not a readable tar archive ({error})") from error
        raise _missing(self.path, missing)

    def where(self, name: str) -> str:
        """See `Container.where`."""
        return f"{self.path}: member {name}"

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        where = f"{self.path}: member {member.name}"
        if escapes(member.name):
            raise UserError(f"{where} lies outside the archive's folder, expected a relative path")
        if not member.isreg():
            raise UserError(f"{where} is a link or a special file, expected a plain file")
        require_moderate(member.size, where)
        stream = tar.extractfile(member)
        assert stream is not None  # extractfile returns None for what is not a plain file
        return stream.read()


class Zip(Container):
    """A zip archive, whose checksums are verified as members are read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        where = f"{self.path}: the list of members"
        try:
            with zipfile.ZipFile(self.path) as archive:
                wanted = set(names)
                members = [member for member in archive.infolist() if member.filename in wanted]
                missing = wanted - {member.filename for member in members}
                if missing:
                    raise _missing(self.path, missing)
                if len(members) > len(wanted):
                    raise UserError(f"{self.path}: a member is listed twice")
                for member in sorted(members, key=lambda member: member.header_offset):
                    where = self.where(member.filename)
                    require_moderate(member.file_size, where)
                    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise UserError(f"{where} is packed by another method than deflate")
                    with archive.open(member) as stream:
                        # Unpacks no more than the size that the list states, whatever follows it; the byte
                        # beyond makes zipfile compare the checksum.
                        yield member.filename, stream.read(member.file_size + 1)
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error),
            *(RuntimeError, NotImplementedError),  # encrypted, or packed by a method that Python lacks
        ) as error:
            raise UserError(f"{where} cannot be read: {error}") from error

    def where(self, name: str) -> str:
        """See `Container.where`."""
        return f"{self.path}: member {name}"


class Folder(Container):
    """A folder, whose files are named by their path in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See `Container.read`."""
        for name in names:
            file = self.path / name
            try:
                if not file.is_file():
                    raise UserError(f"{file}: no such file")
                require_moderate(file.stat().st_size, str(file))
                content = file.read_bytes()
            except OSError as error:
                raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
            yield name, content

    def where(self, name: str) -> str:
        """See `Container.where`."""
        return str(self.path / name)


def escapes(name: str) -> bool:
    """Whether a path does not stay in the folder that it is relative to."""
    return name.startswith("/") or ".." in name.split("/")


def require_moderate(size: int, where: str) -> None:
    """Refuse a member that would be larger than any encoded image once it is read.

    Raises:
        UserError: names the member, its size in bytes and the limit.
    """
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{where} has {size} bytes unpacked, allowed are {MAX_MEMBER_BYTES}")


def _missing(path: Path, names: Collection[str]) -> UserError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return UserError(f"{path}: no member {min(names)}{more}")
