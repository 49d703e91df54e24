"""What a user brings along: a trained model, pictures to explain, and how many images there are.

Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from das.data.sources.listing import list_images
from das.data.sources.locate import image_files, locate
from das.data.sources.tables import read_table
from das.errors import UserError
from das.pipelines import adapters, base_files
from das.pipelines.families import FAMILIES, base_model_folder
from das.pipelines.keys import BASE_UNET_KEYS, UNET_KEYS, require_keys, require_schedule, side
from das.pipelines.pipeline import (
    INDEX,
    NETWORK,
    adapter_file,
    network_file,
    network_weights,
    read_file,
    read_index,
    require_folder,
    schedule_file,
)
from das.pipelines.weight_files import Header, read_header, read_json, read_shapes

# The UNet of Stable Diffusion 1, where a base model has not been downloaded yet.
STABLE_DIFFUSION = "config/models/stable-diffusion-1.json"


def complete(settings: dict[str, Any]) -> None:
    """Fill in what the settings of a data set leave to the user's files; what is wrong, `require` says."""
    source, split, model = settings["source"], settings["split"], settings["model"]
    for part, key in ((source, "path"), (model, "path"), (model, "base"), (settings["queries"], "folder")):
        if key in part:
            part[key] = os.path.normpath(part[key])  # without the slash that completion of names leaves
    if "path" in model:
        if "base" in model:
            unet = f"{base_model_folder(model['base'])}/{NETWORK}"
            model |= {"family": "lora", "unet": unet if Path(unet).exists() else STABLE_DIFFUSION}
            model["rank"] = _rank(model["path"])
        else:
            model["path"] = base_model_folder(model["path"])
            model |= {"family": "unet", "unet": str(network_file(model["path"]))}
        settings["train"]["checkpoints"] = []
    if "folder" in settings["queries"]:
        count = _count(Path(settings["queries"]["folder"]), None)
        settings["generate"] |= {"count": count}
    if "train" not in split and source["kind"] == "folder" and "path" in source:
        split["train"] = _count(Path(source["path"]), source.get("table")) - split["val"]


def _count(folder: Path, table: str | None) -> int:
    """How many images a folder holds, or its table lists; 0 where that cannot be told."""
    try:
        return sum(1 for _ in (image_files(folder) if table is None else read_table(folder / table, ())[1]))
    except UserError:
        return 0


def require(settings: dict[str, Any]) -> None:
    """Refuse what the user brings along and cannot be used.

    Raises:
        UserError: one line with the setting, what was found and what is allowed.
    """
    model, source, split = settings["model"], settings["source"], settings["split"]
    if "base" in model:
        _require_base(model)
    elif "path" in model:
        _require_model(Path(model["path"]), settings)
    unet = Path(model["unet"])
    if unet.exists():  # a key with a typing error would be read over
        require_keys(unet, read_json(unet), BASE_UNET_KEYS if FAMILIES[model["family"]].latent else UNET_KEYS)
    if source["kind"] == "folder":
        locate("folder", source["path"], source.get("table"))
        list_images(source["path"], source.get("table"), source.get("captions"))
    if split["train"] < 2:
        found, held_out = split["train"] + split["val"], f", of which split.val takes {split['val']}"
        raise UserError(
            f"source.path: {source['path']!r} has {found} PNG, JPEG or WebP images"
            f"{held_out * bool(split['val'])}; at least 2 must be left for training"
        )
    folder = settings["queries"].get("folder")
    if folder is not None and not image_files(folder):
        found = "holds no image" if Path(folder).is_dir() else "is no folder"
        raise UserError(f"queries.folder: {folder!r} {found}, expected PNG, JPEG or WebP images")


def _rank(path: str) -> int:
    """The rank of adapters; 0 where they cannot be used."""
    try:
        file = adapter_file(path)
        return adapters.read_rank(file, _read_adapters(file))
    except UserError:
        return 0


def _read_adapters(file: Path) -> Header:
    older = file.with_suffix(".bin")
    why = f"; {older.name}, a pickle, is never read" * older.exists()
    try:
        return read_header(file, f", expected a file of safetensors{why}")
    except UserError as error:
        raise UserError(f"model.path: {error}") from error


def _require_base(model: dict[str, Any]) -> None:
    """Refuse a base model, if it is there yet, and adapters that are not of it."""
    folder = Path(base_model_folder(model["base"]))
    if (folder / INDEX).exists():
        base_files.require_base(folder)
    if "path" not in model:
        return
    file, unet = adapter_file(model["path"]), Path(model["unet"])
    header = _read_adapters(file)
    adapters.read_rank(file, header)
    adapters.require_fit(file, header, unet, read_json(unet))


def _require_model(folder: Path, settings: dict[str, Any]) -> None:
    require_folder(str(folder))
    source = settings["source"]
    index, where, schedule = read_index(folder), network_file(folder), schedule_file(folder)
    forward = read_file(schedule)
    require_schedule(schedule, forward)
    _require_index(folder / INDEX, index, forward["_class_name"])
    network = read_file(where)
    if network.get("_class_name") != "UNet2DModel":
        raise UserError(f"{where}: _class_name is {network.get('_class_name')!r}, supported is 'UNet2DModel'")
    for key in ("class_embed_type", "num_class_embeds"):
        if network.get(key) is not None:
            raise UserError(
                f"{where}: {key} is {network[key]!r}: the model is class-conditional, supported are "
                "unconditional ones"
            )
    seen, predicted, width = (network.get(key) for key in ("in_channels", "out_channels", "sample_size"))
    if seen is None or seen != predicted:
        raise UserError(
            f"{where}: out_channels is {predicted}, in_channels {seen}, expected are two equal numbers; "
            "a learned variance is not supported"
        )
    if not isinstance(side(network.get("sample_size")), int):
        raise UserError(f"{where}: sample_size is {width}, expected the side of the model's square images")
    require_keys(where, network, UNET_KEYS)
    channels, width = source.get("channels", 3), side(network.get("sample_size"))
    if source["kind"] == "folder" and seen != channels:
        raise UserError(
            f"{where}: in_channels is {seen}, but images have {channels} channels; set source.channels"
        )
    if source.get("resize", width) != width:
        raise UserError(
            f"{where}: sample_size is {width}, but source.resize is {source.get('resize')}; "
            "square images of the model's size are needed"
        )
    _require_steps(schedule, forward, settings)
    steps, learned = forward.get("num_train_timesteps", 1000), network.get("num_train_timesteps")
    if network.get("time_embedding_type") == "learned" and (learned or 0) < steps:
        raise UserError(f"{where}: num_train_timesteps is {learned}, fewer than the {steps} of {schedule}")
    shapes = read_shapes(network_weights(folder))
    first, width = shapes.get("conv_in.weight"), network.get("block_out_channels", [224])[0]
    if first != (width, seen, 3, 3):
        found = "no conv_in.weight" if first is None else f"conv_in.weight of shape {list(first)}"
        raise UserError(
            f"{network_weights(folder)[-1]}: holds {found}, expected {[width, seen, 3, 3]}; the weights are "
            f"not of {where}"
        )


def _require_steps(path: Path, forward: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse settings that ask for timesteps which a model's noise schedule does not have."""
    steps, generates = forward.get("num_train_timesteps", 1000), "folder" not in settings["queries"]
    asked = {"gradients.timesteps": settings.get("gradients", {}).get("timesteps", 1)}
    if generates:
        asked["generate.steps"] = settings["generate"].get("steps", 1)
    for key, found in asked.items():
        if found > steps:
            raise UserError(
                f"{key}: found {found}, allowed is at most {steps}, num_train_timesteps of {path}"
            )
    spacing = forward.get("timestep_spacing", "leading")
    if generates and forward.get("rescale_betas_zero_snr") and spacing != "leading":
        raise UserError(
            f"{path}: timestep_spacing is {spacing!r}: with rescale_betas_zero_snr no image is left "
            "at the last timestep, where sampling would begin; supported is 'leading'"
        )


def _require_index(path: Path, index: dict[str, Any], scheduler: str) -> None:
    """Refuse components that are not read, and a network or schedule of other classes than the files say."""
    expected = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
    for name, component in index.items():
        if name.startswith("_") or component in (None, [None, None]):
            continue
        if name not in expected:
            raise UserError(f"{path}: has a {name}, supported are pipelines of unet and scheduler alone")
        if component != expected[name]:
            raise UserError(f"{path}: {name} is {component}, but its own file says {expected[name]}")
