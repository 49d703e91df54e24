"""Low-rank adapters that somebody has saved, compared by their file's header with the UNet that they adapt.

A layer W [out, in] becomes W + B A, with A [rank, in] and B [out, rank]. Imports nothing heavy: the workflow
asks while it plans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.pipelines.weight_files import Header

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
"""The layers of an attention that may be adapted."""

_NAME = re.compile(r"(?:unet\.)?(.+)\.(lora_A|lora_B|lora\.down|lora\.up)\.weight")
# The same layers as diffusers named them before it left adapters to peft.
_OLDER = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.")
_PARTS = {"lora_A": "lora_A", "lora_B": "lora_B", "lora.down": "lora_A", "lora.up": "lora_B"}
# Of adapters of text encoders and transformers, and of files of other programs.
_FOREIGN = ("text_encoder", "transformer.", "lora_", "base_model.")
# Key of the notes under which diffusers saves what peft has to know.
_NOTES = "lora_adapter_metadata"
# Of these notes, what changes what an adapter adds, and the values that add B A and nothing else.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "use_rslora": (False, None),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "bias": ("none", None),
    "modules_to_save": ([], None),
    "fan_in_fan_out": (False, None),
    "layer_replication": ([], None),
    "peft_type": ("LORA", None),
    "use_qalora": (False, None),
    "target_parameters": ([], None),
    "trainable_token_indices": ([], None),
    # Others change the base model's own weights.
    "init_lora_weights": (True, False, "gaussian", None),
}


# Of UNet2DConditionModel, where a configuration leaves them out.
_DEFAULTS: dict[str, Any] = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 1280,
    "only_cross_attention": False,
}


def attention_layers(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The projections of all attentions of a UNet2DConditionModel, in its order, and their widths (in, out).

    Args:
        config: of the UNet, whose values `das.pipelines.keys.BASE_UNET_KEYS` takes.

    Raises:
        ValueError: a list of the configuration is not as long as there are blocks.
    """
    settings = _DEFAULTS | {key: value for key, value in config.items() if key in _DEFAULTS}
    widths = settings["block_out_channels"]
    levels = range(len(widths))
    layers, depths, seen, crossed, down, up = (
        _per_level(settings[key], levels)
        for key in (
            *(
                "layers_per_block",
                "transformer_layers_per_block",
                "cross_attention_dim",
                "only_cross_attention",
            ),
            *("down_block_types", "up_block_types"),
        )
    )
    blocks = [(f"down_blocks.{i}", down[i], i, layers[i], crossed[i]) for i in levels]
    blocks.append(("mid_block", "CrossAttn", levels[-1], 1, False))
    for i, level in enumerate(reversed(levels)):
        blocks.append((f"up_blocks.{i}", up[i], level, layers[level] + 1, crossed[level]))
    found = {}
    for block, kind, level, attentions, only_crossed in blocks:
        if not kind.startswith("CrossAttn"):
            continue
        width, caption = widths[level], seen[level]
        for attention in range(attentions):
            for depth in range(depths[level]):
                place = f"{block}.attentions.{attention}.transformer_blocks.{depth}"
                for name, source in (("attn1", caption if only_crossed else width), ("attn2", caption)):
                    for projection in PROJECTIONS:
                        inputs = source if projection in ("to_k", "to_v") else width
                        found[f"{place}.{name}.{projection}"] = (inputs, width)
    return found


def _per_level(value: Any, levels: range) -> list[Any]:
    """A value of each level, where one may stand for all."""
    if not isinstance(value, list):
        return [value for _ in levels]
    if len(value) != len(levels):
        raise ValueError(f"{value} has {len(value)} values, block_out_channels {len(levels)}")
    return value


def parse(file: Path, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The layer and the part, lora_A or lora_B, of the tensors in a file of adapters.

    Raises:
        UserError: a tensor is anything but a part of an adapter of a UNet, as diffusers names them.
    """
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        renamed = _OLDER.sub(lambda old: f".{old[1].replace('to_out', 'to_out.0')}.lora.", name)
        matched = _NAME.fullmatch(renamed)
        if name.endswith(".alpha") and not name.startswith(_FOREIGN):
            raise UserError(f"{file}: holds {name!r}, a scale; supported are adapters that are not scaled")
        if name.startswith(_FOREIGN) or matched is None:
            raise UserError(
                f"{file}: holds {name!r}; supported are adapters of the UNet alone, as diffusers saves them"
            )
        layer = matched[1]
        if not layer.endswith(PROJECTIONS):
            raise UserError(f"{file}: adapts {layer!r}, supported are layers {', '.join(PROJECTIONS)}")
        part = (layer, _PARTS[matched[2]])
        if part in found.values():
            raise UserError(f"{file}: holds {part[1]} of layer {layer!r} twice, under two names")
        found[name] = part
    return found


def read_rank(file: Path, header: Header) -> int:
    """The rank of the adapters in a file, which have to be whole, of one rank and not scaled.

    Raises:
        UserError: they are not.
    """
    parts = parse(file, header.shapes)
    shapes = {parts[name]: shape for name, shape in header.shapes.items()}
    for layer, part in shapes:
        other = "lora_B" if part == "lora_A" else "lora_A"
        if (layer, other) not in shapes:
            raise UserError(f"{file}: lacks {other} of layer {layer!r}, of which it has {part}")
    for (layer, part), shape in shapes.items():
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{file}: {part} of layer {layer!r} has shape {list(shape)}, expected a matrix")
    ranks = {shape[0 if part == "lora_A" else 1] for (_, part), shape in shapes.items()}
    if len(ranks) != 1:
        if not ranks:
            raise UserError(f"{file}: holds no adapters")
        found = " and ".join(map(str, sorted(ranks)))
        raise UserError(f"{file}: found rank {found}, supported is one rank for all layers")
    (rank,) = ranks
    _require_unscaled(file, header, rank)
    return rank


def _require_unscaled(file: Path, header: Header, rank: int) -> None:
    """Refuse adapters of which the notes say that they add anything but B A."""
    if _NOTES not in header.notes:
        return  # diffusers then takes an alpha equal to the rank
    try:
        notes = json.loads(header.notes[_NOTES])
        settings = {key.removeprefix("unet."): value for key, value in notes.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file}: the note {_NOTES} in its header is not readable ({error})") from error
    for key, allowed in (("r", (rank,)), ("lora_alpha", (rank,)), *_PLAIN.items()):
        if key in settings and settings[key] not in allowed:
            raise UserError(
                f"{file}: {key} is {settings[key]!r} in its header, of adapters of rank {rank}; supported "
                f"are those that are not scaled, with {key} {allowed[0]!r}"
            )


def require_fit(file: Path, header: Header, base: Path, config: Mapping[str, Any]) -> None:
    """Refuse adapters of layers that a UNet does not have, of other widths, or of some attentions alone.

    Adapters of some projections, such as to_q and to_v, are whole; a projection that is adapted in one
    attention and not in another is what is left of a file that was cut.

    Args:
        base: where the UNet's configuration lies, for messages.

    Raises:
        UserError: one line with the first layer that does not fit.
    """
    try:
        parts, layers = parse(file, header.shapes), attention_layers(config)
    except ValueError as error:
        raise UserError(f"{base}: not a UNet2DConditionModel ({error})") from error
    for name, shape in header.shapes.items():
        layer, part = parts[name]
        if layer not in layers:
            raise UserError(f"{file}: adapts {layer!r}, which the UNet of {base} does not have")
        inputs, outputs = layers[layer]
        found, expected = (shape[1], inputs) if part == "lora_A" else (shape[0], outputs)
        if found != expected:
            raise UserError(
                f"{file}: {part} of layer {layer!r} has shape {list(shape)}, but that layer of {base} has "
                f"{inputs} inputs and {outputs} outputs; the adapters are of another base model"
            )
    adapted = {layer for layer, _ in parts.values()}
    kinds = {_kind(layer) for layer in adapted}
    for layer in layers:
        if _kind(layer) in kinds and layer not in adapted:
            raise UserError(
                f"{file}: lacks layer {layer!r}, though it adapts {_kind(layer)} of others; supported are "
                "adapters of all attentions"
            )


def _kind(layer: str) -> str:
    """Which projection a layer is, of which of the two attentions of its block, such as attn1.to_q."""
    return re.split(r"\.(?=attn\d)", layer)[-1]
