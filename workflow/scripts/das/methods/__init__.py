"""The registry of scoring methods.

A new method is one module in this folder with a decorated function (see `das.methods.base`) and a
configuration entry that names it; modules are found by themselves. Nothing here imports more than NumPy,
since the workflow reads the registry whenever it is parsed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from das.errors import UserError
from das.methods.base import Block, Method, method

__all__ = ["METHODS", "Block", "Method", "get", "method"]


def get(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: there is none; lists those there are.
    """
    if name not in METHODS:
        raise UserError(f"methods: unknown method {name!r}, known are {', '.join(sorted(METHODS))}")
    return METHODS[name]


def _discover() -> dict[str, Method]:
    found: dict[str, Method] = {}
    for module in iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if not isinstance(value, Method):
                continue
            if found.setdefault(value.name, value) is not value:
                raise ValueError(f"two methods are called {value.name}")
    return found


METHODS = _discover()
"""All methods by name."""
