"""Models: the published sizes, saved and loaded to the bit, and named by what they compute."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from httpx2 import ConnectError
from peft import LoraConfig
from safetensors.torch import load_file
from test_training import INPUTS, UNET, model

import tiny_sd
from das.diffusion import models
from das.diffusion.inputs import PixelInputs
from das.diffusion.models import base, hub, lora, unet
from das.errors import UserError
from das.pipelines.families import BASE_MODEL_FILES, FAMILIES, PIPELINE_FILES
from das.plan.configuration import load_yaml

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


def published(name):
    """The section model of a data set's file, and the content of the UNet configuration that it names."""
    section = load_yaml(ROOT / f"config/datasets/{name}.yaml")["model"]
    return section, json.loads((ROOT / section["unet"]).read_text())


@pytest.mark.parametrize(
    ("dataset", "parameters"), [("cifar2", 38_306_691), ("cifar10", 38_306_691), ("celeba", 118_793_987)]
)
def test_pixel_models_have_the_published_number_of_parameters(dataset, parameters):
    with torch.device("meta"):
        network = UNet2DModel.from_config(published(dataset)[1])
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("dataset", ["artbench2", "artbench5", "artbench10"])
def test_adapters_have_the_published_number_of_parameters(dataset):
    section, config = published(dataset)
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(config).requires_grad_(False)
        network.add_adapter(LoraConfig(r=section["rank"], target_modules=lora.TARGETS))
    trained = [p for p in network.parameters() if p.requires_grad]
    assert (len(trained), sum(p.numel() for p in trained)) == (256, 25_509_888)


def test_a_model_is_loaded_to_the_bit_and_named_by_its_content(tmp_path):
    first = model(0)
    first.save(tmp_path / "a", {"dataset": "toy"})
    first.save(tmp_path / "b", {"dataset": "other"})
    model(1).save(tmp_path / "c", {"dataset": "toy"})
    loaded = models.load(tmp_path / "a", CPU).network
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    names = [models.weights_sha256(tmp_path / folder) for folder in "abc"]
    assert names[0] == names[1] != names[2]


def test_initial_weights_depend_on_the_seed_alone():
    first = model(0).network.state_dict()
    torch.rand(7)
    assert all(torch.equal(t, first[n]) for n, t in model(0).network.state_dict().items())


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_a_model_cut_short_or_incomplete_is_named(tmp_path, name):
    model(0).save(tmp_path / "a", {})
    file = tmp_path / "a" / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="not a complete diffusers pipeline"):
        models.load(tmp_path / "a", CPU)
    file.unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        models.load(tmp_path / "a", CPU)


def test_a_unet_that_does_not_fit_the_images_is_refused(tmp_path):
    path = tmp_path / "unet.json"
    path.write_text(json.dumps(UNET))
    assert unet.UNet.resolve({"unet": str(path)}, INPUTS)["unet"] == UNET
    with pytest.raises(UserError, match=r"are \(8, 1, 1\), but the model's inputs are 32x32 with 3 channels"):
        base.load_config(path, UNet2DModel, (3, 32, 32))
    path.write_text(json.dumps(UNET | {"up_block_types": ["UpBlock2D", "UpBlock2D"]}))
    with pytest.raises(UserError, match=r"unet\.json: not a UNet2DModel \(Must provide the same number"):
        base.load_config(path, UNet2DModel, (1, 8, 8))
    path.write_text("{")
    with pytest.raises(UserError, match="not a readable JSON file"):
        base.load_config(path, UNet2DModel, (1, 8, 8))


def test_images_that_do_not_fit_a_trained_model_are_refused(tmp_path):
    toy = unet.UNet.initial({"unet": UNET}, 0)
    toy.require(INPUTS, tmp_path / "val.h5")
    larger = PixelInputs(np.zeros((2, 16, 16, 1), np.uint8))
    with pytest.raises(UserError, match=r"val\.h5: shape of an image is \(1, 16, 16\), the model works on"):
        toy.require(larger, tmp_path / "val.h5")


def test_an_unknown_family_is_named():
    with pytest.raises(UserError, match=rf"model\.family: found 'gan', allowed are {', '.join(FAMILIES)}"):
        models.family("gan")


# Base models in the older format


def older(folder):
    """A folder with one component's weights in the older format, as torch.save writes them."""
    (folder / "unet").mkdir(parents=True)
    weights = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    weights["c"] = weights["b"]  # tensors that share memory occur in such files
    torch.save(weights, folder / "unet/diffusion_pytorch_model.bin")
    return weights


def test_older_weights_are_converted_without_change(tmp_path):
    weights = older(tmp_path)
    hub.convert(tmp_path, BASE_MODEL_FILES)
    found = load_file(tmp_path / "unet/diffusion_pytorch_model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[n], weights[n]) for n in weights)


class Payload:
    """Runs code when a plain unpickler reads it."""

    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_that_holds_more_than_tensors_is_not_read(tmp_path, capsys):
    (tmp_path / "unet").mkdir()
    torch.save({"a": Payload()}, tmp_path / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.bin: holds more than tensors"):
        hub.convert(tmp_path, BASE_MODEL_FILES)
    assert "must not run" not in capsys.readouterr().out
    assert not (tmp_path / "unet/diffusion_pytorch_model.safetensors").exists()


def test_a_base_model_from_the_hub_is_fetched_whole(tmp_path, monkeypatch):
    """A hub of one folder, reached through the two calls that the download makes."""
    origin = tiny_sd.build(tmp_path / "origin")
    weights = lora.BaseModel(str(origin)).sha256("unet")
    # One component in the older format.
    file = origin / "vae/diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    # Another in half precision alone.
    file = origin / "text_encoder/model.safetensors"
    file.rename(file.with_name("model.fp16.safetensors"))
    order = []

    class Api:
        def list_repo_files(self, name):
            return [p.relative_to(origin).as_posix() for p in origin.rglob("*") if p.is_file()]

    def download(name, file, local_dir):
        order.append(file)
        (local_dir / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin / file, local_dir / file)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    hub.fetch("someone/tiny", tmp_path / "fetched", BASE_MODEL_FILES, "model.base")
    assert order[-1] == "model_index.json"
    assert len(order) == len(BASE_MODEL_FILES)
    assert lora.BaseModel(str(tmp_path / "fetched")).sha256("unet") == weights
    (origin / "unet/config.json").unlink()
    with pytest.raises(UserError, match=r"someone/tiny on the hub has no unet/config\.json"):
        hub.fetch("someone/tiny", tmp_path / "again", BASE_MODEL_FILES, "model.base")


def test_a_pipeline_of_the_first_kind_is_put_into_folders(tmp_path, monkeypatch):
    """As Google's DDPM models lie on the hub: everything at the root, weights in the older format."""
    torch.manual_seed(0)
    network = UNet2DModel.from_config(UNET)
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path / "saved")
    origin = tmp_path / "origin"
    origin.mkdir()
    shutil.copy(tmp_path / "saved/model_index.json", origin)
    shutil.copy(tmp_path / "saved/unet/config.json", origin)
    shutil.copy(tmp_path / "saved/scheduler/scheduler_config.json", origin)
    torch.save(network.state_dict(), origin / "diffusion_pytorch_model.bin")

    class Api:
        def list_repo_files(self, name):
            return [path.name for path in origin.iterdir()]

    def download(name, file, local_dir):
        local_dir.mkdir(exist_ok=True)
        shutil.copy(origin / file, local_dir / file)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    hub.fetch("someone/tiny", tmp_path / "fetched", PIPELINE_FILES, "model.path")
    found = unet.UNet.take(tmp_path / "fetched").network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch):
    class Api:
        def list_repo_files(self, name):
            raise ConnectError("no route to host")

    monkeypatch.setattr(hub, "HfApi", Api)
    with pytest.raises(
        UserError, match=r"no folder 'someone/tiny', and it cannot be downloaded .*no route"
    ) as e:
        hub.fetch("someone/tiny", tmp_path / "fetched", BASE_MODEL_FILES, "model.base")
    assert "\n" not in str(e.value)
