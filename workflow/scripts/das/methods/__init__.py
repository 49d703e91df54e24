"""The registry of scoring methods.

A new method is one decorated function (see `das.methods.base`) and a configuration entry that names it. It
lives in a module of this folder, where it is found by itself, or in any file that the configuration lists
under `method_modules`. Nothing here imports more than NumPy, since the workflow reads the registry whenever
it is parsed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from das.errors import UserError
from das.methods.base import Block, Method, Product, method
from das.methods.inputs import INPUTS, Files, Input, declare

__all__ = ["METHODS", "Block", "Files", "Input", "Method", "Product", "declare", "get", "load", "method"]


def get(name: str, modules: Iterable[Path] = ()) -> Method:
    """The method of that name, of this package or of files.

    Raises:
        UserError: there is none; lists those there are. Or see `load`.
    """
    for module in modules:
        load(module)
    if name not in METHODS:
        raise UserError(f"methods: unknown method {name!r}, known are {', '.join(sorted(METHODS))}")
    return METHODS[name]


def load(path: Path) -> None:
    """Add the methods of a Python file to the registry, once; its inputs declare themselves.

    Raises:
        UserError: it cannot be read or run, holds nothing of both, or a method whose name is taken.
    """
    path = Path(path).absolute()
    if path in _LOADED:
        return
    spec = spec_from_file_location(f"das_method_module_{len(_LOADED)}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"method_modules: no file {str(path)!r} with Python code")
    module = module_from_spec(spec)
    declared = len(INPUTS)
    sys.modules[spec.name] = module  # where dataclasses look for the module of a class
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        raise UserError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    found = [each for each in _methods(module) if METHODS.get(each.name) is not each]
    if not found and len(INPUTS) == declared:
        raise UserError(f"{path}: holds no method; decorate a function with das.methods.method")
    for each in found:
        if each.name in METHODS:
            raise UserError(f"{path}: there is a method {each.name} already, choose another name")
    METHODS.update((each.name, each) for each in found)
    _LOADED.add(path)


def _methods(module: ModuleType) -> Iterator[Method]:
    return (value for value in vars(module).values() if isinstance(value, Method))


def _discover() -> dict[str, Method]:
    found: dict[str, Method] = {}
    for module in iter_modules(__path__):
        for value in _methods(import_module(f"{__name__}.{module.name}")):
            if found.setdefault(value.name, value) is not value:
                raise ValueError(f"two methods are called {value.name}")
    return found


METHODS = _discover()
"""All methods by name."""

_LOADED: set[Path] = set()
