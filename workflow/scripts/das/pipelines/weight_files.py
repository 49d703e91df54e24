"""Files of a model that somebody has saved: which ones hold its weights, and what their headers say.

Weights lie in one file of safetensors, in one with the name of a variant, such as fp16, or in shards with an
index. Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.data.git_lfs import refuse_pointer_file
from das.errors import UserError

# Names of weights in the older format of each file.
OLDER_NAMES = {
    "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "model.safetensors": "pytorch_model.bin",
    "pytorch_lora_weights.safetensors": "pytorch_lora_weights.bin",
}
# Bytes of a number of each kind that weights are read from; they are computed with in float32.
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# What text encoders of older versions hold besides weights.
_POSITIONS = "position_ids"


@dataclass(frozen=True)
class Header:
    """What a file of safetensors says of itself: the shape of each tensor, and notes."""

    shapes: dict[str, tuple[int, ...]]
    notes: dict[str, str]


def read_json(file: Path, needed: str = "") -> dict[str, Any]:
    """The keys and values in a file of JSON.

    Args:
        needed: what the model's folder holds, for the message where this file is missing.

    Raises:
        UserError: there is no such file, or it holds anything else.
    """
    try:
        refuse_pointer_file(file)
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}{needed}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds {type(content).__name__}, expected keys and values")
    # Of a scheduler in memory, never of a file: diffusers would take defaults for these keys.
    content.pop("_use_default_values", None)
    return content


def weight_files(file: Path) -> list[Path]:
    """The files in which weights lie that are asked for as `file`; of several first their index.

    That is the file itself, else shards of it, else the one variant of it that there is.

    Raises:
        UserError: there is none, or there are several variants.
    """
    if file.is_file():
        return [file]
    folder, stem, suffix = file.parent, file.stem, file.suffix
    indices = [folder / f"{file.name}.index.json", *sorted(folder.glob(f"{file.name}.index.*.json"))]
    for index in indices:
        if index.is_file():
            return [index, *(folder / name for name in sorted(set(_read_index(index).values())))]
    pattern = re.escape(stem) + r"\.[\w-]+" + re.escape(suffix)
    variants = sorted(path for path in folder.glob(f"{stem}.*") if re.fullmatch(pattern, path.name))
    if len(variants) == 1:
        return variants
    if variants:
        names = ", ".join(path.name for path in variants)
        raise UserError(f"{file}: no such file, but {names}; copy the one that is meant to {file.name}")
    if sorted(folder.glob(f"{stem}*-of-*{suffix}")):
        raise UserError(f"{indices[0]}: no such file, which the shards of {file.name} need")
    older = OLDER_NAMES.get(file.name, "-")
    why = f"; {older}, a pickle, is never read: save it with safetensors" * (folder / older).exists()
    raise UserError(f"{file}: no such file{why}")


def _read_index(index: Path) -> dict[str, str]:
    """The file of each tensor, by an index of shards."""
    found = read_json(index).get("weight_map")
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(name, str) and name == Path(name).name for name in found.values())
    ):
        raise UserError(f"{index}: its weight_map names no files of this folder")
    return found


def read_shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in what `weight_files` found; only headers are read.

    Raises:
        UserError: a file is missing, cut short or a pointer, or is not what the index says.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    mapped: dict[str, str] = {}
    for file in files:
        if file.suffix == ".json":
            mapped = _read_index(file)
            continue
        found = read_header(file).shapes
        listed = {name for name, lies in mapped.items() if lies == file.name} if mapped else found.keys()
        for name in sorted(listed ^ found.keys()):
            what = "lacks" if name in listed else "holds"
            raise UserError(f"{file}: {what} {name!r}, and its index says otherwise")
        shapes |= found
    return shapes


def read_header(file: Path, missing: str = "") -> Header:
    """The header of a file of safetensors, which has to fit the file's size.

    Args:
        missing: what to say where there is no such file.

    Raises:
        UserError: it cannot be read, is cut short, or a Git LFS pointer.
    """
    try:
        refuse_pointer_file(file)
        with open(file, "rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > 10**8:
                raise ValueError("its header is too long")
            header = json.loads(opened.read(size))
            notes = dict(header.pop("__metadata__", None) or {})
            found = opened.seek(0, 2)
        shapes = {name: _shape(name, tensor) for name, tensor in sorted(header.items())}
        needed = 8 + size + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if found != needed:
            raise ValueError(f"it has {found} bytes, by its header it needs {needed}")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}{missing}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(f"{file}: not a file of safetensors ({error})") from error
    return Header(shapes, {str(key): str(value) for key, value in notes.items()})


def _shape(name: str, tensor: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a tensor, whose place in the file has to be as large."""
    (start, end), shape, kind = tensor["data_offsets"], tuple(tensor["shape"]), tensor["dtype"]
    if kind not in _BYTES:
        if name.endswith(_POSITIONS):
            return shape
        raise ValueError(f"{name!r} holds {kind}, supported are the numbers {', '.join(_BYTES)}")
    if not 0 <= start <= end or end - start != math.prod(shape) * _BYTES[kind]:
        raise ValueError(f"{name!r} of shape {list(shape)} does not fit its {end - start} bytes")
    return shape
