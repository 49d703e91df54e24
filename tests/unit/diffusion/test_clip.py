"""CLIP's embeddings are those of transformers' model on images prepared by CLIP's recipe."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

import tiny_sd
from das.diffusion.clip import Clip
from das.errors import UserError

CPU = torch.device("cpu")
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd.build_clip(tmp_path_factory.mktemp("clip"))


def images(n, size, channels):
    return np.random.default_rng(0).integers(0, 256, (n, *size, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_embeddings_are_the_models_of_resized_and_standardised_images(folder, channels):
    pictures = images(3, (48, 40), channels)
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    for picture, embedding in zip(pictures, Clip(folder, CPU).embed(pictures), strict=True):
        rgb = Image.fromarray(np.broadcast_to(picture, (48, 40, 3)).copy())
        resized = rgb.resize((32, int(32 * 48 / 40)), Image.Resampling.BICUBIC)  # the shorter edge to 32
        top = (resized.height - 32) // 2
        pixels = (np.asarray(resized.crop((0, top, 32, top + 32))) / 255 - MEAN) / STD
        with torch.no_grad():
            expected = model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]).image_embeds[0]
        np.testing.assert_allclose(embedding, expected, atol=1e-4)


def test_embeddings_do_not_depend_on_the_batch(folder, monkeypatch):
    pictures = images(5, (8, 8), 1)
    clip = Clip(folder, CPU)
    together = clip.embed(pictures)
    monkeypatch.setattr("das.diffusion.clip.IMAGES_PER_BATCH", 2)
    np.testing.assert_allclose(clip.embed(pictures), together, atol=1e-5)


def test_another_model_or_preparation_has_another_identity(folder, tmp_path):
    other = tiny_sd.build_clip(tmp_path / "other", seed=1)
    prepared = tmp_path / "prepared"
    shutil.copytree(folder, prepared)
    settings = json.loads((prepared / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.5, 0.5, 0.5]
    (prepared / "preprocessor_config.json").write_text(json.dumps(settings))
    assert len({Clip(path, CPU).sha256 for path in (folder, other, prepared)}) == 3


def test_folders_that_hold_no_clip_model_are_refused(folder, tmp_path):
    broken = tmp_path / "broken"
    with pytest.raises(UserError, match=r"clip\.model: no file '.*config\.json', a CLIP model has"):
        Clip(broken, CPU)
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"missing in its weights, visual_projection\.weight"):
        Clip(broken, CPU)
    (broken / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"clip\.model: .*broken cannot be read"):
        Clip(broken, CPU)
