"""Adapters of a Stable Diffusion, saved by diffusers: pictures by prompts, and what mattered for them."""

import h5py
import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from safetensors.torch import load_file

import tiny_sd
from das.pipelines.pipeline import ADAPTERS
from pictures import image_folder
from workflow.running import Workflow, overwrite_one_byte

TARGETS = ("results/mine/attributions.csv", "results/mine/report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("adapters"))
    folder = workflow.folder
    tiny_sd.build(folder / "base")
    image_folder(folder / "photographs", per_class=6, size=40)
    unet = StableDiffusionPipeline.from_pretrained(folder / "base").unet
    layers = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=layers, init_lora_weights=False))
    unet.save_lora_adapter(folder / "adapters", weight_name=ADAPTERS)
    prompts = [{"prompt": "a photo of a cat", "count": 2}, {"prompt": "a photo of a dog", "count": 1}]
    workflow.config["datasets"] = {
        "mine": {
            "source": {"kind": "folder", "path": "photographs", "crop": "square", "resize": 32}
            | {"captions": "a photo of a {label}"},
            "model": {"path": "adapters", "base": "base"},
            "generate": {"count": 3, "steps": 2, "guidance": 2.0, "prompts": prompts},
            "gradients": {"timesteps": 2, "dimension": 64},
        }
    }
    workflow.config["attributions"] = {"count": 3}
    workflow.config["report"] = {"most": 3}
    workflow.make(*TARGETS)
    return workflow


def test_pictures_of_prompts_are_attributed_and_nothing_is_trained(finished):
    results = finished.folder / "results/mine"
    table = pd.read_csv(results / "attributions.csv")
    assert len(table) == 3 * 3
    assert table.groupby("query").query_caption.first().tolist() == ["a photo of a cat"] * 2 + [
        "a photo of a dog"
    ]
    assert (table.caption == "a photo of a " + table.label.astype(str)).all()
    given = load_file(finished.folder / "adapters" / ADAPTERS)
    taken = load_file(results / "model" / ADAPTERS)
    assert given.keys() == taken.keys()
    assert all((given[name] == taken[name]).all() for name in given)
    with h5py.File(results / "images/gen.h5") as file:
        assert file["images"].shape == (3, 32, 32, 3)
    page = (results / "report.html").read_text()
    assert "a photo of a dog" in page
    assert "not known" in page  # how long the training of the model took


def test_other_adapters_take_images_and_latents_as_they_are(finished, tmp_path):
    assert finished.planned(*TARGETS) == {}
    workflow = finished.copy(tmp_path)
    file = tmp_path / "adapters" / ADAPTERS
    file.rename(tmp_path / "mine.safetensors")
    workflow.config["datasets"]["mine"]["model"]["path"] = "mine.safetensors"
    plan = workflow.planned(*TARGETS)
    assert plan["take_adapters"] == 1
    assert plan["encode_latents"] == 1  # of the new pictures
    assert not {"prepare_images", "train_model"} & plan.keys()


@pytest.mark.parametrize("name", ["vae/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"])
def test_a_base_model_of_the_same_size_and_date_is_noticed(finished, tmp_path, name):
    workflow = finished.copy(tmp_path)
    overwrite_one_byte(tmp_path / "base" / name)
    assert "encode_latents" in workflow.planned(*TARGETS)


def test_pictures_of_ones_own_have_no_prompt_and_are_refused(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    workflow.config["datasets"]["mine"] |= {"queries": {"folder": "photographs"}}
    del workflow.config["datasets"]["mine"]["generate"]
    done = workflow.run(TARGETS[0])
    assert done.returncode == 1
    assert "queries.folder: not supported with low-rank adapters, use generate.prompts" in done.stdout
