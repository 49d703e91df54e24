"""Models: the published sizes, saved and loaded to the bit, and named by what they compute."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from test_training import UNET

from das import models
from das.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_cifar_model_has_the_published_number_of_parameters():
    config = json.loads((ROOT / "config/models/cifar.json").read_text())
    with torch.device("meta"):
        unet = UNet2DModel.from_config(config)
    assert sum(p.numel() for p in unet.parameters()) == 38_306_691


def test_a_model_is_loaded_to_the_bit_and_named_by_its_content(tmp_path):
    unet = models.build_unet(UNET, 0)
    models.save_pipeline(tmp_path / "a", unet, {"dataset": "toy"})
    models.save_pipeline(tmp_path / "b", unet, {"dataset": "other"})
    models.save_pipeline(tmp_path / "c", models.build_unet(UNET, 1), {"dataset": "toy"})
    loaded = models.load_pipeline(tmp_path / "a", torch.device("cpu")).unet
    for name, tensor in unet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    names = [models.weights_sha256(tmp_path / folder) for folder in "abc"]
    assert names[0] == names[1] != names[2]


def test_initial_weights_depend_on_the_seed_alone():
    first = models.build_unet(UNET, 0).state_dict()
    torch.rand(7)
    assert all(torch.equal(t, first[n]) for n, t in models.build_unet(UNET, 0).state_dict().items())


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_a_model_cut_short_or_incomplete_is_named(tmp_path, name):
    models.save_pipeline(tmp_path / "a", models.build_unet(UNET, 0), {})
    file = tmp_path / "a" / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="not a complete diffusers pipeline"):
        models.load_pipeline(tmp_path / "a", torch.device("cpu"))
    file.unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        models.load_pipeline(tmp_path / "a", torch.device("cpu"))


def test_a_unet_that_does_not_fit_the_images_is_refused(tmp_path):
    path = tmp_path / "unet.json"
    path.write_text(json.dumps(UNET))
    assert models.load_unet_config(path, (8, 8, 1)) == UNET
    with pytest.raises(UserError, match=r"are \(8, 1, 1\), but the images are 32x32 with 3 channels"):
        models.load_unet_config(path, (32, 32, 3))
    path.write_text(json.dumps(UNET | {"up_block_types": ["UpBlock2D", "UpBlock2D"]}))
    with pytest.raises(UserError, match=r"unet\.json: not a UNet2DModel \(Must provide the same number"):
        models.load_unet_config(path, (8, 8, 1))
    path.write_text("{")
    with pytest.raises(UserError, match="not a readable JSON file"):
        models.load_unet_config(path, (8, 8, 1))
