"""Low-rank adapters that plain diffusers has trained and saved are taken as they are, or refused."""

import json
import re

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from test_lora import CPU, base, encoded, inputs

from das.diffusion.models.lora import Lora
from das.diffusion.process import predict_noise
from das.diffusion.sampling import GenerationSettings, generate
from das.errors import UserError
from das.pipelines.pipeline import ADAPTERS
from das.plan import own
from das.plan.configuration import load_datasets
from pictures import image_folder
from workflow.running import ROOT

__all__ = ["base", "encoded", "inputs"]
SCHEMA = ROOT / "workflow/schemas/dataset.schema.yaml"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def adapted(base, targets=TARGETS, rank=2, alpha=2):
    """diffusers' pipeline with random adapters."""
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in pipeline.unet.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)
    return pipeline


def saved(pipeline, folder):
    """As diffusers' training scripts save adapters."""
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / ADAPTERS


@pytest.fixture(scope="module")
def pipeline(base):
    return adapted(base)


@pytest.fixture(scope="module")
def file(pipeline, tmp_path_factory):
    return saved(pipeline, tmp_path_factory.mktemp("adapters"))


@pytest.mark.parametrize("form", ["older names", "oldest names", "names of peft", "without a prefix"])
def test_predictions_are_those_of_diffusers_own_pipeline(base, inputs, pipeline, file, tmp_path, form):
    weights = load_file(file)
    if form == "oldest names":
        weights = {
            re.sub(r"\.(to_\w+)(\.0)?\.lora\.", r".processor.\1_lora.", n): w for n, w in weights.items()
        }
        assert any(name.endswith("attn1.processor.to_out_lora.up.weight") for name in weights)
    elif form != "older names":
        weights = get_peft_model_state_dict(pipeline.unet)
        prefix = "" if form == "without a prefix" else "unet."
        weights = {f"{prefix}{name}": value.contiguous() for name, value in weights.items()}
    save_file(weights, tmp_path / "mine.safetensors")
    own.require(settings(base, tmp_path, tmp_path / "mine.safetensors"))
    taken = Lora.take(tmp_path / "mine.safetensors", str(base), inputs)
    noisy, steps = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4) * 200
    condition = inputs.condition(range(4))
    with torch.no_grad():
        expected = pipeline.unet(noisy, steps, condition).sample
        found = predict_noise(taken.network, noisy, steps, condition)
        plain = StableDiffusionPipeline.from_pretrained(base).unet(noisy, steps, condition).sample
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_what_is_saved_is_the_same_model_and_makes_the_same_picture(base, inputs, pipeline, file, tmp_path):
    Lora.take(file, str(base), inputs).save(tmp_path / "model", {})
    loaded = Lora.load(tmp_path / "model", CPU)
    trained = [name for name, parameter in loaded.network.named_parameters() if parameter.requires_grad]
    assert trained and all(".lora_" in name for name in trained)
    prompts = [{"prompt": "a red painting", "count": 1}]
    found = generate(loaded, range(1), GenerationSettings(1, 0, 3, 2.0, prompts))
    pipeline.scheduler = loaded.ddim
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "eta": 0.0, "output_type": "np"}
    expected = pipeline("a red painting", 32, 32, generator=generator, **options).images
    np.testing.assert_allclose(found, (expected * 255).round(), atol=1)


def settings(base, tmp_path, path):
    folder = tmp_path / "images"
    if not folder.exists():
        image_folder(folder, per_class=4, size=40)
    content = {
        "source": {"kind": "folder", "path": str(folder), "resize": 32, "captions": "a {label}"},
        "model": {"path": str(path), "base": str(base)},
        "generate": {"count": 1, "guidance": 2.0, "prompts": [{"prompt": "a cat", "count": 1}]},
    }
    return load_datasets(tmp_path, {"mine": content}, SCHEMA)["mine"]


def test_settings_are_completed_by_the_file(base, file, tmp_path):
    for path in (file, file.parent):
        found = settings(base, tmp_path, path)
        own.require(found)
        model = found["model"]
        assert (model["family"], model["rank"]) == ("lora", 2)
        assert model["unet"] == f"{base}/unet/config.json"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"text_encoder.layers.0.q_proj.lora_A.weight": (2, 8)},
            r"holds 'text_encoder.layers.0.*of the UNet alone",
        ),
        (
            {"lora_unet_down_blocks_0.lora_down.weight": (2, 8)},
            r"holds 'lora_unet_down_blocks_0.*as diffusers",
        ),
        (
            {"unet.mid_block.ff.net.0.lora_A.weight": (2, 8)},
            r"adapts 'mid_block.ff.net.0', supported are layers to_q",
        ),
        (
            {
                f"unet.mid_block.to_q.{part}.weight": shape
                for part, shape in (("lora_A", (5, 8)), ("lora_B", (8, 5)))
            },
            r"found rank 2 and 5, supported is one rank",
        ),
    ],
)
def test_other_adapters_are_named_before_anything_runs(base, file, tmp_path, changed, message):
    weights = load_file(file) | {name: torch.zeros(shape) for name, shape in changed.items()}
    save_file(weights, tmp_path / "mine.safetensors")
    with pytest.raises(UserError, match=message) as error:
        own.require(settings(base, tmp_path, tmp_path / "mine.safetensors"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_none_of_safetensors_is_named(base, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/pytorch_lora_weights.bin").touch()
    with pytest.raises(
        UserError, match=r"model.path: .*: No such file.*pytorch_lora_weights.bin, a pickle, is never"
    ):
        own.require(settings(base, tmp_path, tmp_path / "mine"))
    (tmp_path / "mine/pytorch_lora_weights.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(UserError, match=r"not a file of safetensors"):
        own.require(settings(base, tmp_path, tmp_path / "mine"))
    header = json.dumps({"a": 7}).encode()
    content = len(header).to_bytes(8, "little") + header
    (tmp_path / "mine/pytorch_lora_weights.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"not a file of safetensors"):
        own.require(settings(base, tmp_path, tmp_path / "mine"))


def test_adapters_that_are_scaled_or_do_not_fit_are_refused(base, inputs, tmp_path):
    scaled = adapted(base, alpha=8)
    scaled.unet.save_lora_adapter(tmp_path / "scaled")
    with pytest.raises(UserError, match=r"lora_alpha is 8 in its header, of adapters of rank 2; supp"):
        Lora.take(tmp_path / "scaled" / ADAPTERS, str(base), inputs)
    weights = {
        name: torch.zeros(value.shape[0] + (".up." in name), value.shape[1])
        for name, value in load_file(saved(adapted(base), tmp_path)).items()
    }
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other.safetensors: does not fit its base model"):
        Lora.take(tmp_path / "other.safetensors", str(base), inputs)
