"""UNets on pixels, trained from scratch and saved as diffusers' DDPM pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, UNet2DModel
from numpy.typing import NDArray

from das.diffusion.inputs import Inputs, PixelInputs
from das.diffusion.models.base import Model, load_config, require_finite
from das.diffusion.models.weights import build
from das.errors import UserError
from das.pipelines import pipeline
from das.pipelines.keys import require_schedule, side
from das.pipelines.weight_files import read_json

# Linear betas over 1000 steps and noise prediction, as published (D-TRAK, arXiv 2311.00500); the rest, which
# its code leaves to diffusers, is written out, so that no other version of diffusers changes it.
PUBLISHED_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}


class UNet(Model):
    """A UNet2DModel of which all parameters are trained."""

    family = "unet"

    @classmethod
    def resolve(cls, settings: dict[str, Any], inputs: Inputs) -> dict[str, Any]:  # noqa: D102
        path = Path(settings["unet"])
        if not isinstance(inputs, PixelInputs):
            raise UserError(f"{path}: a UNet on pixels, but the inputs are latents")
        resolved = {"family": cls.family, "unet": load_config(path, UNet2DModel, inputs.shape)}
        if "path" in settings:  # a model of the user's own, retrained on subsets: by its own schedule
            resolved["scheduler"] = read_json(pipeline.schedule_file(settings["path"]))
        return resolved

    @classmethod
    def initial(cls, resolved: dict[str, Any], seed: int) -> UNet:  # noqa: D102
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNet2DModel.from_config(resolved["unet"])
        return cls(network, DDPMScheduler.from_config(resolved.get("scheduler", PUBLISHED_SCHEDULE)))

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> UNet:  # noqa: D102
        try:
            return cls._read(folder, device)
        except UserError as error:
            raise UserError(f"{folder}: not a complete diffusers pipeline ({error})") from error

    @classmethod
    def take(cls, folder: Path) -> UNet:
        """Load the network and the noise schedule of an unconditional pipeline that somebody else has saved.

        Raises:
            UserError: a file cannot be read, is not of the others, or the model does not predict the noise.
        """
        return cls._read(folder, torch.device("cpu"))

    @classmethod
    def _read(cls, folder: Path, device: torch.device) -> UNet:
        network_file, schedule_file = pipeline.network_file(folder), pipeline.schedule_file(folder)
        config, schedule = read_json(network_file), read_json(schedule_file)
        require_schedule(schedule_file, schedule)
        config["sample_size"] = side(config.get("sample_size"))
        network = build(UNet2DModel, config, network_file, pipeline.network_weights(folder))
        return cls(network.to(device), DDPMScheduler.from_config(schedule))

    def write(self, folder: Path) -> None:  # noqa: D102
        DDPMPipeline(unet=self.network, scheduler=self.scheduler).save_pretrained(folder)

    def require(self, inputs: Inputs, path: Path) -> None:  # noqa: D102
        config: Any = self.network.config
        expected = (config.in_channels, config.sample_size, config.sample_size)
        if not isinstance(inputs, PixelInputs) or inputs.shape != expected:
            raise UserError(
                f"{path}: shape of an image is {inputs.shape}, the model works on {expected} pixels"
            )

    def sample(  # noqa: D102
        self,
        generators: Sequence[torch.Generator],
        steps: int,
        prompts: Sequence[str] | None,
        guidance: float | None,
    ) -> NDArray[np.float32]:
        sampler = DDIMPipeline(self.network, self.ddim)
        sampler.set_progress_bar_config(disable=True)
        options = {"eta": 0.0, "num_inference_steps": steps, "output_type": "np"}
        images = sampler(batch_size=len(generators), generator=list(generators), **options).images
        return require_finite(images)

    def represent(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102
        pixels: NDArray[np.float32] = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        return pixels
