"""Removals are the highest scores, controls are random, and medians have paired intervals."""

import numpy as np
import pytest
from scipy import stats

from das.counterfactual.outcomes import COLUMNS, KIND, read_outcomes, summarise
from das.counterfactual.removals import at_random, highest, membership
from das.errors import UserError
from das.jobs import artifacts
from das.report import plots

RANDOM = np.random.default_rng(0)


def write_scores(path, scores):
    with artifacts.write(path, "scores", "toy", {}) as file:
        file["scores"] = scores.astype(np.float32)


def write_outcomes(path, test, method, measured, dataset="toy", weights="w", images=5):
    settings = {"removal": {"test": test, "method": method, "images": images}}
    with artifacts.write(path, KIND, dataset, settings, weights) as file:
        file["images"] = np.zeros((len(measured["l2"]), 2, 2, 1), np.uint8)
        for name, values in measured.items():
            file[name] = np.asarray(values, np.float64)
    return path


def refused(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_highest_scores_are_chosen_and_equal_ones_by_the_image(tmp_path):
    write_scores(tmp_path / "scores.h5", np.array([[1, 3, 3, -9, 0], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]]))
    assert highest(tmp_path / "scores.h5", 2, 3).tolist() == [[1, 2, 0], [0, 1, 2]]


def test_random_images_depend_on_seed_and_query_alone():
    draws = at_random(50, 6, 10, seed=3)
    assert all(len(set(row)) == 10 and set(row) <= set(range(50)) for row in draws)
    assert (at_random(50, 2, 10, seed=3) == draws[:2]).all()
    assert (at_random(50, 6, 10, seed=4) != draws).any()
    assert len({tuple(sorted(row)) for row in draws}) == 6


def test_every_image_is_as_likely_to_be_random():
    """Of 400 draws of 5 of 10, each image is in half; four standard deviations of that."""
    counts = np.bincount(at_random(10, 400, 5, seed=0).ravel(), minlength=10)
    assert np.abs(counts - 200).max() < 4 * np.sqrt(400 * 0.25)


def test_removing_and_keeping_are_opposites():
    chosen = np.array([[0, 4], [2, 1]])
    kept = membership(chosen, 5, "keep")
    assert kept.tolist() == [[True, False, False, False, True], [False, True, True, False, False]]
    assert (membership(chosen, 5, "remove") == ~kept).all()


def test_more_than_there_is_is_refused(tmp_path):
    write_scores(tmp_path / "scores.h5", np.zeros((2, 5)))
    assert "has 2 queries, counterfactual.queries asks for 3" in refused(
        highest, tmp_path / "scores.h5", 3, 1
    )
    assert "found 5, allowed is 1 to 4 of 5" in refused(highest, tmp_path / "scores.h5", 2, 5)
    assert "found 0, allowed is 1 to 4 of 5" in refused(at_random, 5, 2, 0, 0)


@pytest.fixture
def outcomes(tmp_path):
    """A method whose distance is that of random images plus 1 for every query."""
    base = RANDOM.gamma(2, size=21)
    paths = []
    for test in ("remove", "keep"):
        for method, more in (("das", 1.0), ("random", 0.0)):
            measured = {"l2": base + more, "loss_difference": RANDOM.normal(size=21)}
            paths.append(write_outcomes(tmp_path / f"{test}_{method}.h5", test, method, measured))
    return read_outcomes(paths)


def test_differences_are_paired(outcomes):
    table = summarise(outcomes, 500)
    assert list(table.columns) == COLUMNS
    rows = table.set_index(["test", "measure", "method"])
    row = rows.loc[("remove", "l2", "das")]
    for name in ("minus_random", "minus_random_ci_low", "minus_random_ci_high"):
        assert row[name] == pytest.approx(1)
    assert row.ci_high - row.ci_low > 0.3
    assert rows.loc[("remove", "l2", "random")][["minus_random"]].isna().all()
    assert set(rows.n_images) == {5}
    assert set(rows.n_queries) == {21}


def test_medians_and_intervals_are_those_of_scipy(outcomes):
    table = summarise(outcomes, 4000).set_index(["test", "measure", "method"])
    for key, row in table.iterrows():
        chosen = (outcomes[["test", "measure", "method"]] == list(key)).all(axis=1)
        values = outcomes[chosen]["value"].to_numpy()
        assert row["median"] == np.median(values)
        expected = stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=1)
        between = np.sort(values)  # a percentile of medians is one of them, or beside it
        for found, wanted in zip((row.ci_low, row.ci_high), expected.confidence_interval, strict=True):
            assert abs(np.searchsorted(between, found) - np.searchsorted(between, wanted)) <= 1


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    first = write_outcomes(tmp_path / "a.h5", "remove", "das", {"l2": [1, 2], "loss_difference": [0, 0]})
    for number, (changes, what) in enumerate(
        [({"weights": "v"}, "model"), ({"dataset": "other"}, "data set"), ({"images": 6}, "images")]
    ):
        measured = {"l2": [1, 2], "loss_difference": [0, 0]}
        other = write_outcomes(tmp_path / f"{number}.h5", "remove", "random", measured, **changes)
        assert f"{other}: {what} found" in refused(read_outcomes, [first, other])
    other = write_outcomes(tmp_path / "c.h5", "remove", "random", {"l2": [1, 2]})
    assert "measures found ['l2']" in refused(read_outcomes, [first, other])


def test_the_plot_is_a_function_of_the_outcomes(outcomes, tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path, rows in zip(files, (outcomes, outcomes, outcomes.assign(value=1.0)), strict=True):
        plots.plot_counterfactual(rows, path)
    first, again, other = (path.read_bytes() for path in files)
    assert first.startswith(b"\x89PNG")
    assert first == again != other
