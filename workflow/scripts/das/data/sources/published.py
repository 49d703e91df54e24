"""What publishers offer for download: names, addresses, sizes and checksums.

Imports nothing heavy: the workflow reads it while it plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from das.errors import UserError


@dataclass(frozen=True)
class PublishedFile:
    """One published file. What is None is not published, and not checked."""

    name: str
    page: str
    """Where the publisher describes it."""
    url: str | None = None
    """None: there is no address from which a program may download it."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    md5: str | None = None
    terms: str = ""
    """What the publisher allows, where that is little."""

    @property
    def has_checksum(self) -> bool:
        """Whether a file can be told to be this one."""
        return self.sha256 is not None or self.md5 is not None


_CIFAR10 = "https://www.cs.toronto.edu/~kriz/"
_ARTBENCH = "https://artbench.eecs.berkeley.edu/"
_CELEBA = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_CELEBA_TERMS = "for non-commercial research only"

PUBLISHED: dict[str, tuple[PublishedFile, ...]] = {
    "cifar10": (
        PublishedFile(
            "cifar-10-binary.tar.gz",
            page=f"{_CIFAR10}cifar.html",
            url=f"{_CIFAR10}cifar-10-binary.tar.gz",
            size=170_052_171,
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
        ),
    ),
    "artbench": (
        PublishedFile("ArtBench-10.csv", _ARTBENCH, f"{_ARTBENCH}files/ArtBench-10.csv"),
        PublishedFile(
            "artbench-10-imagefolder.tar", _ARTBENCH, f"{_ARTBENCH}files/artbench-10-imagefolder.tar"
        ),
    ),
    "celeba": (
        PublishedFile(
            "img_align_celeba.zip",
            _CELEBA,
            size=1_443_490_838,
            md5="00d2c5bc6d35e252742224ab0c1e8fcb",
            terms=_CELEBA_TERMS,
        ),
        PublishedFile(
            "list_eval_partition.txt",
            _CELEBA,
            size=2_836_386,
            md5="d32c9cbf5e040fd4025c592c306e6668",
            terms=_CELEBA_TERMS,
        ),
    ),
}


def published_file(name: str, overrides: Mapping[str, Any] | None = None) -> PublishedFile:
    """The published file of that name, with `url`, `size` or `sha256` of `overrides` in place of its own.

    A sha256 of one's own describes another file, of which the published size and md5 say nothing.

    Raises:
        UserError: no publisher offers a file of that name, or an override is not allowed.
    """
    known = {file.name: file for files in PUBLISHED.values() for file in files}
    if name not in known:
        raise UserError(f"source.files: unknown file {name!r}, allowed are {', '.join(known)}")
    changes = dict(overrides or {})
    _require_valid(name, changes)
    file = known[name]
    if changes.get("sha256", file.sha256) != file.sha256:
        changes = {"size": None, "md5": None} | changes
    return replace(file, **changes)


def published_files(kind: str, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, PublishedFile]:
    """All published files of a kind by name, with the overrides of `source.files`.

    Raises:
        UserError: an override of a file that is none of this kind's, or one that is not allowed.
    """
    names = [file.name for file in PUBLISHED.get(kind, ())]
    for name in overrides:
        if name not in names:
            allowed = f"allowed are {', '.join(names)}" if names else f"{kind} has no published files"
            raise UserError(f"source.files: unknown file {name!r}, {allowed}")
    return {name: published_file(name, overrides.get(name)) for name in names}


def _require_valid(name: str, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        where = f"source.files.{name}.{key}"
        if key not in ("url", "size", "sha256"):
            raise UserError(f"{where}: unknown key, allowed are url, size, sha256")
        if key == "url" and not str(value).startswith(("https://", "http://")):
            raise UserError(f"{where}: found {value!r}, allowed are addresses with https:// or http://")
        if key == "size" and not (isinstance(value, int) and value >= 1):
            raise UserError(f"{where}: found {value!r}, allowed is a number of bytes from 1")
        if key == "sha256" and not is_sha256(value):
            raise UserError(f"{where}: found {value!r}, allowed are 64 digits of 0-9 and a-f")


def is_sha256(text: Any) -> bool:
    """Whether a value is a hexadecimal sha256."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
