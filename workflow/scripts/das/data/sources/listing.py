"""Which images a folder holds, or its table lists, and what is left out.

Imports nothing heavy: the workflow asks while it plans, and refuses then what no job could use.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from das.data.sources.containers import escapes
from das.data.sources.tables import read_table
from das.errors import UserError, one_line

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp")
ONE_CLASS = "image"
COLUMNS = ("path", "label", "caption")


@dataclass(frozen=True)
class Listing:
    """What a walk through a folder found; paths are seen from the folder."""

    folder: str
    images: list[str] = field(default_factory=list)
    """PNG, JPEG and WebP files by their suffix, sorted."""
    others: list[str] = field(default_factory=list)
    """Files with other suffixes, or none."""
    hidden: list[str] = field(default_factory=list)
    """Files and folders whose name begins with a dot."""
    special: list[str] = field(default_factory=list)
    """Pipes, sockets and devices."""
    circles: list[str] = field(default_factory=list)
    """Links to a folder that leads to them."""
    repeated: list[str] = field(default_factory=list)
    """Second paths, through links, to what is there already."""

    def left_out(self) -> dict[str, int]:
        """How many files, or links, are left out, by why."""
        suffixes = Counter(Path(path).suffix.lower() or "without suffix" for path in self.others)
        hidden = sum(_count_files(os.path.join(self.folder, path)) for path in self.hidden)
        counts = dict(sorted(suffixes.items())) | {
            "hidden": hidden,
            "neither file nor folder": len(self.special),
        }
        for paths, why in ((self.circles, "link in a circle"), (self.repeated, "there already")):
            counts[f"{why} ({min(paths, default='')}{', ...' * (len(paths) > 1)})"] = len(paths)
        return {why: count for why, count in counts.items() if count}

    def __str__(self) -> str:
        """One line for people."""
        left_out = ", ".join(f"{count} {why}" for why, count in self.left_out().items())
        more = f"; left out: {left_out}" * bool(left_out)
        return one_line(f"{self.folder}: {len(self.images)} images{more}")


def list_folder(folder: str | Path) -> Listing:
    """Walk through a folder and through all that its links lead to, each file and folder once.

    Of several paths to one file, that without links is taken, or else the first by name. A folder that does
    not exist holds nothing.

    Raises:
        UserError: a folder cannot be read, or a link leads nowhere.
    """
    found = Listing(str(folder))
    if not os.path.isdir(folder):
        return found
    root = os.path.realpath(folder)
    seen: dict[str, str] = {}  # paths by what they really are
    folders: list[tuple[str, str]] = [("", root)]
    links: list[str] = []
    parents: dict[str, str] = {}
    while folders or links:
        if not folders:
            link = heapq.heappop(links)
            mode, real = _target(os.path.join(folder, link), parents)
            if not stat.S_ISDIR(mode):
                _take(found, seen, link, real, stat.S_ISREG(mode))
                continue
            if os.path.commonpath((root, real)) == real or link.startswith(f"{seen.get(real, link)}/"):
                found.circles.append(link)
                continue
            folders.append((link, real))
        path, real = folders.pop()
        if real in seen:
            found.repeated.append(path)
            continue
        seen[real] = path
        for entry in _entries(os.path.join(folder, path)):
            name = f"{path}/{entry.name}" if path else entry.name
            if entry.name.startswith("."):
                found.hidden.append(name)
            elif entry.is_symlink():
                heapq.heappush(links, name)
            elif entry.is_dir():
                folders.append((name, f"{real}/{entry.name}"))
            else:
                _take(found, seen, name, f"{real}/{entry.name}", entry.is_file())
    found.images.sort()
    return found


@dataclass(frozen=True)
class Listed:
    """The images of a data set: paths in their folder, classes and captions, [N] each."""

    names: list[str]
    classes: list[str]
    captions: list[str] | None = None


def list_images(folder: str | Path, table: str | None = None, template: str | None = None) -> Listed:
    """The images of a folder, in subfolders named after their class, or those that its table lists.

    Args:
        table: a CSV in the folder with the column `path`, and the columns `label` and `caption` where there
            are labels and captions. Images without labels are of one class, "image".
        template: `source.captions`, which a table with captions leaves no place for.

    Raises:
        UserError: one line with the file, or the line of the table, that cannot be used.
    """
    if table is not None:
        return _read_images(Path(folder, table), folder, template)
    names = list_folder(folder).images
    return Listed(names, _classes_of_subfolders(folder, names))


def _target(link: str, parents: dict[str, str]) -> tuple[int, str]:
    """Kind and real path of what a link leads to; `parents` remembers the real paths of folders."""
    try:
        parent, name = os.path.split(os.path.join(os.path.dirname(link), os.readlink(link)))
        if parent not in parents:
            parents[parent] = os.path.realpath(parent)
        real = os.path.join(parents[parent], name)
        mode = os.lstat(real).st_mode
        if stat.S_ISLNK(mode) or name in ("", ".", ".."):
            mode, real = os.stat(link).st_mode, os.path.realpath(link)
        return mode, real
    except OSError as error:
        raise UserError(
            f"{link}: is a link to {os.readlink(link)!r}, which cannot be read: {error.strerror}; "
            "mend or remove it"
        ) from error


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def _take(found: Listing, seen: dict[str, str], path: str, real: str, is_file: bool) -> None:
    """Put a path that is no folder where it belongs."""
    if real in seen:
        found.repeated.append(path)
        return
    seen[real] = path
    if not is_file:
        found.special.append(path)
    elif path.lower().endswith(IMAGE_SUFFIXES):
        found.images.append(path)
    else:
        found.others.append(path)


def _count_files(path: str) -> int:
    """How many files a folder holds, or 1 for a file."""
    return sum(len(files) for _, _, files in os.walk(path)) if os.path.isdir(path) else 1


def _classes_of_subfolders(folder: str | Path, names: list[str]) -> list[str]:
    """The class of each image: its subfolder's name."""
    deep = [name for name in names if name.count("/") > 1]
    if deep:
        raise UserError(
            f"{folder}/{deep[0]}: lies in a folder inside a folder; expected are images directly in the "
            "folder of their class, or a table (`source.table`)"
        )
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise UserError(
            f"{folder}/{loose[0]}: lies beside subfolders with images; expected are images in "
            "subfolders alone, one for each class, or no subfolders"
        )
    classes = [ONE_CLASS if loose else name.split("/")[0] for name in names]
    for name in dict.fromkeys(classes):
        if name != name.encode("utf-8", "replace").decode():  # bytes of other encodings
            raise UserError(f"{folder}/{name}: the name of a class is not UTF-8; rename the folder")
    return classes


def _read_images(table: Path, folder: str | Path, template: str | None) -> Listed:
    """The images that a table lists."""
    columns, rows = read_table(table, ("path",))
    for column in columns:
        if column not in COLUMNS and column.lower() in COLUMNS:
            raise UserError(f"{table}: found column {column!r}, expected is {column.lower()!r}")
        if column not in COLUMNS and "label" not in columns:
            raise UserError(
                f"{table}: found column {column!r}, but none named 'label'; rename or remove it, "
                "so that no labels are passed over"
            )
    if "caption" in columns and template is not None:
        raise UserError(f"source.captions: found {template!r}, but {table} has captions; remove one")
    listed = Listed([], [], [] if "caption" in columns else None)
    lines: dict[object, tuple[int, str]] = {}
    for line, row in rows:
        where, name = f"{table}: line {line}", row["path"]
        if not name.strip():
            raise UserError(f"{where}: path is empty")
        if escapes(name):
            raise UserError(f"{where}: path is {name!r}, expected a path that stays in {folder}")
        earlier, known_as = lines.setdefault(_identity(f"{folder}/{name}", where), (line, name))
        if earlier != line:
            raise UserError(
                f"{where}: path {name!r} is listed twice, first in line {earlier} as {known_as!r}"
            )
        for column in COLUMNS[1:]:
            if not row.get(column, "given").strip():
                raise UserError(f"{where}: {column} of {name} is empty")
        listed.names.append(name)
        listed.classes.append(row.get("label", ONE_CLASS).strip())
        if listed.captions is not None:
            listed.captions.append(row["caption"].strip())
    if not listed.names:
        raise UserError(f"{table}: lists no images")
    return listed


def _identity(path: str, where: str) -> object:
    """What is the same for all paths to a file, through links or with dots, and for no other file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{where}: no file {path} ({getattr(error, 'strerror', error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{where}: no file {path}")
    # Two names of equal right may share what they hold, as copies do.
    return os.path.realpath(path) if found.st_nlink > 1 else (found.st_dev, found.st_ino)
