"""Weights from files of safetensors into a network, compared name by name and shape by shape before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from das.errors import UserError
from das.jobs.artifacts import file_sha256
from das.pipelines.weight_files import read_shapes

# What reading a broken component may raise.
UNREADABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError)

# Attention layers as diffusers named them in its first versions.
_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def build(kind: Any, config: Mapping[str, Any], path: Path, files: Sequence[Path]) -> Any:
    """A network of a diffusers class, in evaluation mode, with weights in float32.

    Args:
        kind: such as UNet2DModel.
        path: where its configuration lies, for messages.
        files: what `das.pipelines.weight_files.weight_files` found.

    Raises:
        UserError: it is no such configuration, or the weights are not whole, not of it or not finite.
    """
    try:
        with init_empty_weights():  # buffers that no file holds are made as ever
            network = kind.from_config(dict(config))
    except UNREADABLE as error:
        raise UserError(f"{path}: not a {kind.__name__} ({' '.join(str(error).split())[:200]})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {_newer(name, expected): shape for name, shape in read_shapes(files).items()}
    require_same(files[-1], found, expected, str(path))
    weights = {
        _newer(name, expected): tensor.to(torch.float32, copy=True)
        for file in files
        if file.suffix != ".json"
        for name, tensor in read_tensors(file)
    }
    network.load_state_dict(weights, assign=True)
    return network.eval()


def read_tensors(file: Path) -> Iterable[tuple[str, Tensor]]:
    """Names and tensors in a file of safetensors, one after another.

    Raises:
        UserError: the file cannot be read, or a number in it is not finite.
    """
    try:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                tensor = opened.get_tensor(name)
                if not torch.isfinite(tensor).all():
                    raise UserError(f"{file}: {name!r} holds numbers that are not finite (NaN or infinity)")
                yield name, tensor
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error


def require_same(
    file: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], of: str
) -> None:
    """Refuse tensors that are not, name by name and shape by shape, those of a network.

    Args:
        of: what says which are expected.

    Raises:
        UserError: one line with the first name that differs, and how many others do.
    """
    both = found.keys() & expected.keys()
    for what, names in (
        ("lacks", expected.keys() - found.keys()),
        ("holds unexpected", found.keys() - expected.keys()),
        ("has another shape of", {name for name in both if found[name] != expected[name]}),
    ):
        if names:
            first = min(names)
            shape = f", {list(found[first])}, expected {list(expected[first])}" if first in both else ""
            others = f" and {len(names) - 1} others" if len(names) > 1 else ""
            raise UserError(f"{file}: {what} {first!r}{shape}{others}; the weights are not of {of}")


def require_loaded(
    loaded: Mapping[str, Any], network: nn.Module, what: str, others: tuple[str, ...] = ()
) -> None:
    """Refuse a network of transformers that was loaded in part, or has weights that are not finite.

    Args:
        loaded: what transformers said of it.
        what: the network, for messages.
        others: beginnings of names in its files that belong to a larger model, of which it is a part.

    Raises:
        UserError: one line with the first weight that is missing, unexpected, of another shape or not finite.
    """
    for kind in ("missing", "mismatched", "unexpected"):
        names = sorted(str(name) for name in loaded[f"{kind}_keys"] or ())
        if kind == "unexpected":
            names = [name for name in names if not name.startswith(others) and "position_ids" not in name]
        if names:
            more = f" and {len(names) - 1} others" if len(names) > 1 else ""
            raise UserError(f"{what}: {kind} in its weights, {names[0]}{more}")
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{what}: {name!r} holds numbers that are not finite (NaN or infinity)")


def _newer(name: str, targets: Mapping[str, Any]) -> str:
    """The name of a tensor in a network of today."""
    renamed = re.sub(r"\.(query|key|value|proj_attn)(?=\.\w+$)", lambda old: f".{_OLDER[old[1]]}", name)
    return renamed if name not in targets and renamed in targets else name


def files_sha256(folder: Path, names: Iterable[str]) -> str:
    """sha256 over the tensors in files of safetensors, and over the bytes of others."""
    digest = hashlib.sha256()
    for name in names:
        hashed = tensors_sha256 if name.endswith(".safetensors") else file_sha256
        digest.update(hashed(folder / name).encode())
    return digest.hexdigest()


def tensors_sha256(path: Path) -> str:
    """sha256 of the tensors in a file of safetensors, whose header may differ for the same tensors."""
    digest = hashlib.sha256()
    try:
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name).contiguous()
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    except SafetensorError as error:
        raise UserError(
            f"{path}: not complete safetensors ({error}); delete the model and make it again"
        ) from error
    return digest.hexdigest()
