"""The files of saved models, by family, and of the models that they are built on."""

from __future__ import annotations

import os
import re

# The files of a saved model of each family, and what it was made from. Rules declare them one by one:
# Snakemake does not see inside a folder.
MODEL_FILES = {
    "unet": (
        "model_index.json",
        "provenance.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ),
    "lora": (
        "base_model.json",
        "provenance.json",
        "scheduler/scheduler_config.json",
        "pytorch_lora_weights.safetensors",
    ),
}
# Of these, what makes two models the same model.
IDENTITY_FILES = {
    family: tuple(name for name in files if name not in ("model_index.json", "provenance.json"))
    for family, files in MODEL_FILES.items()
}

# The files of a pipeline of the user's own that are read.
PIPELINE_FILES = tuple(name for name in MODEL_FILES["unet"] if name != "provenance.json")

# The files of a base model that are read. The scheduler goes with the UNet, the tokenizer with its encoder.
BASE_MODEL_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
# The files of a CLIP model that are read.
CLIP_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def base_model_folder(base: str) -> str:
    """Where a base or CLIP model lies: the folder itself, or where one of the hub is downloaded to."""
    if os.path.isdir(base) or not re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        return base
    return f"data/models/{base.replace('/', '--')}"
