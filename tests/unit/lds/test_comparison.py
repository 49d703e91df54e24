"""Differences between methods are paired over subsets, and their intervals cover the truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, t

from das.errors import UserError
from das.lds.comparison import compare_pairs, compare_queries, compare_subsets, read_methods
from das.lds.correlation import centre
from das.lds.damping import held_out, undamped
from das.lds.resampling import Halves, Resamples
from das.lds.statistics import MethodStatistics, measure_statistics

S, Q = 26, 7
SETTINGS = {"subsets": S, "seeds": 1, "seed": 0}
DAMPINGS = {"weak": np.array([0.01, 0.1, 1]), "strong": np.array([0.01, 0.1, 1]), "raw": np.empty(0)}


@pytest.fixture(scope="module")
def resamples():
    return Resamples.draw(S, 1, seed=0)


@pytest.fixture(scope="module")
def problem():
    """Measured losses [S, Q] and predictions [L, S, Q] of three methods, the last without damping."""
    random = np.random.default_rng(0)
    measured = random.normal(1, 0.2, (S, Q))
    noise = {"weak": (0.5, 1.0, 3.0), "strong": (0.4, 0.1, 0.9), "raw": (0.3,)}
    return measured, {
        name: np.stack([measured + random.normal(0, scale, (S, Q)) for scale in scales])
        for name, scales in noise.items()
    }


@pytest.fixture(scope="module")
def methods(problem, resamples):
    measured, predictions = problem
    return [
        MethodStatistics(
            "toy",
            name,
            SETTINGS,
            "",
            {"val": measure_statistics(prediction, measured, resamples, DAMPINGS[name])},
        )
        for name, prediction in predictions.items()
    ]


def test_pairs_are_those_of_a_direct_computation(methods, problem, resamples):
    measured, predictions = problem
    table = compare_pairs(methods)
    assert list(zip(table["method"], table["other"], strict=True)) == [
        ("strong", "raw"),
        ("strong", "weak"),
        ("raw", "weak"),
    ]
    assert (table["difference"] >= 0).all()
    assert (table["n_subsets"] == S).all()
    for prefix, centring in (("", lambda values: values), ("centred_", centre)):
        found = {
            name: (held_out(centring(p), centring(measured), resamples.splits)[0])
            if len(p) > 1
            else undamped(centring(p), centring(measured))
            for name, p in predictions.items()
        }
        for _, row in table.iterrows():
            a, b = found[row["method"]], found[row["other"]]
            difference, less = a.value - b.value, a.less_one - b.less_one
            error = np.sqrt((S - 1) / S * ((less - less.mean()) ** 2).sum())
            expected = difference, *t.interval(0.95, S - 1, difference, error)
            columns = [f"{prefix}{name}" for name in ("difference", "ci_low", "ci_high")]
            np.testing.assert_allclose(row[columns].astype(float), expected, atol=1e-9)


def test_equal_predictions_differ_by_nothing_whether_damped_or_not(problem, resamples):
    measured, predictions = problem
    found = [
        MethodStatistics(
            "toy", name, SETTINGS, "", {"gen": measure_statistics(p, measured, resamples, dampings)}
        )
        for name, p, dampings in (
            ("b", predictions["raw"], np.ones(1)),
            ("a", predictions["raw"], np.empty(0)),
        )
    ]
    row = compare_pairs(found).iloc[0]
    assert (row["method"], row["other"]) == ("a", "b")  # equals by name
    assert (row[4:10].astype(float) == 0).all()


def test_the_interval_of_the_difference_of_equals_covers_zero_as_often_as_it_says():
    """Two predictions with noise of the same size; the bound allows for the number of trials alone."""
    trials, subsets = 150, 32
    random = np.random.default_rng(1)
    splits = Resamples.draw(subsets, 1, seed=0).splits
    few = Halves(splits.left[:30], splits.right[:30])
    covered = 0
    for _ in range(trials):
        measured = random.normal(1, 0.1, (subsets, 3))
        equals = []
        for _ in range(2):
            prediction = measured + random.normal(0, 0.2, measured.shape)
            grid = prediction + random.normal(0, 0.02, (2, *measured.shape))  # dampings are much alike
            equals.append(held_out(grid, measured, few)[0])
        below, above = (equals[0] - equals[1]).interval
        covered += below <= 0 <= above
    low, high = binom.interval(0.999, trials, 0.95)
    assert low <= covered <= high


def test_the_mean_over_queries_is_the_lds(methods):
    table = compare_queries(methods)
    assert list(table.columns) == ["dataset", "method", "split", "query", "lds"]
    assert len(table) == 3 * Q
    for method in methods:
        mean = table[table["method"] == method.method]["lds"].mean()
        assert mean == pytest.approx(method.splits["val"].lds.value)


def test_with_all_subsets_nothing_is_left_to_draw(methods):
    table = compare_subsets(methods)
    assert set(table["n_subsets"]) == {8, 16, S}
    last = table[table["n_subsets"] == S].set_index("method")
    assert (last["lds_std"] == 0).all()
    assert last.loc["weak", "lds_mean"] == pytest.approx(methods[0].splits["val"].lds.value)
    assert (table[table["n_subsets"] == 8]["lds_std"] > 0).all()


def test_a_pair_is_compared_on_the_splits_that_both_have(methods):
    weak, strong, raw = methods
    both = [
        replace(method, splits=dict.fromkeys(splits, method.splits["val"]))
        for method, splits in ((weak, ["val"]), (strong, ["val", "gen"]), (raw, ["gen"]))
    ]
    pairs = compare_pairs(both)[["split", "method", "other"]]
    assert list(pairs.itertuples(index=False, name=None)) == [
        ("val", "strong", "weak"),
        ("gen", "strong", "raw"),
    ]
    assert len(compare_pairs(both[:1])) == 0
    assert "difference" in compare_pairs(both[:1])


def test_methods_that_were_measured_otherwise_are_refused(methods, tmp_path):
    paths = [tmp_path / f"{i}.h5" for i in range(2)]
    methods[0].write(paths[0])
    other, statistics = methods[1], methods[1].splits["val"]
    for changed, message in (
        (replace(other, dataset="digits"), "data set: found 'digits', but 'toy' in "),
        (replace(other, settings=SETTINGS | {"seed": 1}), "settings: found "),
        (
            replace(other, splits={"val": replace(statistics, queries=np.zeros(Q + 1))}),
            f"val's queries: found {Q + 1}, but {Q} in ",
        ),
        (replace(other, method="weak"), "method 'weak' is already in "),
    ):
        changed.write(paths[1])
        with pytest.raises(UserError, match=message) as caught:
            read_methods(paths)
        assert "\n" not in str(caught.value)
    other.write(paths[1])
    assert [method.method for method in read_methods(paths)] == ["weak", "strong"]
    changed = replace(other, splits={"val": replace(statistics, by_size=np.zeros((3, 2)))})
    changed.write(paths[1])
    with pytest.raises(UserError, match="by_size' has shape"):
        read_methods(paths)
