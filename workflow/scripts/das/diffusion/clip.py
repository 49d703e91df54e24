"""CLIP's image embeddings (arXiv 2103.00020), by which the methods clip_dot and clip_cos compare images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from das.data.git_lfs import refuse_pointer_file
from das.diffusion.models.weights import UNREADABLE, files_sha256, require_loaded
from das.errors import UserError
from das.pipelines.families import CLIP_FILES

IMAGES_PER_BATCH = 64


class Clip:
    """CLIP's image encoder and the preparation of images that goes with it.

    Args:
        folder: in transformers' format, with the files `das.pipelines.families.CLIP_FILES`.

    Attributes:
        sha256: identity of model and preparation.

    Raises:
        UserError: a file is missing, or they hold no CLIP model.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        for name in CLIP_FILES:
            if not (folder / name).is_file():
                raise UserError(
                    f"clip.model: no file {str(folder / name)!r}, a CLIP model has {', '.join(CLIP_FILES)}"
                )
            refuse_pointer_file(folder / name)
        try:
            self._processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except UNREADABLE as error:
            raise UserError(f"clip.model: {folder} cannot be read: {str(error).splitlines()[0]}") from error
        model, loading = loaded
        rest_of_clip = ("text_model.", "text_projection", "logit_scale")
        require_loaded(loading, model, f"clip.model: {folder}", rest_of_clip)
        self._model = model.to(device).eval()
        self.sha256 = files_sha256(folder, CLIP_FILES)

    @torch.no_grad()
    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings float32 [n, e] of images uint8 [n, H, W, C], C 1 or 3, before they are normalised."""
        parts = []
        for start in range(0, len(images), IMAGES_PER_BATCH):
            chosen = images[start : start + IMAGES_PER_BATCH]
            pictures = [Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x).convert("RGB") for x in chosen]
            pixels = self._processor(pictures, return_tensors="pt")["pixel_values"]
            parts.append(self._model(pixels.to(self._model.device)).image_embeds.float().cpu().numpy())
        return np.concatenate(parts)
