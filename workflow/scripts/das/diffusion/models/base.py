"""What a family of diffusion models is: everything that its module has to provide."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils.logging import disable_progress_bar
from numpy.typing import NDArray
from torch import nn

from das import __version__
from das.diffusion.inputs import Inputs
from das.diffusion.process import Schedule
from das.errors import UserError
from das.pipelines.families import FAMILIES
from das.pipelines.keys import side
from das.pipelines.weight_files import read_json

disable_progress_bar()


class Model(ABC):
    """A diffusion model in memory.

    Attributes:
        network: predicts the noise, see `das.diffusion.process.predict_noise`. The parameters that are
            trained, and of which gradients are taken, require a gradient; frozen ones do not.
        scheduler: the noise schedule that it was trained with.
    """

    family: ClassVar[str]

    def __init__(self, network: nn.Module, scheduler: DDPMScheduler) -> None:
        self.network = network
        self.scheduler = scheduler

    @property
    def schedule(self) -> Schedule:
        """The forward process."""
        return Schedule.of(self.scheduler)

    @property
    def ddim(self) -> DDIMScheduler:
        """The scheduler with which images are sampled."""
        return ddim_of(self.scheduler)

    @classmethod
    @abstractmethod
    def resolve(cls, settings: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
        """The section `model` of a data set with the content of files in place of their names.

        What it returns decides, with a seed, what `initial` makes.

        Raises:
            UserError: a file is missing or broken, or the model does not fit the inputs.
        """

    @classmethod
    @abstractmethod
    def initial(cls, resolved: dict[str, Any], seed: int) -> Model:
        """The model before training, which depends on what `resolve` returned and the seed alone."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, device: torch.device) -> Model:
        """Load what `save` saved, in evaluation mode.

        Raises:
            UserError: a file cannot be read, or the files do not belong together.
        """

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the family's files in diffusers' format into a new folder."""

    @abstractmethod
    def require(self, inputs: Inputs, path: Path) -> None:
        """Refuse inputs, read from `path`, that are not of the space in which this model works."""

    @abstractmethod
    def sample(
        self,
        generators: Sequence[torch.Generator],
        steps: int,
        prompts: Sequence[str] | None,
        guidance: float | None,
    ) -> NDArray[np.float32]:
        """Images [n, H, W, C] in [0, 1] by DDIM with eta 0, one for each generator and prompt."""

    @abstractmethod
    def represent(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images [n, H, W, C] where their distances are measured: [n, d] pixels in [0, 1], or latents."""

    def save(self, folder: Path, provenance: dict[str, Any]) -> None:
        """Save the model, and beside it what it was made from; each file appears whole."""
        beside = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            self.write(beside)
            versions = {"das_version": __version__, "torch_version": version("torch")}
            content = json.dumps(provenance | versions, indent=2, sort_keys=True)
            (beside / "provenance.json").write_text(content)
            place(beside, folder, self.family)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error}") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def place(saved: Path, folder: Path, family: str) -> None:
    """Move the files of a saved model to where another one may have been."""
    for name in FAMILIES[family].files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (saved / name).replace(folder / name)
    for name in {n for each in FAMILIES.values() for n in each.files} - {*FAMILIES[family].files}:
        (folder / name).unlink(missing_ok=True)  # of a model of another family that was here


def ddim_of(scheduler: DDPMScheduler, **options: Any) -> DDIMScheduler:
    """DDIM on a noise schedule, also on one whose name DDIM does not know.

    Args:
        options: that replace those of the schedule's configuration.
    """
    if scheduler.config.beta_schedule in ("sigmoid", "laplace"):
        betas = {"trained_betas": scheduler.betas.tolist(), "rescale_betas_zero_snr": False}
        options |= betas | {"beta_schedule": "linear"}
    return DDIMScheduler.from_config(scheduler.config, **options)


def require_finite(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The images that were sampled.

    Raises:
        UserError: a number in them is not finite.
    """
    if not np.isfinite(images).all():
        raise UserError(
            "generate: images have pixels that are not finite (NaN): it cannot be sampled from the model's "
            "weights, or from a noise schedule that leaves nothing of the image at one of the steps"
        )
    return images


def load_config(path: Path, kind: type, shape: tuple[int, int, int]) -> dict[str, Any]:
    """A UNet configuration in diffusers' JSON format, checked against inputs of shape (C, H, W).

    Args:
        kind: the diffusers class that it configures.

    Raises:
        UserError: the file cannot be read, is no such configuration, or does not fit the inputs.
    """
    config = read_json(path)
    config["sample_size"] = side(config.get("sample_size"))
    channels, height, width = shape
    found = (config.get("sample_size"), config.get("in_channels"), config.get("out_channels"))
    if found != (height, channels, channels) or height != width:
        raise UserError(
            f"{path}: sample_size, in_channels, out_channels are {found}, "
            f"but the model's inputs are {height}x{width} with {channels} channels"
        )
    try:
        with torch.device("meta"):
            kind.from_config(config)  # type: ignore[attr-defined]
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(f"{path}: not a {kind.__name__} ({' '.join(str(error).split())})") from error
    return config
