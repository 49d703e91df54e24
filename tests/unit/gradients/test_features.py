"""Features of an image do not depend on the shard, the block or the batch in which they are computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_configuration import ROOT
from test_training import IMAGES, SCHEDULE, network

from das.diffusion.inputs import PixelInputs
from das.diffusion.process import to_model_space
from das.errors import UserError
from das.gradients.features import FeatureSettings, SplitGradients, project
from das.gradients.hooks import ImageGradients
from das.gradients.output_functions import OUTPUT_FUNCTIONS
from das.noise import generator, image_noise
from das.plan.configuration import load_yaml
from das.plan.work import SPLITS

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


def run(state, indices, chosen=None, rows=16, unet=None, split="train"):
    state.mkdir(exist_ok=True)
    gradients = SplitGradients(unet or network(0), SCHEDULE, chosen or settings(), split=split, rows=rows)
    found = np.concatenate([block for [block] in project(gradients, PixelInputs(MANY), indices, state)])
    assert found.shape == (len(indices), *gradients.shapes[0])
    return found


def together(folder, chosen, indices=range(13, 18)):
    """Features that share a pass, by name; each with a state in a folder of its own."""
    states = [folder / name for name in chosen]
    for state in states:
        state.mkdir(parents=True, exist_ok=True)
    gradients = SplitGradients(network(0), SCHEDULE, *chosen.values(), split="train", rows=7)
    blocks = zip(*project(gradients, PixelInputs(MANY), indices, *states), strict=True)
    return dict(zip(chosen, map(np.concatenate, blocks), strict=True))


# Those that see the same rows.
SHIPPED = {
    name: settings(**{"normalise": False, "dimension": 64} | entry)
    for name, entry in load_yaml(ROOT / "config/config.yaml")["features"].items()
    # Those would see other noise, or other coordinates, in passes of their own.
    if not entry.keys() & {"noise", "preconditioner"}
}


def test_features_are_the_same_to_the_bit_in_company_and_alone(tmp_path):
    found = together(tmp_path, SHIPPED)
    assert len(found) == 6
    for name, chosen in SHIPPED.items():
        alone = run(tmp_path / f"{name} alone", range(13, 18), chosen, rows=7)
        np.testing.assert_array_equal(found[name], alone)


def test_what_one_feature_has_is_not_computed_again_in_other_company(tmp_path, monkeypatch):
    """Killed after a block of the mean and the loss; then the mean goes on with the squared."""
    first, second = (
        {name: SHIPPED[name] for name in names} for names in (["mean", "loss"], ["squared", "mean"])
    )
    expected = together(tmp_path / "whole", second)
    together(tmp_path, first, range(13, 16))
    [part] = (tmp_path / "mean").iterdir()
    np.save(part, np.full((3, 64), 7, np.float32))
    asked = []
    features = ImageGradients.features
    monkeypatch.setattr(
        ImageGradients,
        "features",
        lambda self, wanted, images, *rest: (
            asked.append([(feature.gradient.output, len(images)) for feature in wanted])
            or features(self, wanted, images, *rest)
        ),
    )
    found = together(tmp_path, second)
    squared, mean = "mean-squared-l2-norm", "mean"
    assert asked == 2 * [[(squared, 3)]] + 2 * [[(squared, 2), (mean, 2)]]  # of two draws
    np.testing.assert_array_equal(found["squared"], expected["squared"])
    np.testing.assert_array_equal(found["mean"][3:], expected["mean"][3:])
    assert (found["mean"][:3] == 7).all(), "what was saved is read"


@pytest.mark.parametrize(
    ("other", "message"),
    [({"seed": 5}, r"seed: found 4 and 5"), ({"noise": "shared"}, r"noise: found 'own' and 'shared'")],
)
def test_features_of_other_rows_share_no_pass(other, message):
    with pytest.raises(UserError, match=rf"features\.{message}, allowed is one value in a pass"):
        SplitGradients(network(0), SCHEDULE, settings(), settings(**other), split="val", rows=4)


@pytest.mark.parametrize("noise", ["own", "shared"])
def test_features_do_not_depend_on_shards_or_batches(tmp_path, noise):
    chosen = settings(noise=noise)
    whole = run(tmp_path / "a", range(20), chosen)
    scale = np.abs(whole).max()
    parts = np.concatenate(
        [
            run(tmp_path / "b", range(0, 11), chosen, rows=5),
            run(tmp_path / "c", range(11, 20), chosen, rows=64),
        ]
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5 * scale)


def own_noise(split, t, draw, i, seed=4):
    return image_noise(f"gradients/{split}", seed, t, draw, range(i, i + 1), (1, 8, 8))


def shared_noise(split, t, draw, i, seed=4):
    return generator("gradients", seed, t, draw, "shared").standard_normal((1, 1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(("noise", "keyed"), [("own", own_noise), ("shared", shared_noise)])
def test_features_equal_a_float64_loop_over_timesteps_and_draws(tmp_path, noise, keyed):
    """The whole path, from stored pixels and keyed noise to the mean of normalised gradients.

    Images of two blocks, in batches that end within an image.
    """
    chosen = settings(projection="none", noise=noise)
    unet = network(0)
    found = run(tmp_path, range(15, 17), chosen, unet=unet, rows=2)
    double = network(0).double()
    for row, i in enumerate(range(15, 17)):
        image, gradients = to_model_space(MANY[i : i + 1]).double(), []
        for t in (0, 333, 666):
            for draw in range(2):
                eps = torch.from_numpy(keyed("train", t, draw, i)).double()
                abar = SCHEDULE.alphas_cumprod[t].double()
                noisy = abar.sqrt() * image + (1 - abar).sqrt() * eps
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


@pytest.fixture
def given(monkeypatch):
    """A function that returns the noise of each of two draws, as it is given to the gradients."""

    def record(images, split, **changes):
        found = []

        def features(self, wanted, clean, timesteps, noise, *rest):
            found.append(noise.numpy())
            return [torch.zeros(len(clean), 96)]

        monkeypatch.setattr(ImageGradients, "features", features)
        gradients = SplitGradients(network(0), SCHEDULE, settings(**changes), split=split, rows=4)
        gradients.features(images, to_model_space(MANY[images.start : images.stop]), None, images)
        return np.stack(found)

    return record


def test_own_noise_is_that_of_the_image_in_its_split(given):
    for split in SPLITS:
        expected = [
            [own_noise(split, t, draw, i)[0] for i in range(3, 6) for t in (0, 333, 666)] for draw in range(2)
        ]
        np.testing.assert_array_equal(given(range(3, 6), split), expected)


def test_shared_noise_is_held_once_for_all_images_of_all_splits(given):
    expected = [[shared_noise("any", t, draw, 0)[0] for t in (0, 333, 666)] for draw in range(2)]
    for images, split in [(range(3), "train"), (range(8, 12), "train"), (range(3), "val"), (range(1), "gen")]:
        np.testing.assert_array_equal(given(images, split, noise="shared"), expected)
    other = given(range(3), "train", noise="shared", seed=5)
    assert other.shape == (2, 3, 1, 8, 8)
    # Of two seeds, two draws and three timesteps.
    assert len({each.tobytes() for each in np.concatenate([expected, other]).reshape(12, 64)}) == 12


def test_timesteps_kept_apart_are_the_features_of_each_alone(tmp_path):
    """Of 3 uniform timesteps the first is 0, which is also all that is cumulative of one."""
    apart = run(tmp_path / "a", range(20), settings(by_timestep=True), rows=7)
    assert apart.shape == (20, 3, 96)
    together = run(tmp_path / "b", range(20), rows=7)
    np.testing.assert_allclose(apart.mean(1), together, rtol=1e-4, atol=1e-6)
    first = run(tmp_path / "c", range(20), settings(timesteps=1, strategy="cumulative"), rows=20)
    np.testing.assert_allclose(apart[:, 0], first, rtol=1e-4, atol=1e-6)


def test_weights_of_timesteps_are_the_share_of_the_image(tmp_path):
    apart = run(tmp_path / "a", range(3), settings(by_timestep=True))
    found = run(tmp_path / "b", range(3), settings(timestep_weights="signal"), rows=5)
    abar = np.cumprod(1 - SCHEDULE.betas.double().numpy())[[0, 333, 666]]
    expected = sum(weight * apart[:, t] for t, weight in enumerate(abar)) / sum(abar)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, apart.mean(1), rtol=1e-2)


def test_chosen_parameters_give_their_part_of_all_gradients(tmp_path):
    chosen = settings(projection="none", normalise=False)
    whole = run(tmp_path / "a", range(3), chosen)
    unet = network(0)
    part = run(tmp_path / "b", range(3), replace(chosen, parameters=r"^up_blocks.*\.weight$"), unet=unet)
    start, parts = 0, []
    for name, parameter in unet.named_parameters():
        if name.startswith("up_blocks") and name.endswith(".weight"):
            parts.append(whole[:, start : start + parameter.numel()])
        start += parameter.numel()
    np.testing.assert_allclose(part, np.concatenate(parts, axis=1), rtol=1e-4, atol=1e-7)
    assert all(p.requires_grad and p.grad is None for p in unet.parameters()), "left as it was"


def test_the_norm_is_that_of_the_chosen_parameters(tmp_path):
    found = run(tmp_path, range(2), settings(projection="none", parameters="conv_out", timesteps=1, draws=1))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "nothing",
            r"mine\.parameters: found 'nothing', allowed .* such as conv_in\.weight, .*conv_out\.bias",
        ),
        ("(", r"mine\.parameters: found '\(', not a regular expression \(missing \)"),
    ],
)
def test_parameters_that_do_not_exist_are_refused(expression, message):
    with pytest.raises(UserError, match=message):
        SplitGradients(
            network(0), SCHEDULE, settings(parameters=expression), split="val", rows=4, section="mine"
        )


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    unet = network(0)
    with torch.no_grad():
        unet.conv_out.weight.fill_(torch.nan)
    with pytest.raises(UserError, match=r"train, images 16 and on: .*not finite"):
        run(tmp_path, range(16, 20), unet=unet)


def test_every_output_function_of_the_schema_is_there():
    schema = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    named = schema["$defs"]["output"]["enum"]
    assert set(named) == set(OUTPUT_FUNCTIONS)
