"""Where the files of a model of the user's own lie, and what they are read as."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.pipelines import base_files
from das.pipelines.families import PIPELINE_FILES, base_model_folder
from das.pipelines.keys import side
from das.pipelines.weight_files import read_json, weight_files

PIPELINES = ("DDPMPipeline", "DDIMPipeline")
INDEX = "model_index.json"
SCHEDULE, NETWORK = "scheduler/scheduler_config.json", "unet/config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
# Low-rank adapters, as diffusers saves them.
ADAPTERS = "pytorch_lora_weights.safetensors"


def adapter_file(path: str) -> Path:
    """The file of adapters that `model.path` names, or that lies in the folder of that name."""
    return Path(path) if path.endswith(".safetensors") else Path(path, ADAPTERS)


def network_file(folder: str | Path) -> Path:
    """The file that configures a pipeline's UNet, in its subfolder or, as in the first ones, at the root."""
    return _place(Path(folder), NETWORK)


def schedule_file(folder: str | Path) -> Path:
    """The configuration of a pipeline's noise schedule, likewise."""
    return _place(Path(folder), SCHEDULE)


def _place(folder: Path, name: str) -> Path:
    flat = folder / Path(name).name
    return flat if flat.is_file() and not (folder / name).exists() else folder / name


def network_weights(folder: str | Path) -> list[Path]:
    """The files of the weights of a pipeline's network: see `das.pipelines.weight_files.weight_files`."""
    return weight_files(network_file(folder).with_name(WEIGHTS))


def model_files(model: dict[str, Any]) -> list[str]:
    """All files that are read of a model of the user's own, besides those of the base model of adapters.

    Args:
        model: the section of that name of a data set's settings.

    Raises:
        UserError: it has no weights.
    """
    if "base" in model:
        return [str(adapter_file(model["path"]))]
    folder = model["path"]
    return [str(file) for file in (network_file(folder), schedule_file(folder), *network_weights(folder))]


def base_model_files(model: dict[str, Any]) -> list[str]:
    """All files that are read of a base model; none where there is none, or it is not downloaded yet."""
    folder = Path(base_model_folder(model["base"])) if "base" in model else None
    if folder is None or not (folder / INDEX).exists():
        return []
    return [str(file) for files in base_files.base_files(folder).values() for file in files]


def read_index(folder: Path) -> dict[str, Any]:
    """The index of an unconditional pipeline.

    Raises:
        UserError: there is none, or it is of another kind.
    """
    index = read_file(folder / INDEX)
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise UserError(
            f"model.path: {str(folder)!r} is a {pipeline or 'pipeline of no name'}, supported are "
            f"{' and '.join(PIPELINES)} with a UNet2DModel"
        )
    return index


def read_network(folder: str) -> dict[str, Any]:
    """The configuration of a model's network, its sample_size one number where it is two equal ones.

    Raises:
        UserError: there is none.
    """
    found = base_model_folder(folder)
    require_folder(found)
    network = read_file(network_file(found))
    return network | {"sample_size": side(network.get("sample_size"))}


def require_folder(folder: str) -> None:
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


def read_file(file: Path) -> dict[str, Any]:
    """A file of JSON in a model's folder."""
    return read_json(file, f"; a model's folder holds {', '.join(PIPELINE_FILES)}")
