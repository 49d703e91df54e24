"""Names of files and folders that both rules and scripts build. Imports nothing heavy."""

from __future__ import annotations

import re

from das.errors import UserError

# The files of a saved model, a diffusers pipeline and what it was made from. Rules declare them one by
# one: Snakemake does not see inside a folder.
MODEL_FILES = (
    "model_index.json",
    "provenance.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
)


def model_name(subset: int, seed: int) -> str:
    """Name of the model that is trained on a subset with a seed, for example subset-07_seed-1."""
    return f"subset-{subset:02d}_seed-{seed}"


def parse_model_name(name: str) -> tuple[int, int]:
    """(subset, seed) of a name made by `model_name`."""
    match = re.fullmatch(r"subset-(\d+)_seed-(\d+)", name)
    if not match:
        raise UserError(f"{name}: not the name of a subset model; expected one like {model_name(7, 1)}")
    return int(match[1]), int(match[2])
