"""The published protocols, held against what is built and configured, key by key.

The figures are those of the papers' public code (D-TRAK, arXiv 2311.00500; DAS, arXiv 2410.18639; for
Stable Diffusion 1 CompVis' configuration v1-inference). Counts of parameters do not show a wrong one: with
one head or 32 an attention layer has the same number.
"""

import inspect
import json

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from test_configuration import ROOT, SCHEMA
from torch import nn

from das.diffusion.models.unet import PUBLISHED_SCHEDULE
from das.plan.configuration import load_datasets, load_yaml

KINDS = {"UNet2DModel": UNet2DModel, "UNet2DConditionModel": UNet2DConditionModel}
# Widths of the blocks with attention, heads of each width, eps and padding.
PIXELS = {
    "cifar": {"heads": {256: 1}, "attentions": 6, "eps": 1e-6, "padding": 0, "shift": 1, "flip": False},
    "celeba": {"heads": {512: 64}, "attentions": 6, "eps": 1e-5, "padding": 1, "shift": 0, "flip": True},
}


def built(name):
    """The configuration in a file of config/models/, and its network without weights."""
    config = json.loads((ROOT / f"config/models/{name}.json").read_text())
    with torch.device("meta"):
        return config, KINDS[config["_class_name"]].from_config(config)


def of_kind(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("name", [*PIXELS, "stable-diffusion-1"])
def test_nothing_of_a_published_network_is_left_to_defaults_of_diffusers(name):
    config, network = built(name)
    keys = {*inspect.signature(type(network).__init__).parameters} - {"self"}
    assert config.keys() - {"_class_name"} == keys


@pytest.mark.parametrize("name", PIXELS)
def test_modules_of_pixel_networks_are_the_published_ones(name):
    _, network = built(name)
    facts = PIXELS[name]
    heads = {(layer.to_q.out_features, layer.heads) for layer in of_kind(network, Attention)}
    assert heads == {*facts["heads"].items()}
    assert len(of_kind(network, Attention)) == facts["attentions"]
    assert {norm.eps for norm in of_kind(network, nn.GroupNorm)} == {facts["eps"]}
    assert {norm.num_groups for norm in of_kind(network, nn.GroupNorm)} == {32}
    for layer in of_kind(network, ResnetBlock2D):
        assert isinstance(layer.nonlinearity, nn.SiLU)
        assert layer.dropout.p == 0.1
        assert layer.time_embedding_norm == "scale_shift"
        assert layer.output_scale_factor == 1
    for layer in of_kind(network, Attention):
        assert layer.rescale_output_factor == 1 and layer.residual_connection
        assert layer.dropout == 0
    assert {layer.padding for layer in of_kind(network, Downsample2D)} == {facts["padding"]}
    (embedding,) = of_kind(network, Timesteps)
    assert (embedding.downscale_freq_shift, embedding.flip_sin_to_cos) == (facts["shift"], facts["flip"])
    assert isinstance(network.conv_act, nn.SiLU) and isinstance(network.time_embedding.act, nn.SiLU)
    assert network.class_embedding is None


@pytest.mark.parametrize("name", PIXELS)
def test_attention_lies_where_it_was_published(name):
    config, network = built(name)
    side, found = config["sample_size"], {}
    for block in network.down_blocks:
        found[side] = found.get(side, 0) + len(of_kind(block, Attention))
        side //= 2 if block.downsamplers else 1
    assert found.pop({"cifar": 16, "celeba": 4}[name]) == 2
    assert not any(found.values())


def test_modules_of_stable_diffusion_are_the_published_ones():
    _, network = built("stable-diffusion-1")
    attentions = of_kind(network, Attention)
    assert {layer.heads for layer in attentions} == {8}
    assert {layer.to_q.out_features // layer.heads for layer in attentions} == {40, 80, 160}
    crossing = [layer for layer in attentions if layer.to_k.in_features == 768]
    assert (len(attentions), len(crossing)) == (32, 16)
    assert {len(layer.transformer_blocks) for layer in of_kind(network, Transformer2DModel)} == {1}
    assert {layer.norm.eps for layer in of_kind(network, Transformer2DModel)} == {1e-6}
    for layer in of_kind(network, ResnetBlock2D):
        assert layer.norm1.eps == layer.norm2.eps == 1e-5
        assert layer.time_embedding_norm == "default"
        assert isinstance(layer.nonlinearity, nn.SiLU)
    assert {layer.padding for layer in of_kind(network, Downsample2D)} == {1}
    (embedding,) = of_kind(network, Timesteps)
    assert (embedding.downscale_freq_shift, embedding.flip_sin_to_cos) == (0, True)
    assert sum(p.numel() for p in network.parameters()) == 859_520_964


def test_the_published_schedule_says_all_and_is_linear():
    keys = {*inspect.signature(DDPMScheduler.__init__).parameters} - {"self"}
    assert PUBLISHED_SCHEDULE.keys() == keys
    schedule = DDPMScheduler.from_config(PUBLISHED_SCHEDULE)
    assert torch.equal(schedule.betas, torch.linspace(1e-4, 0.02, 1000))
    assert schedule.config.prediction_type == "epsilon"


PIXEL_RECIPE = {
    "seed": 42,
    "epochs": 200,
    "batch_size": 128,
    "learning_rate": 1e-4,
    "weight_decay": 1e-6,
    "beta1": 0.95,
    "beta2": 0.999,
    "warmup": 0.1,
    "max_grad_norm": 1.0,
    "flip": True,
    "caption_dropout": 0.0,
    "precision": {"cuda": "fp32", "cpu": "fp32"},
}
LORA_RECIPE = PIXEL_RECIPE | {
    "epochs": 100,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "beta1": 0.9,
    "caption_dropout": 0.1,
    "precision": {"cuda": "fp16", "cpu": "fp32"},
}
# Training images and recipe; of ArtBench10 nothing is published but its name, so that it has ArtBench5's.
PROTOCOLS = {
    "cifar2": (5000, PIXEL_RECIPE),
    "cifar10": (50000, PIXEL_RECIPE),
    "celeba": (5000, PIXEL_RECIPE),
    "artbench2": (5000, LORA_RECIPE),
    "artbench5": (12500, LORA_RECIPE),
    "artbench10": (25000, LORA_RECIPE),
}
STYLES = {
    "artbench2": {"ukiyo e": 500, "post impressionism": 500},
    "artbench5": dict.fromkeys(
        ("ukiyo e", "post impressionism", "romanticism", "renaissance", "baroque"), 200
    ),
}


@pytest.fixture(scope="module")
def datasets():
    return load_datasets(ROOT / "config/datasets", {}, SCHEMA)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_settings_are_those_of_the_published_protocol(datasets, name):
    settings, (images, recipe) = datasets[name], PROTOCOLS[name]
    split, lds = settings["split"], settings["lds"]
    assert (split["train"], split["val"], split["seed"]) == (images, 1000, 42)
    assert split["stratify"] == (name != "celeba")
    assert {key: settings["train"][key] for key in recipe} == recipe
    assert settings["train"]["checkpoints"] == [25, 50, 75]
    made = settings["generate"]
    assert (made["count"], made["seed"], made["steps"]) == (1000, 0, 50)
    assert (lds["subsets"], lds["fraction"], lds["seed"], lds["seed_step"]) == (64, 0.5, 42, 2)
    assert (lds["train_seeds"], lds["timesteps"], lds["draws"]) == ([0, 1, 2], 1000, 3)
    assert lds["noise"] == "shared"
    assert (settings["errors"]["timesteps"], settings["gradients"]["timesteps"]) == (1000, 10)
    assert (settings["gradients"]["strategy"], settings["gradients"]["dimension"]) == ("uniform", 4096)
    if name in STYLES:
        prompts = {part["prompt"]: part["count"] for part in made["prompts"]}
        assert prompts == {f"a {style} painting": count for style, count in STYLES[name].items()}
        assert made["prompts"][0]["prompt"] == "a ukiyo e painting"
        assert {style.replace(" ", "_") for style in STYLES[name]} == {*settings["source"]["classes"]}
    if name.startswith("artbench"):
        model = {key: settings["model"][key] for key in ("family", "base", "rank", "dropout")}
        assert model == {"family": "lora", "base": "lambdalabs/miniSD-diffusers", "rank": 128, "dropout": 0.1}
        assert (made["guidance"], settings["source"]["captions"]) == (7.5, "a {label} painting")
    if name == "cifar2":
        assert settings["source"]["classes"] == ["automobile", "horse"]
    if name == "celeba":
        assert (settings["source"]["crop"], settings["source"]["resize"]) == (140, 64)


def test_every_data_set_of_the_paper_is_compared_with_it():
    files = {path.stem for path in (ROOT / "config/datasets").glob("*.yaml")}
    assert files - {"digits", "photographs"} == {*PROTOCOLS}
    networks = {load_yaml(ROOT / f"config/datasets/{name}.yaml")["model"]["unet"] for name in PROTOCOLS}
    assert networks == {f"config/models/{name}.json" for name in (*PIXELS, "stable-diffusion-1")}
