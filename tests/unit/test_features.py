"""Features of an image do not depend on the shard, the block or the batch in which they are computed."""

import numpy as np
import pytest
import torch
from test_configuration import ROOT
from test_training import IMAGES, SCHEDULE, network

from das.configuration import load_yaml
from das.diffusion import to_model_space
from das.errors import UserError
from das.features import FeatureSettings, project
from das.inputs import PixelInputs
from das.noise import image_noise
from das.outputs import OUTPUT_FUNCTIONS

MANY = np.concatenate([IMAGES, IMAGES[::-1]])  # 42: more than two blocks


def settings(**changes):
    standard = {
        "output": "mean",
        "normalise": True,
        "timesteps": 3,
        "strategy": "uniform",
        "draws": 2,
        "seed": 4,
        "projection": "count-sketch",
        "dimension": 96,
        "projection_seed": 0,
    }
    return FeatureSettings(**(standard | changes))


def run(state, indices, chosen=None, rows=16, unet=None):
    unet = unet or network(0)
    chosen = chosen or settings()
    dimension, blocks = project(
        unet, SCHEDULE, PixelInputs(MANY), indices, chosen, split="train", rows=rows, state=state
    )
    found = np.concatenate(list(blocks))
    assert found.shape == (len(indices), dimension)
    return found


def test_features_do_not_depend_on_shards_or_batches(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "a", range(42))
    scale = np.abs(whole).max()
    parts = np.concatenate(
        [run(tmp_path / "b", range(0, 21), rows=5), run(tmp_path / "c", range(21, 42), rows=64)]
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5 * scale)


def test_features_equal_a_float64_loop_over_timesteps_and_draws(tmp_path):
    """The whole path, from stored pixels and keyed noise to the mean of normalised gradients."""
    chosen = settings(projection="none")
    unet = network(0)
    found = run(tmp_path, range(17, 19), chosen, unet=unet)
    double = network(0).double()
    for row, i in enumerate(range(17, 19)):
        image, gradients = to_model_space(MANY[i : i + 1]).double(), []
        for t in (0, 333, 666):
            for draw in range(2):
                noise = torch.from_numpy(
                    image_noise("gradients/train", 4, t, draw, range(i, i + 1), (1, 8, 8))
                ).double()
                abar = SCHEDULE.alphas_cumprod[t].double()
                noisy = abar.sqrt() * image + (1 - abar).sqrt() * noise
                double.zero_grad()
                double(noisy, torch.tensor([t])).sample.mean().backward()
                parts = [
                    (p.grad.permute(0, 2, 3, 1) if p.dim() == 4 else p.grad).flatten()
                    for p in double.parameters()
                ]
                gradient = torch.cat(parts)
                gradients.append(gradient / gradient.norm())
        expected = torch.stack(gradients).mean(0).numpy()
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-6)


def test_another_split_has_other_noise(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    unet = network(0)
    train = run(tmp_path / "a", range(4), unet=unet)
    _, blocks = project(
        unet, SCHEDULE, PixelInputs(MANY), range(4), settings(), split="val", rows=16, state=tmp_path / "b"
    )
    assert not np.allclose(train, np.concatenate(list(blocks)))


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    unet = network(0)
    with torch.no_grad():
        unet.conv_out.weight.fill_(torch.nan)
    with pytest.raises(UserError, match=r"train, images 16 and on: .*not finite"):
        run(tmp_path, range(16, 20), unet=unet)


def test_every_output_function_of_the_schema_is_there():
    schema = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    named = schema["properties"]["features"]["additionalProperties"]["properties"]["output"]["enum"]
    assert set(named) == set(OUTPUT_FUNCTIONS)
