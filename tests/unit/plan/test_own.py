"""A model, pictures and images of the user's own: completed, or refused with one line."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

from das.data.images import read_images, read_texts
from das.data.prepare import take_images
from das.diffusion.inputs import PixelInputs
from das.diffusion.models.unet import UNet
from das.errors import UserError
from das.jobs import artifacts
from das.pipelines import pipeline
from das.plan import own
from das.plan.configuration import load_datasets, require_counterfactual
from workflow.running import ROOT, UNET

SCHEMA = ROOT / "workflow/schemas/dataset.schema.yaml"


@pytest.fixture
def folder(tmp_path):
    """A folder with images/a/0.png to 5.png, pictures/ and a model saved by plain diffusers."""
    for name, count in (("images/a", 6), ("pictures", 2)):
        (tmp_path / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng(index).integers(0, 256, (10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    torch.manual_seed(0)
    network = UNet2DModel.from_config(UNET | {"in_channels": 3, "out_channels": 3})
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=500)
    DDIMPipeline(network, scheduler).save_pretrained(tmp_path / "model")
    return tmp_path


def settings(folder, **changes):
    content = {
        "source": {"kind": "folder", "path": str(folder / "images"), "resize": 8, "crop": "square"},
        "model": {"path": str(folder / "model")},
        "queries": {"folder": str(folder / "pictures")},
    }
    (folder / "datasets").mkdir(exist_ok=True)
    (folder / "datasets/mine.yaml").write_text(yaml.safe_dump(content | changes))
    return load_datasets(folder / "datasets", {}, SCHEMA)["mine"]


def test_three_sections_are_a_whole_data_set(folder):
    found = settings(folder)
    own.require(found)
    assert found["split"]["train"] == 6
    assert found["generate"]["count"] == 2
    assert found["lds"]["subsets"] == 0
    assert found["train"]["checkpoints"] == []
    assert (found["model"]["family"], found["model"]["unet"]) == ("unet", f"{folder}/model/unet/config.json")


def started(folder, name, *options):
    """What the starter says, and its status."""
    script = ROOT / "workflow/scripts/new_dataset.py"
    (folder / "datasets").mkdir(exist_ok=True)
    command = [sys.executable, script, name, "--folder", "datasets", "--images", "images", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_starter_writes_what_the_model_wants(folder):
    status, said = started(folder, "mine", "--model", "model", "--pictures", "pictures")
    assert status == 0
    assert "snakemake --cores all results/mine/attributions.csv results/mine/report.html" in said
    assert yaml.safe_load((folder / "datasets/mine.yaml").read_text()) == {
        "source": {"kind": "folder", "path": "images", "crop": "square", "resize": 8},
        "model": {"path": "model"},
        "queries": {"folder": "pictures"},
    }
    assert started(folder, "mine", "--model", "model") == (
        1,
        "error: datasets/mine.yaml: is there already; choose another NAME, or edit it\n",
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("my-set", ["--model", "model"], "error: datasets.my-set: name of a data set, allowed are letters"),
        ("mine", ["--model", "none"], "error: model.path: no folder 'none', expected a diffusers pipeline"),
        (
            "mine",
            ["--model", "images"],
            "error: images/unet/config.json: No such file or directory; a model's",
        ),
        ("mine", ["--model", "model", "--pictures", "none"], "error: queries.folder: 'none' is no folder"),
        (
            "mine",
            ["--model", "model", "--images", "none"],
            "error: source.path: no file or folder 'none', expected a folder of images",
        ),
    ],
)
def test_the_starter_refuses_what_cannot_be_used_and_writes_nothing(folder, name, options, message):
    status, said = started(folder, name, *options)
    assert status == 1
    assert said.startswith(message) and said.count("\n") == 1
    assert not list((folder / "datasets").iterdir())


def test_val_is_taken_from_the_images_and_a_table_counts_them(folder):
    assert settings(folder, split={"val": 2})["split"]["train"] == 4
    (folder / "images/list.csv").write_text("path\na/0.png\na/3.png\na/4.png\n")
    source = {"kind": "folder", "path": str(folder / "images"), "resize": 8, "table": "list.csv"}
    assert settings(folder, source=source)["split"]["train"] == 3


def test_the_model_is_taken_with_its_own_schedule(folder):
    taken = UNet.take(folder / "model")
    assert isinstance(taken.scheduler, DDPMScheduler)
    expected = DDIMPipeline.from_pretrained(folder / "model")
    torch.testing.assert_close(taken.schedule.alphas_cumprod, expected.scheduler.alphas_cumprod)
    assert len(taken.schedule) == 500
    weights = expected.unet.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in taken.network.state_dict().items())
    taken.save(folder / "saved", {})
    again = UNet.load(folder / "saved", torch.device("cpu"))
    torch.testing.assert_close(again.schedule.alphas_cumprod, taken.schedule.alphas_cumprod)


def test_pictures_become_queries_of_the_size_of_the_images(folder):
    take_images(folder / "pictures", (8, 8, 1), "mine", folder / "gen.h5")
    images = read_images(folder / "gen.h5")
    assert images.shape == (2, 8, 8, 1)
    assert read_texts(folder / "gen.h5", "paths") == ["0.png", "1.png"]
    with Image.open(folder / "pictures/1.png") as picture:
        square = picture.crop((1, 0, 11, 10)).resize((8, 8), Image.Resampling.BILINEAR)
    assert abs(images[1, :, :, 0].astype(int) - np.asarray(square.convert("L"))).max() <= 1
    with artifacts.read(folder / "gen.h5", "images") as artifact:
        assert artifact.dataset == "mine"


def test_a_name_that_is_not_utf8_stays_readable(folder):
    path = folder / "pictures/0.png"
    path.rename(folder / "pictures" / os.fsdecode(b"caf\xe9.png"))
    take_images(folder / "pictures", (8, 8, 3), "mine", folder / "gen.h5")
    assert read_texts(folder / "gen.h5", "paths") == ["1.png", "caf\\udce9.png"]


def test_retrained_models_have_the_schedule_of_the_one_that_was_given(folder):
    inputs = PixelInputs(np.zeros((2, 8, 8, 3), np.uint8))
    initial = UNet.initial(UNet.resolve(settings(folder)["model"], inputs), seed=1)
    expected = UNet.take(folder / "model").schedule
    torch.testing.assert_close(initial.schedule.alphas_cumprod, expected.alphas_cumprod)


def test_weights_of_another_network_are_refused(folder):
    path = folder / "model/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(UserError, match=r"lacks 'conv_in.bias' and \d+ others; the weights are not of"):
        UNet.take(folder / "model")
    name = next(iter(tensors))
    save_file(tensors | {"surplus": tensors[name].clone()}, path)
    with pytest.raises(UserError, match=r"holds unexpected 'surplus'; the weights are not"):
        UNet.take(folder / "model")


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (
            "model_index",
            {"_class_name": "LDMPipeline"},
            r"is a LDMPipeline, supported are DDPMPipeline and DDIM",
        ),
        (
            "unet/config",
            {"_class_name": "UNet1DModel"},
            r"config.json: _class_name is 'UNet1DModel', supported is 'UNet2DModel'",
        ),
        ("unet/config", {"num_class_embeds": 10}, r"num_class_embeds is 10: the model is class-conditional"),
        ("unet/config", {"class_embed_type": "timestep"}, r"class-conditional, supported are unconditional"),
        (
            "unet/config",
            {"out_channels": 6},
            r"out_channels is 6, in_channels 3, expected are two equal numbers",
        ),
        (
            "unet/config",
            {"in_channels": 1, "out_channels": 1},
            r"in_channels is 1, but images have 3 channels",
        ),
        ("unet/config", {"sample_size": 16}, r"sample_size is 16, but source.resize is 8"),
        ("unet/config", {"sample_size": None}, r"config.json: sample_size is None, expected the side of"),
        (
            "scheduler/scheduler_config",
            {"prediction_type": "v_prediction"},
            r"'v_prediction', supported is 'eps",
        ),
        (
            "scheduler/scheduler_config",
            {"_class_name": "ScoreSdeVeScheduler"},
            r"ScoreSdeVeScheduler', supported",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_a_model_that_is_not_supported_is_named(folder, file, values, message):
    edit(folder / f"model/{file}.json", **values)
    with pytest.raises(UserError, match=message) as caught:
        own.require(settings(folder))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_are_named(folder):
    found = settings(folder)
    weights = folder / "model/unet/diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for content, message in (
        (b"", r"safetensors: not a file of safetensors \(Expecting value"),
        (whole[:-1], rf"it has {len(whole) - 1} bytes, by its header it needs {len(whole)}"),
    ):
        weights.write_bytes(content)
        with pytest.raises(UserError, match=message):
            own.require(found)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(
        UserError, match=r"no such file; diffusion_pytorch_model.bin, a pickle, is never read"
    ):
        own.require(found)
    (folder / "model/model_index.json").write_text("{")
    with pytest.raises(UserError, match=r"model_index.json: not a readable JSON file"):
        own.require(found)
    (folder / "model/model_index.json").unlink()
    with pytest.raises(
        UserError, match=r"model_index.json: No such file or directory; a model's folder holds"
    ):
        own.require(found)
    other = copy.deepcopy(found)
    other["model"]["path"] = "nowhere"
    with pytest.raises(UserError, match=r"model.path: no folder 'nowhere', expected a diffusers pipeline"):
        own.require(other)


def test_a_model_that_is_not_trained_here_has_no_counterfactual(folder):
    for section in ({}, {"counterfactual": {"queries": 1, "images": 1}}):
        found = settings(folder, **section)
        with pytest.raises(UserError, match=r"mine: counterfactual: not possible with model.path: only a"):
            require_counterfactual(found, "mine")


def test_the_name_of_a_model_on_the_hub_is_where_it_is_downloaded_to(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = settings(folder, model={"path": "someone/tiny"})
    assert found["model"]["path"] == "data/models/someone--tiny"
    with pytest.raises(UserError, match=r"no folder 'someone/tiny', nor .* --pipeline someone/tiny`"):
        own.require(found)
    (folder / "data/models").mkdir(parents=True)
    (folder / "model").rename(folder / "data/models/someone--tiny")
    own.require(found)
    assert pipeline.read_network("someone/tiny")["sample_size"] == 8


def test_a_folder_without_pictures_or_images_is_named(folder):
    (folder / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"queries.folder: '.*empty' holds no image, expected PNG, JPEG or WebP"
    ):
        own.require(settings(folder, queries={"folder": str(folder / "empty")}))
    with pytest.raises(UserError, match=r"queries.folder: 'nowhere' is no folder"):
        own.require(settings(folder, queries={"folder": "nowhere"}))
    with pytest.raises(UserError, match=r"has 6 PNG, .* of which split.val takes 5; at least 2 must be left"):
        own.require(settings(folder, split={"val": 5}))
    empty = {"kind": "folder", "path": str(folder / "empty"), "crop": "square", "resize": 8}
    with pytest.raises(UserError, match=r"empty' has 0 PNG, JPEG or WebP images; at least 2 must be left"):
        own.require(settings(folder, source=empty))
    with pytest.raises(UserError, match=r"source.path: no file or folder 'nowhere', expected a folder of"):
        own.require(settings(folder, source=empty | {"path": "nowhere"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"path": "m", "family": "unet"}}, r"model.family: model.path takes its place, remove it"),
        ({"generate": {"count": 3}}, r"generate.count: queries.folder takes its place, remove it"),
        ({"generate": {"steps": 10}}, r"generate.steps: queries.folder takes its place, remove it"),
        ({"train": {"checkpoints": [50]}}, r"train.checkpoints: model.path takes its place, remove it"),
        ({"ensemble": {"seeds": [1]}}, r"ensemble.seeds: a model of your own \(model.path\) has none"),
        ({"lds": {"subsets": 8}}, r"train: required key 'epochs', 'batch_size', 'learning_rate' is"),
        (
            {"lds": {"subsets": 3}},
            r"lds.subsets: found 3, allowed is 8 to 1000 subsets of .*, or 0",
        ),
        (
            {"lds": {"subsets": 8}, "train": {"epochs": 1, "batch_size": 2, "learning_rate": 0.1}},
            r"split.val: found 0, but lds measures losses of held-out images too",
        ),
        (
            {"retrain": {"subsets": 8}},
            r"train: required key 'epochs', 'batch_size', 'learning_rate' is missing",
        ),
        (
            {"source": {"kind": "folder", "path": "images", "classes": ["a"]}},
            r"split: required key 'train' is missing",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_named(folder, changes, message):
    with pytest.raises(UserError, match=message):
        settings(folder, **changes)


def test_a_pipeline_of_ddpm_is_taken_too(folder):
    network = UNet2DModel.from_config(UNET)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(folder / "other")
    source = {"kind": "folder", "path": str(folder / "images"), "resize": 8, "channels": 1}
    own.require(settings(folder, model={"path": str(folder / "other")}, source=source))
    assert len(UNet.take(folder / "other").schedule) == 1000
