"""Adapters that are cut, scaled, of another base model or of another program."""

import json
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from odd_inputs import Row, outcome, rows
from safetensors.torch import save_file

import tiny_sd
from das.diffusion.inputs import LatentInputs
from das.diffusion.models import stable_diffusion
from das.diffusion.models.lora import ENCODERS, Lora
from das.errors import UserError
from das.pipelines import adapters, pipeline
from das.plan import own
from workflow.running import ROOT

RANK = 2
TARGETS = list(adapters.PROJECTIONS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:88dd72b2\nsize 3300000\n"


@cache
def base():
    return tiny_sd.build(Path(tempfile.mkdtemp()) / "base")


def layers_of(config):
    """Widths of the attentions' projections in diffusers' own network."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    return {
        name: (module.in_features, module.out_features)
        for name, module in unet.named_modules()
        if ".attn" in name and name.endswith(adapters.PROJECTIONS)
    }


@cache
def whole():
    """Adapters of all layers of the tiny base model, by the names of today."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, (inputs, outputs) in layers_of(tiny_sd.UNET).items():
        tensors[f"unet.{layer}.lora_A.weight"] = torch.randn(RANK, inputs, generator=generator)
        tensors[f"unet.{layer}.lora_B.weight"] = torch.randn(outputs, RANK, generator=generator)
    return tensors


def written(tensors, **notes):
    def make(folder):
        path = folder / "mine.safetensors"
        found = tensors() if callable(tensors) else tensors
        metadata = {"format": "pt"} | {key: json.dumps(value) for key, value in notes.items()}
        save_file({name: tensor.clone() for name, tensor in found.items()}, path, metadata)
        return path

    return make


def kept(keep):
    """A row's input: the adapters whose names are kept."""
    return written(lambda: {name: tensor for name, tensor in whole().items() if keep(name)})


def added(**tensors):
    return written(lambda: whole() | {name.replace("__", "."): tensor for name, tensor in tensors.items()})


def replaced(old, new):
    """A row's input: other names for the same adapters."""
    return written(lambda: {name.replace(old, new): tensor for name, tensor in whole().items()})


def kohya():
    """The names of another program, with its scales."""
    found = {}
    for name, tensor in whole().items():
        layer, _, part = name.removeprefix("unet.").partition(".lora_")
        stem = f"lora_unet_{layer.replace('.', '_')}"
        found[f"{stem}.lora_{'down' if part[0] == 'A' else 'up'}.weight"] = tensor
        found[f"{stem}.alpha"] = torch.tensor(1.0)
    return found


def noted(**notes):
    """A row's input: what diffusers notes of peft's settings."""
    return written(whole, lora_adapter_metadata={f"unet.{key}": value for key, value in notes.items()})


def of_other_base(config):
    def tensors():
        return {
            name: tensor
            for layer, (inputs, outputs) in layers_of(tiny_sd.UNET | config).items()
            for name, tensor in (
                (f"unet.{layer}.lora_A.weight", torch.ones(RANK, inputs)),
                (f"unet.{layer}.lora_B.weight", torch.ones(outputs, RANK)),
            )
        }

    return written(tensors)


def pointer(folder):
    (folder / "mine.safetensors").write_text(POINTER)
    return folder / "mine.safetensors"


def changed(name, change):
    def tensors():
        found = dict(whole())
        found[name] = change(found[name].clone())
        return found

    return written(tensors)


FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FIRST_BY_NAME = FIRST.replace("to_q", "to_k")
MORE = "unet.mid_block.attentions.3.transformer_blocks.0.attn1.to_q"
ROWS = [
    Row("all layers", written(whole), expected=64),
    Row("some projections of all layers", kept(lambda n: "to_q" in n or "to_v" in n), expected=32),
    Row("one of the two attentions", kept(lambda n: "attn2.to_k" in n), expected=8),
    Row(
        "as noted by peft",
        noted(r=RANK, lora_alpha=RANK, use_rslora=False, alpha_pattern={}, target_modules=TARGETS),
        expected=64,
    ),
    # Cut.
    Row(
        "B alone of some layers",
        kept(lambda n: "to_q.lora_A" not in n),
        ("lacks lora_A of layer", f"'{FIRST}'"),
    ),
    Row(
        "A alone of some layers",
        kept(lambda n: "to_v.lora_B" not in n),
        ("lacks lora_B of layer", "attn1.to_v'"),
    ),
    Row("A alone", kept(lambda n: "lora_A" in n), ("lacks lora_B of layer", f"'{FIRST_BY_NAME}'")),
    Row("B alone", kept(lambda n: "lora_B" in n), ("lacks lora_A of layer", f"'{FIRST_BY_NAME}'")),
    Row(
        "half of the blocks",
        kept(lambda n: "up_blocks" not in n),
        ("lacks layer 'up_blocks.1.attentions.0", "to_q of others"),
    ),
    Row("one layer too few", kept(lambda n: FIRST not in n), (f"lacks layer '{FIRST}'",)),
    Row("nothing", written(dict), ("holds no adapters",)),
    Row("a pointer", pointer, ("mine.safetensors", "Git LFS", "`git lfs pull`")),
    Row("no number", changed(f"unet.{FIRST}.lora_B.weight", lambda t: t * float("nan")), ("not finite",)),
    Row("whole numbers", changed(f"unet.{FIRST}.lora_B.weight", lambda t: t.to(torch.int8)), ("holds I8",)),
    # Of something else.
    Row(
        "a layer that the base lacks",
        written(
            lambda: (
                whole()
                | {f"{MORE}.lora_A.weight": torch.ones(2, 32), f"{MORE}.lora_B.weight": torch.ones(32, 2)}
            )
        ),
        ("adapts 'mid_block.attentions.3", "does not have"),
    ),
    Row(
        "a wider caption",
        of_other_base({"cross_attention_dim": 40}),
        ("attn2.to_k", "[2, 40]", "has 24 inputs and 16 out"),
    ),
    Row(
        "wider layers",
        of_other_base({"block_out_channels": [24, 32]}),
        (FIRST_BY_NAME, "has 16 inputs", "another base"),
    ),
    Row("more layers", of_other_base({"layers_per_block": 2}), ("attentions.1", "does not have")),
    Row("kohya's names", written(kohya), ("holds 'lora_unet_down_blocks_0_", "as diffusers saves them")),
    Row("kohya's prefix", replaced("unet.", "lora_unet_"), ("holds 'lora_unet_down_blocks.0.",)),
    Row("peft's own names", replaced("unet.", "base_model.model."), ("holds 'base_model.model.down",)),
    Row("a transformer", replaced("unet.", "transformer."), ("holds 'transformer.down",)),
    Row("a prefix of ones own", replaced("unet.", "mine."), ("adapts 'mine.down", "does not have")),
    Row(
        "a text encoder too",
        added(text_encoder__layer__q_proj__lora_A__weight=torch.ones(2, 8)),
        ("holds 'text_encoder.",),
    ),
    Row(
        "the same layer twice", added(**{f"{FIRST}.lora.down.weight": torch.ones(2, 16)}), ("lora_A", "twice")
    ),
    Row(
        "a convolution",
        added(**{f"{FIRST}x.conv.lora_A.weight": torch.ones(2, 8, 3, 3)}),
        ("adapts", "supported are layers"),
    ),
    # Scaled.
    Row("alpha noted", noted(r=RANK, lora_alpha=8), ("lora_alpha is 8", "not scaled, with lora_alpha 2")),
    Row("alpha of a layer", added(**{f"unet.{FIRST}.alpha": torch.tensor(1.0)}), ("a scale", "not scaled")),
    Row(
        "alpha of some layers",
        noted(r=RANK, lora_alpha=RANK, alpha_pattern={"to_q": 4}),
        ("alpha_pattern is {'to_q': 4}",),
    ),
    Row(
        "scaled by the root of the rank",
        noted(r=RANK, lora_alpha=RANK, use_rslora=True),
        ("use_rslora is True",),
    ),
    Row(
        "magnitudes besides",
        added(**{f"unet.{FIRST}.lora_magnitude_vector": torch.ones(16)}),
        ("lora_magnitude",),
    ),
    Row(
        "a base that is changed", noted(r=RANK, init_lora_weights="pissa"), ("init_lora_weights is 'pissa'",)
    ),
    Row(
        "a note that is cut",
        written(whole, lora_adapter_metadata=3),
        ("lora_adapter_metadata", "not readable"),
    ),
]
IN_THE_JOB = {"no number"}


def planned(path):
    model = {"path": str(path), "base": str(base())}
    settings = {
        "source": {"kind": "digits"},
        "split": {"train": 4, "val": 0},
        "model": model,
        "queries": {},
        "generate": {"count": 1},
        "train": {},
    }
    own.complete(settings)
    own.require(settings)
    assert pipeline.model_files(model) == [str(path)]
    assert all(Path(file).is_file() for file in pipeline.base_model_files(model))
    return model["rank"]


def taken(path):
    assert planned(path) == RANK
    folder = stable_diffusion.BaseModel(str(base()))
    zeros = torch.zeros(2, 1, 4, 8, 8).numpy()
    inputs = LatentInputs(
        zeros, zeros, torch.zeros(3, 16, 24).numpy(), torch.zeros(2).int().numpy(), folder.sha256(*ENCODERS)
    )
    return Lora.take(path, str(base()), inputs).network


@rows(ROWS)
def test_adapters_are_taken_whole_or_refused(row, tmp_path):
    network = outcome(row, tmp_path, taken)
    if network is None:
        return
    held = {name: tensor for name, tensor in network.named_parameters() if "lora_" in name}
    assert len(held) == row.expected
    for name, tensor in held.items():
        assert torch.equal(tensor, whole()["unet." + name.replace(".default", "")])


@rows([row for row in ROWS if row.refused and row.what not in IN_THE_JOB])
def test_what_planning_can_know_it_says(row, tmp_path):
    outcome(row, tmp_path, planned)


@pytest.mark.parametrize(
    "config",
    [
        tiny_sd.UNET,
        json.loads((ROOT / "config/models/stable-diffusion-1.json").read_text()),
        tiny_sd.UNET
        | {
            "layers_per_block": [1, 2],
            "transformer_layers_per_block": [2, 1],
            "cross_attention_dim": [24, 40],
            "only_cross_attention": [True, False],
            "down_block_types": ["CrossAttnDownBlock2D"] * 2,
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        },
        {"_class_name": "UNet2DConditionModel"},
    ],
    ids=["tiny", "stable diffusion 1", "lists", "defaults"],
)
def test_attention_layers_are_those_that_diffusers_builds(config):
    assert adapters.attention_layers(config) == layers_of(config)


def test_a_list_of_another_length_is_named(tmp_path):
    path = written(whole)(tmp_path)
    header = adapters.Header({}, {})
    with pytest.raises(UserError, match=r"unet: not a UNet2DConditionModel \(\[1\] has 1 values"):
        adapters.require_fit(path, header, Path("unet"), tiny_sd.UNET | {"layers_per_block": [1]})
