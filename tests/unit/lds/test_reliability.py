"""Reliability and the corrected LDS are those of a normal truth with known noise, or are not given."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from das.lds.damping import undamped
from das.lds.estimate import Estimate
from das.lds.reliability import ceiling, corrected, highest, reliability, tells

S, Q = 400, 40


def normal(random, noise, draws):
    """Losses without noise [S, Q], and measured ones [D, S, Q] with normal noise of that deviation."""
    truth = random.normal(size=(S, Q))
    return truth, truth + random.normal(0, noise, (draws, S, Q))


@pytest.mark.parametrize(("noise", "draws"), [(0.5, 2), (1.0, 2), (1.0, 4)])
def test_the_reliability_is_the_share_of_variance_that_is_no_noise(noise, draws):
    _, measured = normal(np.random.default_rng(0), noise, draws)
    expected = 1 / (1 + noise**2 / draws)
    assert reliability(measured).value == pytest.approx(expected, abs=0.01)


def test_it_is_the_one_formula_of_less_subsets():
    _, measured = normal(np.random.default_rng(1), 1.0, 3)
    measured = measured[:, :12, :5]
    found = reliability(measured)
    assert found.less_one[4] == pytest.approx(reliability(np.delete(measured, 4, axis=1)).value)


def test_the_corrected_lds_is_the_one_against_losses_without_noise():
    random = np.random.default_rng(2)
    truth, measured = normal(random, 1.0, 2)
    prediction = truth + random.normal(0, 1, truth.shape)
    noisy = undamped(prediction[None], measured.mean(0))
    found = corrected(noisy, reliability(measured))
    wanted = 100 * np.mean([spearmanr(prediction[:, q], truth[:, q])[0] for q in range(Q)])
    assert noisy.value < wanted - 8
    assert found.value == pytest.approx(wanted, abs=1.5)  # ranks are not attenuated quite as values are
    assert found.error > noisy.error  # the reliability has an error of its own


def test_one_draw_or_nothing_but_noise_gives_no_correction():
    random = np.random.default_rng(3)
    lds = Estimate(10.0, np.full(16, 10.0))
    assert reliability(random.normal(size=(1, 16, 5))) is None
    assert corrected(lds, None) is None
    noise = reliability(random.normal(size=(2, 16, 5)))
    assert not tells(noise)
    assert corrected(lds, noise) is None


def test_draws_that_contradict_each_other_have_no_reliability():
    one = np.random.default_rng(4).normal(size=(12, 5))
    found = reliability(np.stack([one, -one, -one]))
    assert found.value == 0
    assert not tells(found)


def test_ceiling_is_the_mean_over_pairs_of_seeds():
    random = np.random.default_rng(6)
    losses = random.normal(size=(S, 4)) + random.normal(size=(3, S, 4))
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([spearmanr(losses[a, :, q], losses[b, :, q])[0] for a, b in pairs for q in range(4)])
    assert ceiling(losses) == pytest.approx(100 * expected, abs=0.3)  # Spearman's has a bias of 1 / S
    assert np.isnan(ceiling(losses[:1]))


def test_the_highest_lds_is_that_of_what_seeds_share():
    """Two seeds with noise as large as what they share: nothing predicts their mean better than that."""
    random = np.random.default_rng(7)
    truth, seeds = normal(random, 1.0, 2)
    best = undamped(truth[None], seeds.mean(0)).value
    assert highest(ceiling(seeds), 2) == pytest.approx(best, abs=1.5)
    assert np.isnan(highest(-3.0, 2))
    assert np.isnan(highest(float("nan"), 1))
