"""Features along the sampling of generated images equal a slow loop in plain torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_features import settings
from test_training import SCHEDULE, model

from das.diffusion import sampling
from das.diffusion.inputs import PixelInputs
from das.diffusion.process import to_pixels
from das.diffusion.sampling import GenerationSettings
from das.errors import UserError
from das.gradients import journey
from das.noise import generator, image_noise

GENERATION = GenerationSettings(count=19, seed=3, steps=4)
TIMESTEPS = [750, 500, 250, 0]


def generated():
    return PixelInputs(sampling.generate(trained(), range(19), GENERATION))


def trained():
    """A model whose predictions of x0 are partly clipped and partly not."""
    found = model(0)
    found.network.eval()
    with torch.no_grad():
        found.network.conv_out.weight.mul_(3)
    return found


def gradients(chosen, rows=16):
    return journey.journey_gradients(trained(), chosen, GENERATION, rows, torch.float32, "features.mine")


def run(state, indices, chosen, rows=16):
    state.mkdir(exist_ok=True)
    made = gradients(chosen, rows)
    blocks = journey.project_journeys(made, trained(), generated(), indices, GENERATION, state)
    found = np.concatenate([block for [block] in blocks])
    assert found.shape == (len(indices), *made.shapes[0])
    return found


def slow_journey(network, x):
    """(t, predicted x0) of DDIM with eta 0, Song et al. (arXiv 2010.02502), eq. 12, x0 clipped to [-1, 1]."""
    abar = SCHEDULE.alphas_cumprod.double()
    for t, before in zip(TIMESTEPS, [*TIMESTEPS[1:], None], strict=True):
        with torch.no_grad():
            e = network(x, torch.tensor([t])).sample
        x0 = ((x - (1 - abar[t]).sqrt() * e) / abar[t].sqrt()).clamp(-1, 1)
        yield t, x0
        to = torch.ones(()).double() if before is None else abar[before]
        x = to.sqrt() * x0 + (1 - to).sqrt() * e


def own_noise(t, draw, i):
    return image_noise("gradients/gen", 4, t, draw, range(i, i + 1), (1, 8, 8))


def shared_noise(t, draw, i):
    return generator("gradients", 4, t, draw, "shared").standard_normal((1, 1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("output", "noise", "keyed"), [("loss", "own", own_noise), ("mean", "shared", shared_noise)]
)
def test_features_equal_a_float64_loop_over_the_sampling(tmp_path, output, noise, keyed):
    chosen = settings(output=output, projection="none", normalise=output == "mean", noise=noise)
    found = run(tmp_path, range(15, 18), chosen)
    network = trained().network.double()
    for row, i in enumerate(range(15, 18)):
        start = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3000 + i)).double()
        parts = []
        for t, x0 in slow_journey(network, start):
            for draw in range(2):
                eps = torch.from_numpy(keyed(t, draw, i))
                abar = SCHEDULE.alphas_cumprod[t].double()
                e = network(abar.sqrt() * x0 + (1 - abar).sqrt() * eps, torch.tensor([t])).sample
                value = (e - eps).square().mean() if output == "loss" else e.mean()
                gradient = torch.autograd.grad(value, list(network.parameters()))
                flat = [(g.permute(0, 2, 3, 1) if g.dim() == 4 else g).flatten() for g in gradient]
                part = torch.cat(flat)
                parts.append(part / part.norm() if chosen.normalise else part)
        expected = torch.stack(parts).mean(0).numpy()
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_journey_ends_at_the_generated_image():
    inputs = generated()
    predicted = journey.predict_journeys(trained(), inputs, range(2, 9), GENERATION)
    assert predicted.shape == (7, 4, 1, 8, 8)
    last = to_pixels(predicted[:, -1]).astype(int)
    assert np.abs(last - inputs.images[2:9].astype(int)).max() <= 1
    assert not torch.allclose(predicted[:, 0], predicted[:, -1], atol=0.1)


def test_features_do_not_depend_on_shards_or_batches(tmp_path):
    whole = run(tmp_path / "a", range(19), settings())
    parts = [
        run(tmp_path / "b", range(0, 7), settings(), rows=5),
        run(tmp_path / "c", range(7, 19), settings()),
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


def test_features_that_keep_their_timesteps_apart_have_no_journeys():
    with pytest.raises(UserError, match=r"features\.mine\.by_timestep: found true, allowed is false"):
        gradients(replace(settings(), by_timestep=True))


def test_features_with_a_preconditioner_have_no_journeys():
    with pytest.raises(UserError, match=r"features\.mine\.preconditioner: found 'ekfac', allowed is none"):
        gradients(replace(settings(), preconditioner={"name": "ekfac", "damping": 0.1}))
