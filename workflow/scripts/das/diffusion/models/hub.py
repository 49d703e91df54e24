"""Models from the Hugging Face hub, as folders with weights in safetensors.

Older models hold pickled weights. These are never loaded by the workflow: they are converted once, by
torch's reader that builds tensors and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library
from safetensors.torch import save_file

from das.errors import UserError
from das.jobs.artifacts import replacing
from das.pipelines.weight_files import OLDER_NAMES


def fetch(name: str, folder: Path, files: Sequence[str], setting: str) -> None:
    """Download files of a model; the first, which stands for the model, comes last, when all is there.

    Files that have arrived are kept, so that another call goes on where one broke off.

    Args:
        setting: the key of the configuration that names the model.

    Raises:
        UserError: there is no such model, no network, or a file that is needed is missing.
    """
    try:
        offered = set(HfApi().list_repo_files(name))
        for file in (*files[1:], files[0]):
            if file == files[0]:
                convert(folder, files)
            found = next((place for place in _places(Path(file)) if place in offered), None)
            if found is None:
                raise UserError(
                    f"{setting}: {name} on the hub has no {file}; it is not the kind that is needed"
                )
            hf_hub_download(name, found, local_dir=folder)
            target = (folder / file).with_name(Path(found).name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / found).replace(target)
    except (HTTPError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{setting}: no folder {name!r}, and it cannot be downloaded from the Hugging Face hub "
            f"({reason}); place the model's folder by hand and set {setting} to it"
        ) from error


def convert(folder: Path, files: Sequence[str]) -> None:
    """Write safetensors beside weights in the older format, where there are none.

    Raises:
        UserError: a file holds anything but tensors.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for file in files:
        target, older = folder / file, folder / _older(Path(file))
        if target.exists() or older == target or not older.exists():
            continue
        try:
            tensors = torch.load(older, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise UserError(f"{older}: holds more than tensors, or is cut short; it is not read") from error
        with replacing(target) as beside:
            # Copies, because safetensors refuses tensors that share memory.
            save_file({key: t.contiguous().clone() for key, t in tensors.items()}, beside, {"format": "pt"})


def _places(file: Path) -> list[str]:
    """Where a file may lie: in its place, in an older format, in half precision, or at the root as once."""
    half = file.with_name(f"{file.stem}.fp16{file.suffix}")
    return [place.as_posix() for place in (file, _older(file), half)] + [file.name, _older(file).name]


def _older(file: Path) -> Path:
    """Name of a file in the older format; the same where there is no other."""
    return file.with_name(OLDER_NAMES.get(file.name, file.name))
