"""Low-rank adapters of the attention layers of a Stable Diffusion 1, trained on latents and captions.

A saved model holds the adapters alone; the base model is found again by its name and compared by its hash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from numpy.typing import NDArray
from peft import LoraConfig
from torch import nn

from das.diffusion.inputs import Inputs, LatentInputs
from das.diffusion.models.base import Model, ddim_of, load_config, require_finite
from das.diffusion.models.stable_diffusion import BaseModel, Encoders
from das.diffusion.models.weights import UNREADABLE, read_tensors
from das.errors import UserError
from das.pipelines import adapters, base_files
from das.pipelines.weight_files import read_header, read_json

WEIGHTS = "pytorch_lora_weights.safetensors"
ADAPTER = "default"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
ENCODERS = ("vae", "text_encoder", "tokenizer")


class Lora(Model):
    """A frozen UNet2DConditionModel with trained adapters.

    `record` is what `resolve` returned: the base model's name and the hash of its UNet, the UNet's
    configuration, rank and dropout, and of the inputs their shape and the hash of their encoders.
    """

    family = "lora"

    def __init__(self, network: nn.Module, scheduler: DDPMScheduler, record: dict[str, Any]) -> None:
        super().__init__(network, scheduler)
        self.record = record

    @classmethod
    def resolve(cls, settings: dict[str, Any], inputs: Inputs) -> dict[str, Any]:  # noqa: D102
        if not isinstance(inputs, LatentInputs):
            raise UserError(f"model.base: {settings['base']} works on latents, but the inputs are pixels")
        base = BaseModel(settings["base"])
        _require_encoders(base, inputs.encoders)
        return {
            "family": cls.family,
            "base": settings["base"],
            "unet_sha256": base.sha256("unet", "scheduler"),
            "unet_path": settings["unet"],
            "unet": load_config(Path(settings["unet"]), UNet2DConditionModel, inputs.shape),
            "rank": settings["rank"],
            "dropout": settings.get("dropout", 0.0),
            "latents": list(inputs.shape),
            "encoders_sha256": inputs.encoders,
        }

    @classmethod
    def initial(cls, resolved: dict[str, Any], seed: int) -> Lora:  # noqa: D102
        base = BaseModel(resolved["base"])
        unet = base.unet(resolved["unet"], resolved["unet_path"])
        # With alpha equal to the rank, what an adapter adds is not scaled.
        config = LoraConfig(
            r=resolved["rank"],
            lora_alpha=resolved["rank"],
            init_lora_weights="gaussian",
            target_modules=TARGETS,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet.add_adapter(config, adapter_name=ADAPTER)
        for module in unet.modules():
            if isinstance(module, Attention):
                module.to_out[1].p = resolved["dropout"]
        return cls(unet, base.scheduler(), resolved)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Lora:  # noqa: D102
        try:
            record: dict[str, Any] = json.loads((folder / "base_model.json").read_text())
            scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: not a complete model ({str(error).splitlines()[0]})") from error
        base = BaseModel(record["base"])
        found = base.sha256("unet", "scheduler")
        if found != record["unet_sha256"]:
            raise UserError(
                f"{folder}: trained on a base model with sha256 {record['unet_sha256']}, "
                f"but {base.folder} has {found}"
            )
        unet = base.unet(record["unet"], record["unet_path"])
        try:
            rank = _adapt(unet, folder / WEIGHTS)
        except UserError as error:
            raise UserError(f"{folder / WEIGHTS}: cannot be read ({error})") from error
        if rank != record["rank"]:
            raise UserError(f"{folder / WEIGHTS}: has rank {rank}, expected rank {record['rank']}")
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(".lora_" in name)
        return cls(unet.eval().to(device), scheduler, record)

    @classmethod
    def take(cls, file: Path, base_name: str, inputs: Inputs) -> Lora:
        """Load adapters that somebody else has trained and diffusers has saved.

        Args:
            file: with `das.pipelines.adapters` layers of one rank, see `das.plan.own.require`.
            inputs: latents of the training images, by the encoders of the same base model.

        Raises:
            UserError: they do not fit the base model, or are scaled.
        """
        base = BaseModel(base_name)
        if not isinstance(inputs, LatentInputs):
            raise UserError(f"model.base: {base_name} works on latents, but the inputs are pixels")
        _require_encoders(base, inputs.encoders)
        path = base.folder / base_files.UNET
        config = read_json(path) | {"sample_size": inputs.shape[1]}
        unet = base.unet(config, str(path))
        rank = _adapt(unet, file)
        record = {
            "family": cls.family,
            "base": base_name,
            "unet_sha256": base.sha256("unet", "scheduler"),
            "unet_path": str(path),
            "unet": config,
            "rank": rank,
            "dropout": 0.0,
            "latents": list(inputs.shape),
            "encoders_sha256": inputs.encoders,
        }
        taken = cls(unet.eval(), base.scheduler(), record)
        _ = taken.schedule  # refuses other predictions
        return taken

    def write(self, folder: Path) -> None:  # noqa: D102
        network: Any = self.network
        network.save_lora_adapter(folder, adapter_name=ADAPTER, weight_name=WEIGHTS)
        self.scheduler.save_pretrained(folder / "scheduler")
        (folder / "base_model.json").write_text(json.dumps(self.record, indent=2, sort_keys=True))

    def require(self, inputs: Inputs, path: Path) -> None:  # noqa: D102
        if not isinstance(inputs, LatentInputs):
            raise UserError(f"{path}: holds pixels, the model works on latents")
        for what, found, expected in (
            ("shape of a latent", list(inputs.shape), self.record["latents"]),
            ("sha256 of the encoders", inputs.encoders, self.record["encoders_sha256"]),
        ):
            if found != expected:
                raise UserError(f"{path}: {what} is {found}, the model was trained with {expected}")

    def sample(  # noqa: D102
        self,
        generators: Sequence[torch.Generator],
        steps: int,
        prompts: Sequence[str] | None,
        guidance: float | None,
    ) -> NDArray[np.float32]:
        if prompts is None or guidance is None:
            raise UserError(
                "generate.prompts, generate.guidance: not set, a text-conditioned model needs them"
            )
        sampler = self._sampler
        size = [self.record["latents"][axis] * sampler.vae_scale_factor for axis in (1, 2)]
        images = sampler(
            list(prompts),
            *size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            eta=0.0,
            generator=list(generators),
            output_type="np",
        ).images
        return require_finite(images)

    def represent(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102
        encoders = Encoders(self._sampler.vae, self._sampler.text_encoder, self._sampler.tokenizer)
        return encoders.encode(images)[:, 0].reshape(len(images), -1)

    @property
    def ddim(self) -> DDIMScheduler:  # noqa: D102
        # The pipeline samples with this offset whatever the configuration says.
        return ddim_of(self.scheduler, steps_offset=1)

    @cached_property
    def _sampler(self) -> Any:
        from diffusers import StableDiffusionPipeline  # here, since loading it takes seconds

        base = BaseModel(self.record["base"])
        _require_encoders(base, self.record["encoders_sha256"])
        encoders = base.encoders(next(self.network.parameters()).device)
        sampler = StableDiffusionPipeline(
            vae=encoders.vae,
            text_encoder=encoders.text_encoder,
            tokenizer=encoders.tokenizer,
            unet=self.network,
            scheduler=self.ddim,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        sampler.set_progress_bar_config(disable=True)
        return sampler


def _require_encoders(base: BaseModel, expected: str) -> None:
    """Refuse a base model whose encoders are not those that made the latents."""
    found = base.sha256(*ENCODERS)
    if found != expected:
        raise UserError(
            f"{base.folder}: autoencoder and text encoder have sha256 {found}, "
            f"the latents were made with {expected}"
        )


def _adapt(unet: UNet2DConditionModel, file: Path) -> int:
    """Add the adapters in a file, compared tensor by tensor with what the UNet then has; their rank.

    Raises:
        UserError: they are not whole, are scaled, or are not of this UNet.
    """
    header = read_header(file)
    rank, parts = adapters.read_rank(file, header), adapters.parse(file, header.shapes)
    layers = {name for name, _ in unet.named_modules()}
    for layer, _ in parts.values():
        if layer not in layers:
            raise UserError(f"{file}: adapts {layer!r}, which the UNet of its base model does not have")
    given = {parts[name]: tensor for name, tensor in read_tensors(file)}
    prefix = "unet" if all(name.startswith("unet.") for name in header.shapes) else None
    try:
        unet.load_lora_adapter(file.parent, prefix=prefix, weight_name=file.name, adapter_name=ADAPTER)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: does not fit its base model ({reason})") from error
    held = {
        (layer, part): getattr(module, part)[ADAPTER].weight
        for layer, module in unet.named_modules()
        if ADAPTER in getattr(module, "lora_A", {})
        for part in ("lora_A", "lora_B")
    }
    for layer, part in sorted(given.keys() | held.keys()):
        one, other = given.get((layer, part)), held.get((layer, part))
        if one is None or other is None or not torch.equal(one.float(), other.float()):
            raise UserError(f"{file}: {part} of layer {layer!r} does not fit its base model")
    for layer, module in unet.named_modules():
        scaling = getattr(module, "scaling", {}).get(ADAPTER, 1)
        if scaling != 1:
            raise UserError(f"{file}: layer {layer!r} has scaling {scaling}, expected scaling 1")
    return rank
