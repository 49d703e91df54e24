"""The files of saved models, by family, and of the models that they are built on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: by which settings choose it, and that of its module in `das.diffusion.models`.
        model: the subclass of `das.diffusion.models.base.Model` there.
        files: of a saved model, and what it was made from. Rules declare them one by one: Snakemake does not
            see inside a folder.
        marker: the one by which a folder is known to hold such a model.
        latent: whether it works on the latents of a base model, with captions, instead of pixels.
    """

    name: str
    model: str
    files: tuple[str, ...]
    marker: str
    latent: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """The files without which a folder holds no such model."""
        return tuple(name for name in self.files if name != "provenance.json")

    @property
    def identity(self) -> tuple[str, ...]:
        """The files that make two models the same model."""
        return tuple(name for name in self.needed if name != "model_index.json")

    @property
    def space(self) -> str:
        """What it sees of images, which is the folder of its inputs too: "images" or "latents"."""
        return "latents" if self.latent else "images"


_UNET_FILES = (
    "model_index.json",
    "provenance.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
)

FAMILIES = {
    family.name: family
    for family in (
        Family(
            "unet",
            "UNet",
            _UNET_FILES,
            marker="model_index.json",
        ),
        Family(
            "lora",
            "Lora",
            (
                "base_model.json",
                "provenance.json",
                "scheduler/scheduler_config.json",
                "pytorch_lora_weights.safetensors",
            ),
            marker="base_model.json",
            latent=True,
        ),
    )
}
"""All families by name."""

# The files of a pipeline of the user's own that are read.
PIPELINE_FILES = FAMILIES["unet"].needed

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
