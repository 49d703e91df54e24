"""Stable Diffusion 1 as a base model: the files that are read of its folder, and what they have to say.

Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

from pathlib import Path

from das.data.git_lfs import refuse_pointer_file
from das.errors import UserError
from das.pipelines.families import BASE_MODEL_FILES
from das.pipelines.keys import AUTOENCODER_KEYS, BASE_UNET_KEYS, require_keys, require_schedule
from das.pipelines.weight_files import OLDER_NAMES, read_json, read_shapes, weight_files

INDEX = "model_index.json"
SCHEDULE, UNET, AUTOENCODER = "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"
UNET_WEIGHTS, AUTOENCODER_WEIGHTS, TEXT_WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


def base_files(folder: Path) -> dict[str, list[Path]]:
    """The files of a base model that are read, by their names in `BASE_MODEL_FILES`.

    Raises:
        UserError: one is missing, or is a Git LFS pointer.
    """
    found = {}
    for name in BASE_MODEL_FILES:
        file = folder / name
        older = file.with_name(OLDER_NAMES.get(file.name, "-"))
        if file.is_file():
            found[name] = [file]
        elif file.suffix == ".safetensors" and not older.is_file():
            found[name] = weight_files(file)
        else:
            why = f", needed are {', '.join(BASE_MODEL_FILES)}"
            if older.is_file():
                why = (
                    f" but {older.name}, whose pickles are not read; convert it with "
                    f"`python workflow/scripts/fetch_base_model.py --convert {folder}`"
                )
            raise UserError(f"model.base: {folder} has no {name}{why}")
        for read in found[name]:
            refuse_pointer_file(read)
    return found


def require_base(folder: Path) -> dict[str, list[Path]]:
    """Refuse a base model that is not whole, or is of another kind; otherwise its `base_files`.

    Raises:
        UserError: one line with the file and what is supported.
    """
    files = base_files(folder)
    kind = read_json(folder / INDEX).get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise UserError(f"model.base: {folder} is a {kind}, supported is StableDiffusionPipeline")
    require_schedule(folder / SCHEDULE, read_json(folder / SCHEDULE))
    for name, expected, keys in (
        (UNET, "UNet2DConditionModel", BASE_UNET_KEYS),
        (AUTOENCODER, "AutoencoderKL", AUTOENCODER_KEYS),
    ):
        config = read_json(folder / name)
        if config.get("_class_name", expected) != expected:
            raise UserError(f"{folder / name}: is a {config['_class_name']}, supported is {expected}")
        require_keys(folder / name, config, keys)
    for name, read in files.items():
        if name.endswith(".safetensors"):
            read_shapes(read)
    return files
