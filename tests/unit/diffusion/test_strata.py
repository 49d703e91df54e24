"""Means over timesteps drawn in strata: without bias, and with less variance than in uniform strata."""

import itertools

import numpy as np
import pytest

from das.diffusion.strata import FLOOR, Sample, cut_strata
from das.errors import UserError
from das.noise import generator

STEPS = 1000
FALLING = np.exp(-np.arange(STEPS) / 150)
SPREADS = {
    "falling": FALLING,
    "rough": FALLING * np.random.default_rng(0).uniform(0, 2, STEPS),
    "zeros": np.zeros(STEPS),
    "one spike": np.eye(STEPS)[700],
    "two heights": np.where(np.arange(STEPS) < 200, 3.0, 1.0),
}


def pieces(bounds):
    """Timesteps of each stratum, and its weight in the mean."""
    return [(np.arange(a, b), (b - a) / bounds[-1]) for a, b in itertools.pairwise(bounds)]


def variance(error, bounds):
    """Of the weighted mean, exactly: timesteps of different strata are drawn apart."""
    return sum(weight**2 * error[of].var() for of, weight in pieces(bounds))


@pytest.mark.parametrize("count", [1, 2, 50, 700, STEPS])
@pytest.mark.parametrize("spread", SPREADS)
def test_any_strata_have_every_timestep_once_and_bounded_weights(spread, count):
    bounds = cut_strata(SPREADS[spread], count)
    assert bounds.dtype == np.int64
    assert len(bounds) == count + 1
    np.testing.assert_array_equal(np.concatenate([of for of, _ in pieces(bounds)]), np.arange(STEPS))
    weights = [weight for _, weight in pieces(bounds)]
    assert min(weights) > 0
    assert max(weights) <= (1 + FLOOR) / FLOOR / count + 1 / STEPS


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_of_all_choices_is_the_mean_over_all_timesteps(count, seed):
    """Every choice of a timestep in each stratum, one by one; each is as likely as any other."""
    random = np.random.default_rng(seed)
    spread, error = random.random(12), random.normal(size=12)
    strata = pieces(cut_strata(spread, count))
    choices = np.stack([grid.ravel() for grid in np.meshgrid(*(of for of, _ in strata))])
    weights = np.array([weight for _, weight in strata])
    assert (weights @ error[choices]).mean() == pytest.approx(error.mean(), abs=1e-12)
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_strata_have_equal_sums_of_the_spread():
    """To half a timestep at each end."""
    bounds = cut_strata(FALLING, 20)
    for of, _ in pieces(bounds):
        mean = np.maximum(FALLING, FLOOR * FALLING.mean())
        assert abs(mean[of].sum() - mean.sum() / 20) <= (mean[of[0]] + mean[of[-1]]) / 2 * 1.01
    np.testing.assert_array_equal(cut_strata(7 * FALLING, 20), bounds)


@pytest.mark.parametrize("spread", ["zeros", "two heights"])
def test_equal_spreads_have_equal_strata(spread):
    """3 · 200 + 800 = 1400 in 14 pieces of 100: 33 or 34 timesteps of height 3, 100 of height 1."""
    if spread == "zeros":
        expected = np.arange(0, STEPS + 1, 50)
        np.testing.assert_array_equal(cut_strata(SPREADS[spread], 20), expected)
    else:
        expected = [0, 33, 67, 100, 133, 167, *range(200, 1001, 100)]
        np.testing.assert_array_equal(cut_strata(SPREADS[spread], 14), expected)


def test_a_timestep_that_spreads_most_takes_no_strata_from_the_others():
    """All else is at the floor, of which 111 make up a stratum, as the spike does, behind 6 strata and 34."""
    bounds = cut_strata(SPREADS["one spike"], 10)
    np.testing.assert_array_equal(np.diff(bounds), [111] * 6 + [35, 77] + [111] * 2)


@pytest.mark.parametrize("count", [10, 50, 200])
def test_its_variance_is_below_that_of_uniform_strata(count):
    """Errors of known spread: noise of that standard deviation around a smooth mean, in 50 kinds."""
    random = np.random.default_rng(1)
    found = np.zeros(2)
    for _ in range(50):
        error = FALLING * (random.normal(size=STEPS) + random.normal())
        found += [variance(error, cut_strata(spread, count)) for spread in (FALLING, np.ones(STEPS))]
    assert found[0] < found[1] / 2


def test_each_draw_has_its_own_timesteps_one_in_each_stratum():
    bounds = cut_strata(FALLING, 30)
    sample = Sample.draw(bounds, draws=3, seed=5)
    assert (sample.timesteps >= bounds[:-1]).all()
    assert (sample.timesteps < bounds[1:]).all()
    assert len({row.tobytes() for row in sample.timesteps}) == 3
    np.testing.assert_array_equal(sample.timesteps[:2], Sample.draw(bounds, 2, 5).timesteps)
    assert sample.timesteps[2, 7] == generator("strata", 5, 2, 7).integers(bounds[7], bounds[8])
    np.testing.assert_array_equal(sample.weights, np.diff(bounds) / STEPS)


@pytest.mark.parametrize("count", [0, STEPS + 1])
def test_a_count_that_cannot_be_is_one_line(count):
    with pytest.raises(UserError, match=f"timesteps: found {count}, allowed is 1 to 1000"):
        cut_strata(FALLING, count)
