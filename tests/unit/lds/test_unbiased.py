"""The rank correlation is Hoeffding's, without bias by the number of subsets, and so is its jackknife."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr, t

from das.lds.damping import choose_held_out, held_out, held_out_queries, undamped
from das.lds.estimate import Estimate
from das.lds.resampling import Halves, Resamples
from das.lds.unbiased import correlations, less_one, of_queries, of_queries_less_one


def hoeffdings(x, y):
    """3 E[sign(x_i - x_j) sign(y_i - y_k)] over all triples of different samples."""
    signs = np.sign(x[:, None] - x)[:, :, None] * np.sign(y[:, None] - y)[:, None, :]
    i, j, k = np.indices(signs.shape)
    return 3 * signs[(i != j) & (i != k) & (j != k)].mean()


def mean_hoeffdings(prediction, measured):
    return np.mean([hoeffdings(prediction[:, q], measured[:, q]) for q in range(measured.shape[1])])


@pytest.mark.parametrize("levels", [None, 3])
def test_it_is_the_mean_over_triples_on_every_part_and_less_each_sample(levels):
    random = np.random.default_rng(0)
    draw = random.normal if levels is None else lambda size: random.integers(0, levels, size).astype(float)
    prediction, measured = draw(size=(3, 9, 2)), draw(size=(9, 2))
    parts = random.integers(0, 2, (6, 9))
    parts[:, :4] = 1  # less one sample, three are left
    whole, less = less_one(prediction, measured, parts)
    np.testing.assert_array_equal(whole, correlations(prediction, measured, parts))
    for b, p in itertools.product(range(6), range(3)):
        members = parts[b] == 1
        expected = mean_hoeffdings(prediction[p, members], measured[members])
        assert whole[b, p] == pytest.approx(expected, abs=1e-12)
        for s in range(9):
            others = members & (np.arange(9) != s)
            expected = mean_hoeffdings(prediction[p, others], measured[others])
            assert less[b, p, s] == pytest.approx(expected, abs=1e-12)
    found, alone = of_queries(prediction[0], measured, parts), of_queries_less_one(prediction[0], measured)
    for q in range(2):
        x, y = prediction[0, :, q], measured[:, q]
        expected = np.mean([hoeffdings(x[part == 1], y[part == 1]) for part in parts])
        assert found[q] == pytest.approx(expected, abs=1e-12)
        without = [hoeffdings(np.delete(x, s), np.delete(y, s)) for s in range(9)]
        np.testing.assert_allclose(alone[:, q], [hoeffdings(x, y), *without], atol=1e-12)


def test_with_spearmans_and_kendalls_it_makes_hoeffdings_identity_also_beyond_float32():
    """r = ((n - 2) rho_U + 3 tau) / (n + 1), both of SciPy; 300 samples leave the range of float32."""
    random = np.random.default_rng(1)
    for n in (7, 300):
        x, y = random.normal(size=(2, n))
        y += x
        found = correlations(x[None, :, None], y[:, None], np.ones((1, n), int)).item()
        assert spearmanr(x, y)[0] == pytest.approx(((n - 2) * found + 3 * kendalltau(x, y)[0]) / (n + 1))


def test_the_mean_over_all_smaller_samples_is_that_of_the_whole():
    """So it has no bias by the number of samples; Spearman's has one."""
    random = np.random.default_rng(2)
    x, y = random.normal(size=(2, 9))
    y += x
    parts = np.array([np.isin(np.arange(9), chosen) for chosen in itertools.combinations(range(9), 4)], int)
    of_four = correlations(x[None, :, None], y[:, None], parts).mean()
    assert of_four == pytest.approx(hoeffdings(x, y))
    spearmans = np.mean([spearmanr(x[part == 1], y[part == 1])[0] for part in parts])
    assert abs(spearmans - spearmanr(x, y)[0]) > 0.02


def test_a_constant_prediction_is_no_evidence():
    measured = np.arange(8.0)[:, None]
    assert undamped(np.ones((1, 8, 1)), measured).value == 0


def direct(prediction, measured, left):
    """Held-out LDS in percent of one split, from arrays of its subsets alone."""
    parts = [
        [mean_hoeffdings(p[half], measured[half]) for p in prediction] for half in (left == 1, left == 0)
    ]
    chosen = [int(np.argmax(part)) for part in parts]
    return 50 * (parts[1][chosen[0]] + parts[0][chosen[1]])


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(3)
    measured = random.normal(size=(10, 3))
    prediction = measured + random.normal(0, 1, (3, 10, 3))  # dampings are much alike, and choices differ
    splits = Resamples.draw(10, 1, seed=0).splits
    return prediction, measured, Halves(splits.left[:12], splits.right[:12])


def test_held_out_lds_and_its_jackknife_are_those_of_the_subsets_that_are_left(problem):
    prediction, measured, halves = problem
    found, chosen = held_out(prediction, measured, halves)
    assert len(np.unique(chosen)) > 1
    expected = np.mean([direct(prediction, measured, left) for left in halves.left])
    assert found.value == pytest.approx(expected)
    for s in range(10):
        others = np.arange(10) != s
        without = [direct(prediction[:, others], measured[others], left[others]) for left in halves.left]
        assert found.less_one[s] == pytest.approx(np.mean(without))
    by_query = held_out_queries(prediction, measured, halves, chosen)
    assert by_query.mean() == pytest.approx(found.value)
    q = 1
    alone = [
        50
        * (
            hoeffdings(prediction[a, left == 0, q], measured[left == 0, q])
            + hoeffdings(prediction[b, left == 1, q], measured[left == 1, q])
        )
        for left, a, b in zip(halves.left, *chosen, strict=True)
    ]
    assert by_query[q] == pytest.approx(np.mean(alone))


def test_the_choice_of_damping_does_not_depend_on_the_subsets_it_is_measured_on():
    random = np.random.default_rng(3)
    prediction, measured = random.normal(size=(7, 16, 5)), random.normal(size=(16, 5))
    for left in Resamples.draw(16, 1, seed=1).splits.left[:20]:
        halves = Halves(left[None], 1 - left[None])
        _, chosen = held_out(prediction, measured, halves)
        changed, outside = measured.copy(), left == 0
        changed[outside] = random.normal(size=(outside.sum(), 5))
        _, chosen_again = held_out(prediction, changed, halves)
        assert chosen_again[0] == chosen[0]


def test_held_out_is_unbiased_where_the_best_is_not():
    """Of predictions that are all noise the best on the same subsets is the luckiest."""
    random = np.random.default_rng(4)
    chosen, best = [], []
    for seed in range(40):
        prediction, measured = random.normal(size=(13, 16, 1)), random.normal(size=(16, 1))
        splits = Resamples.draw(16, 1, seed).splits
        chosen.append(held_out(prediction, measured, splits)[0].value)
        best.append(100 * correlations(prediction, measured, np.ones((1, 16), int)).max())
    assert abs(np.mean(chosen)) < 4 * np.std(chosen) / np.sqrt(len(chosen))
    assert np.mean(best) > 30


def test_of_equally_good_dampings_the_first_is_chosen():
    """Sums are exact: the same queries in another order have the same mean."""
    random = np.random.default_rng(6)
    measured, prediction = np.repeat(random.normal(size=(16, 1)), 30, axis=1), random.normal(size=(16, 30))
    alike = np.stack([prediction, *(prediction[:, random.permutation(30)] for _ in range(4))])
    _, chosen = held_out(alike, measured, Resamples.draw(16, 1, seed=0).splits)
    assert (chosen == 0).all()


def test_each_way_is_chosen_on_one_part_and_measured_on_the_other():
    left, right = [0.1, 0.9, 0.2], [0.5, 0.3, 0.7]
    lds, chosen = choose_held_out(np.array([[left], [right]]))
    assert chosen.tolist() == [[1], [2]]
    assert lds == pytest.approx((0.3 + 0.2) / 2)


def test_the_interval_of_a_mean_is_students():
    """The jackknife of a mean is its standard error, and SciPy has the interval."""
    values = np.random.default_rng(5).normal(3, 1, 12)
    without = [np.delete(values, s).mean() for s in range(12)]
    found = Estimate(values.mean(), np.array(without))
    error = values.std(ddof=1) / np.sqrt(12)
    assert found.error == pytest.approx(error)
    np.testing.assert_allclose(found.interval, t.interval(0.95, 11, values.mean(), error))
    nothing = found - found
    assert (nothing.value, nothing.error, nothing.interval) == (0, 0, (0, 0))
