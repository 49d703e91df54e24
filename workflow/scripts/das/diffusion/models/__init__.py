"""Diffusion models: one module per family, found by the family's name.

To add a family, write a module of this package with a subclass of `Model`, enter it in `FAMILIES`, and name
its files in `das.pipelines.families.MODEL_FILES`. Nothing else needs to know it.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import torch

from das.diffusion.models.base import Model, place
from das.diffusion.models.weights import files_sha256
from das.errors import UserError
from das.pipelines.families import IDENTITY_FILES, MODEL_FILES

__all__ = [
    "Model",
    "family",
    "family_of",
    "load",
    "place",
    "training_seconds",
    "weights_sha256",
]

# Family, which is also the name of its module here, and the class in that module.
FAMILIES = {"unet": "UNet", "lora": "Lora"}


def family(name: str) -> type[Model]:
    """The class of a family's models."""
    if name not in FAMILIES:
        raise UserError(f"model.family: found {name!r}, allowed are {', '.join(FAMILIES)}")
    found: type[Model] = getattr(import_module(f"das.diffusion.models.{name}"), FAMILIES[name])
    return found


def load(folder: Path, device: torch.device) -> Model:
    """Load a saved model of any family, in evaluation mode.

    Raises:
        UserError: a file is missing or cannot be read, or does not belong to the others.
    """
    return family(family_of(folder)).load(folder, device)


def weights_sha256(folder: Path) -> str:
    """Identity of a saved model: sha256 over its weights and configuration, and its base model's hash."""
    return files_sha256(folder, IDENTITY_FILES[family_of(folder)])


def training_seconds(folder: Path) -> float:
    """Wall-clock seconds that the training of a saved model took; 0 where it does not say."""
    try:
        found: float = json.loads((folder / "provenance.json").read_text()).get("seconds", 0.0)
    except FileNotFoundError:  # a model of the user's own
        return 0.0
    return found


def family_of(folder: Path) -> str:
    """The family whose files a folder holds; raises UserError where one is missing."""
    name = "lora" if (folder / "base_model.json").exists() else "unet"
    needed = [file for file in MODEL_FILES[name] if file != "provenance.json"]
    for file in needed:
        if not (folder / file).is_file():
            raise UserError(f"{folder / file}: no such file; a model folder holds {', '.join(needed)}")
    return name
