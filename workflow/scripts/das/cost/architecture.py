"""The networks of a data set, built without memory for their numbers, and the memory that they take."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from peft import LoraConfig
from transformers import CLIPTextConfig, CLIPTextModel

from das.cost.counting import Network
from das.diffusion.models.lora import TARGETS
from das.errors import UserError
from das.gradients.hooks import NORM_CHUNK
from das.pipelines.families import FAMILIES
from das.pipelines.keys import side

# Stable Diffusion 1 beside its UNet, from vae/config.json and text_encoder/config.json of its repository.
AUTOENCODER: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


@dataclass(frozen=True)
class Latent:
    """What a latent model has beside its UNet."""

    shape: tuple[int, int, int]
    """(C, H, W) of the latents."""
    encoder: Network
    decoder: Network
    parameters: int
    """Of autoencoder and text encoder."""


@dataclass(frozen=True)
class Architecture:
    """The networks of a data set and the shapes of its images."""

    network: Network
    image: tuple[int, int, int]
    """(H, W, C) of the pictures."""
    latent: Latent | None = None
    """None for a model on pixels."""


def build_architecture(model: Mapping[str, Any]) -> Architecture:
    """The networks of the section `model` of a data set.

    Raises:
        UserError: the UNet's configuration cannot be read, or is none.
    """
    return _architecture(model["family"], model["unet"], model.get("rank", 0), model.get("dropout", 0.0))


@lru_cache
def _architecture(family: str, path: str, rank: int, dropout: float) -> Architecture:
    if not FAMILIES[family].latent:
        unet, config = _unet(Path(path), UNet2DModel)
        channels, width = config["in_channels"], side(config["sample_size"])
        return Architecture(Network(unet, [(channels, width, width), ()]), (width, width, channels))

    unet, config = _unet(Path(path), UNet2DConditionModel)
    latent = (config["in_channels"], side(config["sample_size"]), side(config["sample_size"]))
    with torch.device("meta"):
        unet.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS))
        autoencoder = AutoencoderKL(**AUTOENCODER)
        text_config = CLIPTextConfig(**TEXT_ENCODER)
        text_encoder = CLIPTextModel(text_config)
    for module in unet.modules():
        if isinstance(module, Attention):
            module.to_out[1].p = dropout
    condition = (text_config.max_position_embeddings, config["cross_attention_dim"])
    width = latent[1] * 2 ** (len(AUTOENCODER["block_out_channels"]) - 1)
    return Architecture(
        Network(unet, [latent, (), condition]),
        (width, width, AUTOENCODER["in_channels"]),
        Latent(
            latent,
            Network(autoencoder.encoder, [(AUTOENCODER["in_channels"], width, width)]),
            Network(autoencoder.decoder, [latent]),
            sum(p.numel() for part in (autoencoder, text_encoder) for p in part.parameters()),
        ),
    )


def _unet(path: Path, kind: Any) -> tuple[Any, dict[str, Any]]:
    """A UNet on the meta device, and its configuration."""
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error
    try:
        with torch.device("meta"):
            unet = kind.from_config(config)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path}: not a {kind.__name__} ({' '.join(str(error).split())})") from error
    return unet, dict(unet.config)


def forward_bytes(network: Network, rows: int) -> float:
    """Device memory of passes without gradients: weights and activations."""
    return 4 * network.parameters + network.forward(rows).bytes


def training_bytes(network: Network, rows: int) -> float:
    """Device memory of a training in float32: weights, AdamW's two moments, activations and gradients."""
    return 4 * network.parameters + 8 * network.trained + network.training(rows).bytes


def gradient_bytes(network: Network, rows: int, dimension: int, projection: str, workspace: int) -> float:
    """Device memory of per-image gradients of a batch of rows.

    Args:
        dimension: k.
        projection: its kind; the signs of a count sketch lie beside the weights.
        workspace: bytes for the gradients of one layer, `das.gradients.hooks.CPU_BYTES` or `GPU_BYTES`.
    """
    largest = 4 * max(math.prod(shape) for shape in network.tensors.values())
    # One buffer for gradients of a weight and one for the inputs that they are formed of.
    buffers = 2 * min(max(workspace, largest), rows * largest)
    signs = 4 * network.trained if projection == "count-sketch" else 0
    sums = 4 * rows * (2 * dimension + network.trained // NORM_CHUNK)
    return 4 * network.parameters + network.gradients(rows).bytes + buffers + signs + sums
