"""What a user brings along: a trained model, pictures to explain, and how many images there are.

Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.paths import PIPELINE_FILES, base_model_folder
from das.sources.listing import list_images
from das.sources.locate import image_files, locate
from das.sources.tables import read_table

PIPELINES = ("DDPMPipeline", "DDIMPipeline")
# Schedulers whose configuration says all of the forward process, as betas, in the same words.
SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
)
SCHEDULE, NETWORK = "scheduler/scheduler_config.json", "unet/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
# Low-rank adapters, as diffusers saves them, and the layers of Stable Diffusion 1 that they may change.
ADAPTERS = "pytorch_lora_weights.safetensors"
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0")
_ADAPTER = re.compile(r"(?:unet\.)?(.+)\.(lora_A|lora_B|lora\.down|lora\.up)\.weight")
# The same layers as diffusers named them before it left adapters to peft.
_OLDER = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.")
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
            model |= {"family": "unet", "unet": f"{model['path']}/{NETWORK}"}
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
    if "path" in model and "base" in model:
        _require_adapters(adapter_file(model["path"]))
    elif "path" in model:
        _require_model(Path(model["path"]), source)
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


def adapter_file(path: str) -> Path:
    """The file of adapters that `model.path` names, or that lies in the folder of that name."""
    return Path(path) if path.endswith(".safetensors") else Path(path, ADAPTERS)


def _rank(path: str) -> int:
    """The rank of adapters; 0 where they cannot be used."""
    try:
        return _require_adapters(adapter_file(path))
    except UserError:
        return 0


def _require_adapters(file: Path) -> int:
    """The rank of the adapters in a file; only its header is read.

    Raises:
        UserError: there is no such file, or it holds anything but adapters of attention layers, of one rank.
    """
    shapes = _read_shapes(file)
    ranks = set()
    for name, shape in shapes.items():
        renamed = _OLDER.sub(lambda old: f".{old[1].replace('to_out', 'to_out.0')}.lora.", name)
        matched = _ADAPTER.fullmatch(renamed)
        if name.startswith(("text_encoder", "lora_te")) or matched is None:
            raise UserError(
                f"{file}: holds {name!r}; supported are adapters of the UNet alone, as diffusers saves them"
            )
        layer, part = matched.groups()
        if not layer.endswith(ADAPTED):
            raise UserError(f"{file}: adapts {layer!r}, supported are layers {', '.join(ADAPTED)}")
        ranks.add(shape[0] if part in ("lora_A", "lora.down") else shape[1])
    if len(ranks) != 1:
        found = " and ".join(map(str, sorted(ranks))) or "no adapters"
        raise UserError(f"{file}: found rank {found}, supported is one rank for all layers")
    return int(ranks.pop())


def _read_shapes(file: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a file of safetensors, from its header."""
    try:
        with open(file, "rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > 10**8:
                raise ValueError("its header is too long")
            header = json.loads(opened.read(size))
            tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
            found = opened.seek(0, os.SEEK_END)
        needed = 8 + size + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        if found != needed:
            raise ValueError(f"it has {found} bytes, by its header it needs {needed}")
        return {name: tensor["shape"] for name, tensor in tensors.items()}
    except OSError as error:
        pickled = file.with_suffix(".bin")
        why = f"; {pickled.name}, a pickle, is never read" * pickled.exists()
        raise UserError(
            f"model.path: {file}: {error.strerror}, expected a file of safetensors{why}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a file of safetensors ({error})") from error


def _require_model(folder: Path, source: dict[str, Any]) -> None:
    _require_folder(str(folder))
    pipeline = _read(folder, "model_index.json").get("_class_name")
    if pipeline not in PIPELINES:
        raise UserError(
            f"model.path: {str(folder)!r} is a {pipeline}, supported are {' and '.join(PIPELINES)} "
            "with a UNet2DModel"
        )
    network, schedule = _read(folder, NETWORK), _read(folder, SCHEDULE)
    where = folder / NETWORK
    if network.get("_class_name") != "UNet2DModel":
        raise UserError(f"{where}: is a {network.get('_class_name')}, supported is UNet2DModel")
    for key in ("class_embed_type", "num_class_embeds"):
        if network.get(key) is not None:
            raise UserError(
                f"{where}: {key} is {network[key]!r}: the model is class-conditional, supported are "
                "unconditional ones"
            )
    seen, predicted, side = (network.get(key) for key in ("in_channels", "out_channels", "sample_size"))
    if seen is None or seen != predicted:
        raise UserError(
            f"{where}: out_channels is {predicted}, in_channels {seen}, expected are two equal numbers; "
            "a learned variance is not supported"
        )
    channels = source.get("channels", 3)
    if source["kind"] == "folder" and seen != channels:
        raise UserError(
            f"{where}: in_channels is {seen}, but images have {channels} channels; set source.channels"
        )
    if not isinstance(side, int):
        raise UserError(f"{where}: sample_size is {side}, expected the side of the model's square images")
    if source.get("resize", side) != side:
        raise UserError(
            f"{where}: sample_size is {side}, but source.resize is {source.get('resize')}; "
            "square images of the model's size are needed"
        )
    _require_schedule(folder / SCHEDULE, schedule)
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / WEIGHTS).with_suffix(".bin")
        why = f"; {pickled.name}, a pickle, is never read: save it with safetensors" * pickled.exists()
        raise UserError(f"{folder / WEIGHTS}: no such file{why}")
    _read_shapes(folder / WEIGHTS)


def _require_schedule(path: Path, schedule: dict[str, Any]) -> None:
    found = schedule.get("_class_name")
    if found not in SCHEDULERS:
        raise UserError(f"{path}: is a {found}, supported are {', '.join(SCHEDULERS)}")
    prediction = schedule.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise UserError(f"{path}: prediction_type is {prediction!r}, supported is 'epsilon'")


def read_network(folder: str) -> dict[str, Any]:
    """The configuration of a model's network.

    Raises:
        UserError: there is none.
    """
    found = base_model_folder(folder)
    _require_folder(found)
    return _read(Path(found), NETWORK)


def _require_folder(folder: str) -> None:
    if Path(folder).is_dir():
        return
    downloaded = re.fullmatch(r"data/models/([\w.-]+?)--([\w.-]+)", folder)
    if downloaded:
        name = "/".join(downloaded.groups())
        raise UserError(
            f"model.path: no folder {name!r}, nor {folder!r} from the Hugging Face hub; to download it run "
            f"`.venv/bin/python workflow/scripts/fetch_base_model.py --pipeline {name}`"
        )
    raise UserError(f"model.path: no folder {folder!r}, expected a diffusers pipeline")


def _read(folder: Path, name: str) -> dict[str, Any]:
    """A file of JSON in a model's folder."""
    try:
        content = json.loads((folder / name).read_text())
    except OSError as error:
        raise UserError(
            f"{folder / name}: {error.strerror}; a model's folder holds {', '.join(PIPELINE_FILES)}"
        ) from error
    except ValueError as error:
        raise UserError(f"{folder / name}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{folder / name}: holds {type(content).__name__}, expected keys and values")
    return content
