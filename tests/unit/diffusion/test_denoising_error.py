"""Errors are those of a direct evaluation, whatever the batch; generation does not depend on it either."""

import numpy as np
import pytest
import torch
from test_training import IMAGES, INPUTS, SCHEDULE, SCHEDULER, model, network

from das.diffusion import denoising_error, sampling
from das.diffusion.process import choose_timesteps, timestep_weights, to_model_space, to_pixels
from das.diffusion.sampling import GenerationSettings
from das.diffusion.strata import KIND
from das.errors import UserError
from das.jobs import artifacts
from das.noise import image_noise

TIMESTEPS = [0, 250, 999]


def measure(unet, indices, rows=7):
    return denoising_error.denoising_errors(
        unet, SCHEDULE, INPUTS, indices, TIMESTEPS, purpose="errors/train", seed=5, draw=1, rows=rows
    )


def test_errors_equal_a_direct_evaluation_with_diffusers_own_forward_process():
    unet = network(0)
    expected = np.empty((4, 3))
    for row, i in enumerate(range(2, 6)):
        for column, t in enumerate(TIMESTEPS):
            image = torch.from_numpy(IMAGES[i]).permute(2, 0, 1)[None].float() / 127.5 - 1
            noise = torch.from_numpy(image_noise("errors/train", 5, t, 1, range(i, i + 1), (1, 8, 8)))
            timestep = torch.tensor([t])
            with torch.no_grad():
                prediction = unet(SCHEDULER.add_noise(image, noise, timestep), timestep).sample
            expected[row, column] = ((prediction - noise) ** 2).mean()
    np.testing.assert_allclose(measure(unet, range(2, 6)), expected, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_errors_do_not_depend_on_the_batch_or_the_range(rows):
    unet = network(0)
    reference = measure(unet, range(0, 10), 100)
    np.testing.assert_allclose(measure(unet, range(3, 8), rows), reference[3:8], rtol=1e-5)


def losses(folder, path=None, seed=0, **settings):
    """Of images 2 to 5 as held-out queries, in two draws."""
    settings = {"draws": 2, "precision": {"cpu": "fp32", "cuda": "fp32"}} | settings
    toy = model(0)
    toy.network.eval()
    return denoising_error.query_losses(
        toy, INPUTS, range(2, 6), "val", settings, path, seed, 7, folder / "state"
    )


def errors_at(timesteps, draw, seed=0):
    return denoising_error.denoising_errors(
        network(0),
        SCHEDULE,
        INPUTS,
        range(2, 6),
        timesteps,
        purpose="losses/val",
        seed=seed,
        draw=draw,
        rows=7,
    )


def test_losses_at_uniform_timesteps_are_plain_means(tmp_path):
    expected = [errors_at([0, 333, 666], draw).mean(axis=1, dtype=np.float64) for draw in (0, 1)]
    np.testing.assert_array_equal(losses(tmp_path, timesteps=3), np.float32(expected))
    other = [errors_at([0, 333, 666], draw, seed=1).mean(axis=1, dtype=np.float64) for draw in (0, 1)]
    np.testing.assert_array_equal(losses(tmp_path / "other", seed=1, timesteps=3), np.float32(other))
    assert (np.float32(other) != np.float32(expected)).all()


def test_losses_at_chosen_timesteps_are_weighted_means_in_each_draw(tmp_path):
    chosen, weights = np.array([[0, 7, 999], [3, 250, 998]]), np.array([0.1, 0.2, 0.7])
    path = tmp_path / "timesteps.h5"
    with artifacts.write(path, KIND, "toy", {}) as file:
        file["timesteps"], file["weights"], file["spread"] = chosen, weights, np.ones(1000)
    found = losses(tmp_path, path)
    expected = np.zeros((2, 4))
    for draw in (0, 1):
        for t, weight in zip(chosen[draw].tolist(), weights, strict=True):
            expected[draw] += weight * errors_at([t], draw)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(UserError, match=r"array 'timesteps' has shape \(2, 3\), expected \(1, 'any'\)"):
        losses(tmp_path, path, draws=1)
    with artifacts.write(path, KIND, "toy", {}) as file:
        file["timesteps"], file["weights"], file["spread"] = chosen, weights, np.ones(1500)
    with pytest.raises(UserError, match=r"timesteps\.h5: of 1500 timesteps, but the model has 1000"):
        losses(tmp_path, path)


def test_no_more_rows_run_at_once_than_the_setting_says():
    unet, sizes = network(0), []
    unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    measure(unet, range(0, 10), 4)
    assert max(sizes) == 4
    assert sum(sizes) == 10 * len(TIMESTEPS)


def test_an_error_that_is_not_finite_is_named():
    unet = network(0)
    with torch.no_grad():
        unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="error of image 2 at timestep 0 is not finite"):
        measure(unet, range(2, 6))


def test_generated_images_do_not_depend_on_the_batch():
    settings = GenerationSettings(count=4, seed=1, steps=5)
    toy = model(0)
    toy.network.eval()
    together = sampling.generate(toy, range(0, 4), settings)
    alone = sampling.generate(toy, range(2, 3), settings)
    assert together.shape == (4, 8, 8, 1)
    assert np.abs(together[2].astype(int) - alone[0].astype(int)).max() <= 1  # rounding to whole numbers
    assert not np.array_equal(together[0], together[1])


def test_pixels_survive_the_way_to_the_model_and_back():
    np.testing.assert_array_equal(to_pixels(to_model_space(IMAGES)), IMAGES)
    beyond = torch.tensor([[[[-1.1, 1.1, 3.0]]]])
    assert to_pixels(beyond).ravel().tolist() == [0, 255, 255]


def test_timesteps_are_the_published_ones():
    assert choose_timesteps("uniform", 10) == list(range(0, 1000, 100))
    found = choose_timesteps("uniform", 3)
    assert found == [0, 333, 666]
    assert all(type(timestep) is int for timestep in found)
    assert choose_timesteps("uniform", 1) == [0]
    assert choose_timesteps("cumulative", 10) == list(range(10))
    with pytest.raises(UserError, match="found 1001, allowed is 1 to 1000"):
        choose_timesteps("uniform", 1001)


def test_weights_of_timesteps_are_equal_or_shares_of_the_image_and_sum_to_one():
    timesteps = [0, 400, 999]
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[timesteps]
    uniform, signal = (timestep_weights(kind, SCHEDULE, timesteps) for kind in ("uniform", "signal"))
    np.testing.assert_allclose(uniform, [1 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(signal, abar / abar.sum(), rtol=1e-4)
