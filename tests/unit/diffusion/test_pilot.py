"""What a pilot says of models is what loops say, and the reliability it predicts that of all choices."""

import itertools

import numpy as np
import pytest

from das.diffusion.pilot import KIND, Differences, read_pilot
from das.diffusion.strata import cut_strata
from das.errors import UserError
from das.jobs import artifacts

STEPS, DRAWS = 9, 2


def write(path, timesteps, **errors):
    """A pilot of errors [M, 2, Q, timesteps] of both splits."""
    named = {"models": [f"subset-{m:02d}_seed-0" for m in range(len(errors["val"]))], "steps": STEPS}
    with artifacts.write(path, KIND, "toy", {}, **named) as file:
        file["timesteps"] = np.array(timesteps)
        for split, error in errors.items():
            file[split] = error.astype(np.float32)
    return path


@pytest.fixture
def errors():
    """Of 4 models, which differ most at early timesteps, on 3 queries of each split at 5 timesteps."""
    random, falling = np.random.default_rng(2), np.array([3, 2, 1, 0.5, 0.2])
    of_model = random.normal(size=(4, 1, 1, 1)) * falling
    return {
        s: (5 + of_model + falling * random.normal(size=(4, 2, 3, 5)) / 4).round(3) for s in ("val", "gen")
    }


def test_differences_are_those_of_a_loop_and_linear_between_timesteps(tmp_path, errors):
    pilot = read_pilot(write(tmp_path / "pilot.h5", [0, 2, 4, 6, 8], **errors))
    squares = np.zeros(5)
    for split, error in errors.items():
        covariance, noise = np.zeros((5, 5)), np.zeros(5)
        for model, query, t in itertools.product(range(4), range(3), range(5)):
            one, other = (error[model, k, query] - error[:, k, query].mean(axis=0) for k in (0, 1))
            noise[t] += (one[t] - other[t]) ** 2 / 2 / (3 * 3)
            squares[t] += (one[t] ** 2 + other[t] ** 2) / (2 * 4 * 2 * 3)
            for u in range(5):
                covariance[t, u] += (one[t] * other[u] + one[u] * other[t]) / 2 / (3 * 3)
        found = pilot.splits[split]
        np.testing.assert_allclose(found.covariance[::2, ::2], covariance, rtol=1e-4)
        np.testing.assert_allclose(found.noise[::2], noise, rtol=1e-4)
        np.testing.assert_allclose(found.noise[1], (noise[0] + noise[1]) / 2, rtol=1e-4)
        np.testing.assert_allclose(
            found.covariance[2, 5], (covariance[1, 2] + covariance[1, 3]) / 2, rtol=1e-4
        )
    np.testing.assert_allclose(pilot.spread[::2], np.sqrt(squares), rtol=1e-4)
    np.testing.assert_allclose(pilot.spread[1::2], (pilot.spread[:-1:2] + pilot.spread[2::2]) / 2)


@pytest.mark.parametrize("count", [1, 3, STEPS])
def test_the_predicted_reliability_is_that_of_all_choices(count):
    """Of five models with known differences, by the variance over every choice of timesteps and of noise."""
    random = np.random.default_rng(0)
    models, noise = random.normal(size=(5, STEPS)), random.random(STEPS)
    bounds = cut_strata(random.random(STEPS), count)
    weights = np.diff(bounds) / STEPS
    choices = np.array(list(itertools.product(*(range(a, b) for a, b in itertools.pairwise(bounds)))))
    of_choice = np.mean([(weights @ model[choices.T]).var() for model in models])
    of_noise = np.mean([(weights**2 * noise[choice]).sum() for choice in choices])
    signal = np.mean(models.mean(axis=1) ** 2)
    found = Differences(models.T @ models / 5, noise).reliability(bounds, DRAWS)
    assert found == pytest.approx(signal / (signal + (of_choice + of_noise) / DRAWS), rel=1e-12)


def test_a_budget_is_kept_and_auto_takes_the_fewest_that_reach_the_reliability(tmp_path, errors):
    pilot = read_pilot(write(tmp_path / "pilot.h5", [0, 2, 4, 6, 8], **errors))
    np.testing.assert_array_equal(
        pilot.choose_strata({"budget": 4, "draws": DRAWS}), cut_strata(pilot.spread, 4)
    )
    reached = [
        min(pilot.reliability(cut_strata(pilot.spread, n), DRAWS).values()) for n in range(1, STEPS + 1)
    ]
    for asked in (0.5, 0.9, 0.99, 0.99999):
        enough = [number for number, value in enumerate(reached, start=1) if value >= asked]
        bounds = pilot.choose_strata({"budget": "auto", "reliability": asked, "draws": DRAWS})
        assert len(bounds) - 1 == (enough or [STEPS])[0]


def test_models_that_do_not_differ_have_uniform_strata_and_tell_nothing_else(tmp_path, errors):
    same = {split: np.repeat(error[:1], 4, axis=0) for split, error in errors.items()}
    pilot = read_pilot(write(tmp_path / "pilot.h5", [0, 2, 4, 6, 8], **same))
    bounds = pilot.choose_strata({"budget": 3, "draws": DRAWS})
    np.testing.assert_array_equal(bounds, [0, 3, 6, 9])
    assert pilot.reliability(bounds, DRAWS) == {"val": 0, "gen": 0}
    with pytest.raises(
        UserError, match=r"toy: lds\.budget: auto cannot tell.* say how many timesteps"
    ) as caught:
        pilot.choose_strata({"budget": "auto", "reliability": 0.9, "draws": DRAWS})
    assert "\n" not in str(caught.value)
