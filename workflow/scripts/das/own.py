"""What a user brings along: a trained model, pictures to explain, and how many images there are.

Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.paths import PIPELINE_FILES, base_model_folder
from das.sources.locate import image_files

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


def complete(settings: dict[str, Any]) -> None:
    """Fill in what the settings of a data set leave to the user's files; what is wrong, `require` says."""
    source, split, model = settings["source"], settings["split"], settings["model"]
    if "path" in model:
        model["path"] = base_model_folder(model["path"])
        model |= {"family": "unet", "unet": f"{model['path']}/{NETWORK}"}
        settings["train"]["checkpoints"] = []
    if "folder" in settings["queries"]:
        count = len(image_files(settings["queries"]["folder"]))
        settings["generate"] |= {"count": count}
    if "train" not in split and source["kind"] == "folder" and "path" in source:
        split["train"] = _count(Path(source["path"]), source.get("table")) - split["val"]


def _count(folder: Path, table: str | None) -> int:
    """How many images a folder holds, or its table lists; 0 where there is none."""
    if table is None:
        return len(image_files(folder))
    try:
        with open(folder / table, newline="", encoding="utf-8-sig") as file:
            return sum(1 for row in csv.reader(file) if row) - 1
    except (OSError, UnicodeDecodeError, csv.Error):
        return 0


def require(settings: dict[str, Any]) -> None:
    """Refuse what the user brings along and cannot be used.

    Raises:
        UserError: one line with the setting, what was found and what is allowed.
    """
    folder = settings["queries"].get("folder")
    if folder is not None and not settings["generate"]["count"]:
        found = "holds no image" if Path(folder).is_dir() else "is no folder"
        raise UserError(f"queries.folder: {folder!r} {found}, expected PNG, JPEG or WebP images")
    if settings["split"]["train"] < 2:
        found = settings["split"]["train"] + settings["split"]["val"]
        raise UserError(
            f"source.path: {settings['source']['path']!r} has {found} images, of which split.val takes "
            f"{settings['split']['val']}; at least 2 must be left for training"
        )
    if "path" in settings["model"]:
        _require_model(Path(settings["model"]["path"]), settings["source"])


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
    if not isinstance(side, int) or source.get("resize", side) != side:
        raise UserError(
            f"{where}: sample_size is {side}, but source.resize is {source.get('resize')}; "
            "square images of the model's size are needed"
        )
    _require_schedule(folder / SCHEDULE, schedule)
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / WEIGHTS).with_suffix(".bin")
        why = f"; {pickled.name}, a pickle, is never read: save it with safetensors" * pickled.exists()
        raise UserError(f"{folder / WEIGHTS}: no such file{why}")


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
