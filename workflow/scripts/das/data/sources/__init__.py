"""Sources of images, found by their kind in a registry.

To add a source, write a module of this package named after its kind, with a function
`open_source(settings) -> Source`, and enter the kind in `SOURCES`; what a publisher offers for download
goes into `published.PUBLISHED`. Nothing else needs to know it.

Importing this package loads nothing heavy, so that a dry run stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from das.data.sources.base import Source, SourceSettings

# Kinds of sources, which are also the names of their modules here.
SOURCES = ("digits", "cifar10", "artbench", "celeba", "folder")


def open_source(settings: SourceSettings) -> Source:
    """The source of the kind that the settings name, with its files checked.

    Raises:
        UserError: a file is missing or not what is expected, or a setting does not fit this kind.
    """
    source: Source = import_module(f"das.data.sources.{settings.kind}").open_source(settings)
    return source
