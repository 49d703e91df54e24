"""Sources of images, found by their kind in a registry.

To add a source, write a module of this package named after its kind, with a function
`open_source(settings) -> Source`; what a publisher offers for download goes into `published.PUBLISHED`.
Nothing else needs to know it.

Importing this package loads nothing heavy, so that a dry run stays fast.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from das.data.sources.base import Source, SourceSettings

# Kinds of sources: the modules here that open one, found by their text, since importing them takes time.
SOURCES = tuple(
    sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if path.name != "__init__.py" and "\ndef open_source(" in path.read_text()
    )
)


def open_source(settings: SourceSettings) -> Source:
    """The source of the kind that the settings name, with its files checked.

    Raises:
        UserError: a file is missing or not what is expected, or a setting does not fit this kind.
    """
    source: Source = import_module(f"das.data.sources.{settings.kind}").open_source(settings)
    return source
