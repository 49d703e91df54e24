"""Building, saving, loading and naming diffusion models, always as diffusers pipeline folders."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils.logging import disable_progress_bar
from torch import nn

from das import __version__
from das.artifacts import file_sha256
from das.errors import UserError
from das.paths import MODEL_FILES

disable_progress_bar()

# What makes two models the same model.
IDENTITY_FILES = MODEL_FILES[2:]


def load_unet_config(path: Path, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """A UNet configuration in diffusers' JSON format, checked against images [H, W, C]."""
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error
    height, width, channels = image_shape
    found = (config.get("sample_size"), config.get("in_channels"), config.get("out_channels"))
    if found != (height, channels, channels) or height != width:
        raise UserError(
            f"{path}: sample_size, in_channels, out_channels are {found}, "
            f"but the images are {height}x{width} with {channels} channels"
        )
    try:
        with torch.device("meta"):
            UNet2DModel.from_config(config)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path}: not a UNet2DModel ({' '.join(str(error).split())})") from error
    return config


def build_unet(config: dict[str, Any], seed: int) -> nn.Module:
    """A UNet2DModel with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel.from_config(config)


def noise_scheduler() -> DDPMScheduler:
    """The published schedule: linear betas over 1000 steps, noise prediction."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", prediction_type="epsilon")


def save_pipeline(folder: Path, unet: nn.Module, provenance: dict[str, Any]) -> None:
    """Save a UNet as a DDPM pipeline, and beside it what it was made from; each file appears whole."""
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        DDPMPipeline(unet=unet, scheduler=noise_scheduler()).save_pretrained(beside)
        versions = {"das_version": __version__, "torch_version": version("torch")}
        (beside / "provenance.json").write_text(json.dumps(provenance | versions, indent=2, sort_keys=True))
        for name in MODEL_FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).replace(folder / name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def load_pipeline(folder: Path, device: torch.device) -> DDPMPipeline:
    """Load a pipeline whose UNet predicts noise, in evaluation mode.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    needed = ("model_index.json", *IDENTITY_FILES)
    for name in needed:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; a model folder holds {', '.join(needed)}")
    try:
        pipeline = DDPMPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: not a complete diffusers pipeline ({reason})") from error
    pipeline.unet.eval().to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def weights_sha256(folder: Path) -> str:
    """Identity of a saved model: sha256 over its weights and its UNet and scheduler configuration."""
    digest = hashlib.sha256()
    for name in IDENTITY_FILES:
        digest.update(file_sha256(folder / name).encode())
    return digest.hexdigest()
