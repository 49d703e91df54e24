"""Stable Diffusion 1 as a base model: a folder in diffusers' format, of which nothing is trained.

Weights are read from safetensors alone; `workflow/scripts/fetch_base_model.py` converts older files once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from das.diffusion.models.weights import UNREADABLE, build, require_loaded
from das.diffusion.process import to_model_space
from das.errors import UserError
from das.jobs.artifacts import file_sha256
from das.pipelines import base_files
from das.pipelines.families import BASE_MODEL_FILES, base_model_folder
from das.pipelines.weight_files import read_json

# Its warnings are about parts that are not used here, such as processors of images.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


class BaseModel:
    """A base model's folder, with every file that is needed in place.

    Attributes:
        folder: where it lies.

    Raises:
        UserError: the folder or a file is missing, or it is another kind of pipeline.
    """

    def __init__(self, base: str) -> None:
        self.folder = Path(base_model_folder(base))
        if not self.folder.is_dir():
            raise UserError(
                f"model.base: no folder {str(self.folder)!r}; expected is a Stable Diffusion 1 model in "
                "diffusers' format, or the name of one on the Hugging Face hub"
            )
        self._files = base_files.require_base(self.folder)

    def sha256(self, *components: str) -> str:
        """Identity of some components: sha256 over their files, in the order of `BASE_MODEL_FILES`."""
        digest = hashlib.sha256()
        for name in BASE_MODEL_FILES:
            if name.split("/")[0] in components:
                for file in self._files[name]:
                    digest.update(file_sha256(file).encode())
        return digest.hexdigest()

    def unet(self, config: dict[str, Any], config_path: str) -> UNet2DConditionModel:
        """The UNet, frozen.

        Args:
            config: the architecture that it must have, up to the size of its inputs.
            config_path: where that stands, for messages.

        Raises:
            UserError: it has another architecture.
        """
        path = self.folder / base_files.UNET
        unet: UNet2DConditionModel = build(
            UNet2DConditionModel,
            read_json(path),
            path,
            self._files[base_files.UNET_WEIGHTS],
        )
        with torch.device("meta"):
            expected = UNet2DConditionModel.from_config(config)
        shapes, wanted = (
            {name: tuple(p.shape) for name, p in network.named_parameters()} for network in (unet, expected)
        )
        for name in sorted(shapes.keys() | wanted.keys()):
            if shapes.get(name) != wanted.get(name):
                raise UserError(
                    f"model.base: {self.folder} is of another architecture than {config_path}: parameter "
                    f"{name} has shape {shapes.get(name)}, expected {wanted.get(name)}"
                )
        return unet.requires_grad_(False)

    def scheduler(self) -> DDPMScheduler:
        """The base model's noise schedule, which must not clip: latents are not bounded."""
        config = read_json(self.folder / base_files.SCHEDULE)
        return DDPMScheduler.from_config(config, clip_sample=False)

    def encoders(self, device: torch.device) -> Encoders:
        """Autoencoder and text encoder."""
        path = self.folder / base_files.AUTOENCODER
        vae = build(AutoencoderKL, read_json(path), path, self._files[base_files.AUTOENCODER_WEIGHTS])
        text = self._text_encoder()
        with self._reading("tokenizer"):
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        return Encoders(vae.to(device), text.eval().to(device), tokenizer)

    def _text_encoder(self) -> Any:
        folder, file = self.folder / "text_encoder", self._files[base_files.TEXT_WEIGHTS][0]
        variant = re.fullmatch(r"model(?:\.safetensors\.index)?\.([\w-]+)\.(?:safetensors|json)", file.name)
        with self._reading("text_encoder"):
            # Weights may be stored in half precision, and would be left so.
            found: Any = CLIPTextModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                variant=variant[1] if variant else None,
                output_loading_info=True,
            )
        text, loaded = found
        require_loaded(loaded, text, f"model.base: {folder}")
        return text

    @contextmanager
    def _reading(self, component: str) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"model.base: {self.folder / component} cannot be read ({reason})") from error


class Encoders:
    """The frozen models between pictures and captions and what the UNet sees of them."""

    def __init__(self, vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.vae, self.text_encoder, self.tokenizer = vae, text_encoder, tokenizer

    @torch.no_grad()
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean and standard deviation of the latents of images [n, H, W, C], scaled: [n, 2, c, h, w]."""
        distribution = self.vae.encode(to_model_space(images).to(self.vae.device)).latent_dist
        both = torch.stack([distribution.mean, distribution.std], dim=1) * self.vae.config.scaling_factor
        return both.float().cpu().numpy()

    @torch.no_grad()
    def embed(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embedded captions, [n, L, D]."""
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0].float().cpu().numpy()
