"""Diffusion models: one module per family, found by the family's name.

To add a family, write a module of this package with a subclass of `Model`, and declare the family in
`das.pipelines.families`. Nothing else needs to know it, if its network is a diffusers UNet.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import torch

from das.diffusion.models.base import Model, place
from das.diffusion.models.weights import files_sha256
from das.errors import UserError
from das.pipelines.families import FAMILIES

__all__ = [
    "Model",
    "family",
    "family_of",
    "load",
    "place",
    "training_seconds",
    "weights_sha256",
]


def family(name: str) -> type[Model]:
    """The class of a family's models."""
    if name not in FAMILIES:
        raise UserError(f"model.family: found {name!r}, allowed are {', '.join(FAMILIES)}")
    found: type[Model] = getattr(import_module(f"das.diffusion.models.{name}"), FAMILIES[name].model)
    return found


def load(folder: Path, device: torch.device) -> Model:
    """Load a saved model of any family, in evaluation mode.

    Raises:
        UserError: a file is missing or cannot be read, or does not belong to the others.
    """
    return family(family_of(folder)).load(folder, device)


def weights_sha256(folder: Path) -> str:
    """Identity of a saved model: sha256 over its weights and configuration, and its base model's hash."""
    return files_sha256(folder, FAMILIES[family_of(folder)].identity)


def training_seconds(folder: Path) -> float:
    """Wall-clock seconds that the training of a saved model took; 0 where it does not say."""
    try:
        found: float = json.loads((folder / "provenance.json").read_text()).get("seconds", 0.0)
    except FileNotFoundError:  # a model of the user's own
        return 0.0
    return found


def family_of(folder: Path) -> str:
    """The family whose files a folder holds; raises UserError where one is missing."""
    marked = (each for each in FAMILIES.values() if (folder / each.marker).exists())
    found = next(marked, FAMILIES["unet"])
    for file in found.needed:
        if not (folder / file).is_file():
            raise UserError(f"{folder / file}: no such file; a model folder holds {', '.join(found.needed)}")
    return found.name
