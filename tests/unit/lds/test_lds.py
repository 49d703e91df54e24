"""The table of the LDS: each rule measures what it says, finds a truth, and refuses files that do not fit."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from das.errors import UserError
from das.jobs import artifacts
from das.lds import COLUMNS, measure_lds
from das.lds.correlation import centre, mean_spearman, spearman, spearman_lds
from das.lds.damping import held_out, undamped
from das.lds.reliability import highest
from das.lds.resampling import SPLITS_OF_DRAW, Halves, Resamples
from das.lds.statistics import MethodStatistics
from das.lds.unbiased import correlations


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("repeat", [3, 60])
def test_spearman_of_repeated_samples_is_scipys(levels, repeat):
    """With ties (few levels) and without; `repeat` 60 leaves the range in which float32 sums are exact."""
    random = np.random.default_rng(0)
    draw = random.normal if levels is None else lambda size: random.integers(0, levels, size).astype(float)
    x, y = draw(size=(3, 11)), draw(size=11)
    counts = random.integers(0, repeat, (20, 11))
    x[:, :2] = y[:2] = 0, 1  # these two are always drawn: SciPy has no answer for constants
    counts[:, :2] += 1
    ours = spearman(x, y, counts)
    for b, p in itertools.product(range(20), range(3)):
        expected = spearmanr(np.repeat(x[p], counts[b]), np.repeat(y, counts[b])).statistic
        assert ours[b, p] == pytest.approx(expected, abs=1e-12)


def test_an_undefined_correlation_counts_as_zero():
    y = np.arange(5.0)
    assert spearman(np.ones((1, 5)), y, np.ones((1, 5), int)) == 0
    assert spearman(y[None], y, np.array([[0, 0, 4, 0, 0]])) == 0


def test_the_papers_lds_is_scipys_correlation_in_percent():
    random = np.random.default_rng(1)
    prediction, measured = random.normal(size=(2, 9, 6)), random.normal(size=(9, 6))
    expected = [[100 * spearmanr(p[:, q], measured[:, q])[0] for q in range(6)] for p in prediction]
    np.testing.assert_allclose(spearman_lds(prediction, measured), expected, atol=1e-10)


def test_chunks_of_resamples_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    prediction, measured = random.normal(size=(3, 9, 2)), random.normal(size=(9, 2))
    counts = random.integers(0, 3, (50, 9))
    whole = mean_spearman(prediction, measured, counts)
    monkeypatch.setattr("das.lds.correlation._CHUNK", 100)
    np.testing.assert_array_equal(mean_spearman(prediction, measured, counts), whole)


def test_halves_are_disjoint_and_resamples_of_the_right_size():
    drawn = Resamples.draw(13, 40, seed=0)
    assert drawn.splits.left.shape == (100, 13)
    assert (drawn.splits.left + drawn.splits.right == 1).all()
    assert set(drawn.splits.left.sum(1)) == {6}
    assert len(drawn.splits.parts) == 200
    assert drawn.bootstrap.shape == (40, 13)
    assert (drawn.bootstrap.sum(1) == 13).all()
    again = Resamples.draw(13, 40, seed=0)
    np.testing.assert_array_equal(drawn.bootstrap, again.bootstrap)


def test_draws_are_distinct_subsets_of_growing_number_each_split_in_halves():
    assert list(Resamples.draw(8, 1, seed=0).draws) == []
    assert list(Resamples.draw(32, 1, seed=0).draws) == [8, 16]
    draws = Resamples.draw(64, 1, seed=0).draws
    assert list(draws) == [8, 16, 32]
    for size, drawn in draws.items():
        assert set(np.unique(drawn.whole)) == {0, 1}
        assert (drawn.whole.sum(1) == size).all()
        assert len(np.unique(drawn.whole, axis=0)) == len(drawn.whole)
        assert (drawn.halves.left.sum(1) == size // 2).all()
        np.testing.assert_array_equal(
            drawn.halves.left + drawn.halves.right, np.repeat(drawn.whole, SPLITS_OF_DRAW, axis=0)
        )


def test_centring_removes_what_all_queries_share():
    """Whatever the scale of each query, and of losses as of predictions; what remains is the rest."""
    random = np.random.default_rng(5)
    level, scale = random.normal(size=(400, 1)), random.random(6) + 1
    own = random.normal(0, 0.1, (400, 6))
    values = 7 + scale * (level + own)
    centred = centre(values)
    standard = (values - values.mean(0)) / values.std(0)
    np.testing.assert_allclose(centred, standard - standard.mean(1, keepdims=True), atol=1e-12)
    assert abs(np.corrcoef(centred[:, 0], level[:, 0])[0, 1]) < 0.15 < 0.9
    assert np.corrcoef(centred[:, 0], (own - own.mean(1, keepdims=True))[:, 0])[0, 1] > 0.95
    np.testing.assert_array_equal(centre(np.full((2, 5, 3), 0.1)), 0)


# From files.

S, Q, DAMPINGS = 16, 12, np.array([0.01, 0.1, 1.0])


def write_predictions(path, prediction, dampings=DAMPINGS, method="das", dataset="toy", gcv=None):
    named = {"method": method, "damping_relative": dampings, "cost_seconds": 12.5, "cost_bytes": 3000}
    with artifacts.write(path, "predictions", dataset, {}, "w", **named) as file:
        file["prediction"] = prediction
        if gcv is not None:
            file["prediction_gcv"] = prediction[gcv]
            file.attrs["damping_gcv"] = dampings[gcv]
    return path


def write_losses(folder, losses, draws=2):
    """Files of losses [R, S, Q], in text order (10 before 2); noise draws differ but keep their mean."""
    offsets = np.linspace(-0.25, 0.25, draws)[:, None]  # exact in float32
    paths = []
    for seed, subset in np.ndindex(*losses.shape[:2]):
        path = folder / f"subset-{subset}_seed-{seed}.h5"
        with artifacts.write(path, "losses", "toy", {}, "", subset=subset, seed=seed) as file:
            file["val"] = (losses[seed, subset] + offsets).astype(np.float32)
            file["gen"] = (losses[seed, subset, ::-1] + offsets).astype(np.float32)
        paths.append(path)
    return sorted(paths, key=str)


def measured_table(predictions, losses, **options):
    return measure_lds("das", predictions, losses, **options)[0]


@pytest.fixture
def truth():
    """Measured losses [R, S, Q] of two seeds: a truth [S, Q] with a little noise."""
    random = np.random.default_rng(7)
    truth = random.normal(1, 0.1, (S, Q))
    return truth, truth + random.normal(0, 0.002, (2, S, Q))


def test_a_true_prediction_scores_near_100_with_its_damping_and_noise_near_zero(tmp_path, truth):
    truth, losses = truth
    random = np.random.default_rng(8)
    prediction = random.normal(size=(3, S, Q))
    prediction[1] = 5 * truth
    predictions = {
        "val": write_predictions(tmp_path / "val.h5", prediction),
        "gen": write_predictions(tmp_path / "gen.h5", random.normal(size=(3, S, Q))),
    }
    table = measured_table(predictions, write_losses(tmp_path, losses), replicates=200)
    assert list(table.columns) == COLUMNS
    assert list(table["split"]) == ["val", "val", "gen", "gen"]
    assert list(table["damping_rule"]) == ["held_out", "oracle"] * 2
    assert set(table["dataset"]) == {"toy"}
    assert set(table["method"]) == {"das"}
    assert (table[["n_subsets", "n_seeds", "n_queries"]] == [S, 2, Q]).all(axis=None)

    val, gen = table[table["split"] == "val"], table[table["split"] == "gen"]
    assert (val["lds"] > 97).all()
    assert (val["ceiling"] > 97).all()
    assert (val["damping"] - 0.1).abs().max() < 1e-9
    held_out, oracle = val.iloc[0], val.iloc[1]
    assert 90 < held_out["ci_low"] <= held_out["lds"] <= held_out["ci_high"]
    assert np.isnan(oracle["ci_low"])  # none of the best on the same subsets
    assert 90 < oracle["boot_mean"] < 100
    assert oracle["boot_std"] > 0
    assert held_out["reliability"] == pytest.approx(1)  # both draws rank the subsets alike
    assert held_out["lds_corrected"] == pytest.approx(held_out["lds"])
    assert held_out["of_ceiling"] == pytest.approx(held_out["lds"] / highest(held_out["ceiling"], 2))
    noise = gen[gen["damping_rule"] == "held_out"].iloc[0]
    assert abs(noise["lds"]) < 20
    assert noise["ci_low"] < 0 < noise["ci_high"]


def test_the_table_of_an_undamped_method_is_of_all_subsets_whatever_the_order_of_files(tmp_path, truth):
    _, losses = truth
    prediction = np.random.default_rng(9).normal(size=(1, S, Q)) + 10 * losses.mean(0)
    path = write_predictions(tmp_path / "val.h5", prediction, np.array([np.nan]), "raw_dot")
    files = write_losses(tmp_path, losses)
    table = measured_table({"val": path}, files, replicates=20)
    assert list(table["damping_rule"]) == ["none", "oracle"]
    assert table["damping"].isna().all()
    measured = losses.astype(np.float32).mean(0)
    expected = 100 * np.mean([spearmanr(prediction[0, :, q], measured[:, q])[0] for q in range(Q)])
    assert table["lds"][1] == pytest.approx(expected, abs=0.5)  # float32 draws may swap near ties
    found = undamped(prediction, measured.astype(float))
    assert table["lds"][0] == pytest.approx(found.value, abs=0.5)
    backwards = measured_table({"val": path}, files[::-1], replicates=20)
    assert table.equals(backwards)
    single = measured_table({"val": path}, [p for p in files if "seed-1" in p.name], replicates=20)
    assert np.isnan(single["ceiling"][0])
    assert np.isnan(single["of_ceiling"][0])
    assert single["n_seeds"][0] == 1


def test_a_single_draw_has_no_reliability(tmp_path, truth):
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, S, Q)))
    table = measured_table({"val": path}, write_losses(tmp_path, truth[1], draws=1), replicates=5)
    assert table[["reliability", "lds_corrected", "corrected_ci_low"]].isna().all(axis=None)


def test_losses_of_different_numbers_of_draws_are_refused(tmp_path, truth):
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, S, Q)))
    files = write_losses(tmp_path, truth[1])
    (tmp_path / "other").mkdir()
    files[3] = next(p for p in write_losses(tmp_path / "other", truth[1], 3) if p.name == files[3].name)
    with pytest.raises(UserError, match=r"array 'val' has shape \(3, 12\), expected \(2, 12\)"):
        measured_table({"val": path}, files)


def test_the_oracle_is_the_best_damping_and_its_bootstrap_keeps_it(tmp_path, truth):
    _, losses = truth
    prediction = np.random.default_rng(10).normal(size=(3, S, Q))
    path = write_predictions(tmp_path / "val.h5", prediction)
    files = write_losses(tmp_path, losses)
    oracle = measured_table({"val": path}, files, replicates=100).iloc[1]
    best = int(np.flatnonzero(oracle["damping"] == DAMPINGS)[0])
    measured = losses.astype(np.float32).astype(float).mean(0)
    expected = [[spearmanr(p[:, q], measured[:, q])[0] for q in range(Q)] for p in prediction]
    assert best == np.mean(expected, axis=1).argmax()
    assert oracle["lds"] == pytest.approx(100 * np.mean(expected[best]))
    assert oracle["negative_queries"] == (np.array(expected[best]) < 0).sum()
    alone = write_predictions(tmp_path / "alone.h5", prediction[[best]], DAMPINGS[[best]])
    columns = ["damping", "lds", "boot_mean", "boot_std"]
    again = measured_table({"val": alone}, files, replicates=100).iloc[1]
    assert oracle[columns].equals(again[columns])
    centred = centre(measured)
    of_centred = [
        np.mean([spearmanr(p[:, q], centred[:, q])[0] for q in range(Q)]) for p in centre(prediction)
    ]
    assert oracle["lds_centred"] == pytest.approx(100 * max(of_centred))


def test_a_damping_chosen_without_losses_has_a_row_of_its_own(tmp_path, truth):
    """Its LDS is that of this one prediction on all subsets; the other rows stay as they were."""
    random = np.random.default_rng(8)
    losses = truth[1]
    measured = losses.mean(0)
    prediction = measured + random.normal(0, [[[0.5]], [[0.1]], [[1.0]]], (3, S, Q))
    losses = write_losses(tmp_path, losses)
    plain = write_predictions(tmp_path / "plain.h5", prediction)
    with_gcv = write_predictions(tmp_path / "gcv.h5", prediction, gcv=2)
    before = measured_table({"val": plain}, losses, replicates=20)
    after = measured_table({"val": with_gcv}, losses, replicates=20)
    row = after.set_index("damping_rule").loc["gcv"]
    expected = undamped(prediction[2:], measured)
    assert row["lds"] == pytest.approx(expected.value, abs=0.5)  # losses are stored in float32
    assert row["damping"] == DAMPINGS[2]
    assert row["ci_low"] == pytest.approx(expected.interval[0], abs=0.5)
    pd.testing.assert_frame_equal(after[after.damping_rule != "gcv"].reset_index(drop=True), before)


def test_losses_that_are_missing_or_do_not_fit_are_refused(tmp_path, truth):
    _, losses = truth
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, S, Q)))
    files = write_losses(tmp_path, losses)
    without = [p for p in files if p.name not in ("subset-10_seed-1.h5", "subset-2_seed-0.h5")]
    with pytest.raises(UserError, match="missing are subset 2 seed 0, subset 10 seed 1; every subset"):
        measured_table({"val": path}, without)
    with pytest.raises(UserError, match="losses: missing"):
        measured_table({"val": path}, [])
    with pytest.raises(UserError, match="already in"):
        measured_table({"val": path}, [*files, files[3]])
    few = write_predictions(tmp_path / "few.h5", np.zeros((3, S - 1, Q)))
    with pytest.raises(UserError, match=r"subset-15_seed-0\.h5: of subset 15, but .*few\.h5 has 15 subsets"):
        measured_table({"val": few}, files)
    narrow = write_predictions(tmp_path / "narrow.h5", np.zeros((3, S, Q - 1)))
    with pytest.raises(UserError, match=r"subset-0_seed-0\.h5: array 'val' has shape"):
        measured_table({"val": narrow}, files)
    other = write_predictions(tmp_path / "other.h5", np.zeros((3, S, Q)), dataset="digits")
    with pytest.raises(UserError, match="dataset is 'toy'"):
        measured_table({"val": other}, files)
    losses[1, 4] = np.nan
    files = write_losses(tmp_path, losses)
    with pytest.raises(UserError, match=r"subset-4_seed-1\.h5: array 'val' is not finite"):
        measured_table({"val": path}, files)


def test_too_few_subsets_to_hold_some_out_are_refused(tmp_path, truth):
    _, losses = truth
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, 7, Q)))
    with pytest.raises(UserError, match=r"lds\.subsets: found 7, allowed are 8 and more"):
        measured_table({"val": path}, write_losses(tmp_path, losses[:, :7]))


def test_intervals_and_counts_of_the_table_follow_from_the_statistics(tmp_path, truth):
    _, losses = truth
    prediction = losses.mean(0) + np.random.default_rng(12).normal(0, 0.6, (3, S, Q))
    path, files = write_predictions(tmp_path / "val.h5", prediction), write_losses(tmp_path, losses)
    table, statistics = measure_lds("mine", {"val": path}, files, replicates=100)
    statistics.write(tmp_path / "statistics.h5")
    found = MethodStatistics.read(tmp_path / "statistics.h5").splits["val"]
    row, measured = table.iloc[0], losses.astype(np.float32).astype(float).mean(0)
    assert row["lds"] == found.lds.value == pytest.approx(found.queries.mean())
    assert row["lds_centred"] == found.centred.value
    assert tuple(row[["ci_low", "ci_high"]]) == found.lds.interval
    assert tuple(row[["centred_ci_low", "centred_ci_high"]]) == found.centred.interval
    splits = Resamples.draw(S, 1, seed=0).splits
    for estimate, x, y in (
        (found.lds, prediction, measured),
        (found.centred, centre(prediction), centre(measured)),
    ):
        expected, _ = held_out(x, y, splits)
        assert estimate.value == expected.value
        np.testing.assert_array_equal(estimate.less_one, expected.less_one)
    np.testing.assert_array_equal(found.chosen, held_out(prediction, measured, splits)[1])
    assert row["damping"] == pytest.approx(np.exp(np.log(DAMPINGS[found.chosen]).mean()))
    assert 0 < row["negative_queries"] == sum(found.queries < 0) < Q
    everything = np.ones((1, S), int)
    np.testing.assert_allclose(found.by_damping, 100 * correlations(prediction, measured, everything)[0])
    np.testing.assert_array_equal(found.dampings, DAMPINGS)


def test_lds_by_number_of_subsets_is_that_of_the_drawn_subsets_alone(tmp_path, truth):
    _, losses = truth
    prediction = losses.mean(0) + np.random.default_rng(15).normal(0, 0.1, (3, S, Q))
    files = write_losses(tmp_path, losses)
    measured = losses.astype(np.float32).astype(float).mean(0)
    draws = Resamples.draw(S, 1, seed=0).draws[8]
    damped = write_predictions(tmp_path / "val.h5", prediction)
    raw = write_predictions(tmp_path / "raw.h5", prediction[:1], np.array([np.nan]))
    for path in (damped, raw):
        table, statistics = measure_lds("mine", {"val": path}, files, replicates=1)
        found = statistics.splits["val"]
        assert list(found.sizes) == [8, S]
        np.testing.assert_allclose(found.by_size[1], table["lds"][0])
        for draw in (0, 7):
            members = draws.whole[draw] == 1
            if path == damped:
                of_draw = slice(SPLITS_OF_DRAW * draw, SPLITS_OF_DRAW * (draw + 1))
                halves = Halves(draws.halves.left[of_draw, members], draws.halves.right[of_draw, members])
                expected = held_out(prediction[:, members], measured[members], halves)[0]
            else:
                expected = undamped(prediction[:1, members], measured[members])
            assert found.by_size[0, draw] == pytest.approx(expected.value)


@pytest.mark.parametrize("splits", [("val",), ("gen",), ("val", "gen")])
def test_any_splits_that_a_method_has_are_measured(tmp_path, truth, splits):
    _, losses = truth
    path, files = write_predictions(tmp_path / "p.h5", np.zeros((3, S, Q))), write_losses(tmp_path, losses)
    table, statistics = measure_lds("mine", dict.fromkeys(splits, path), files, replicates=5)
    assert list(dict.fromkeys(table["split"])) == list(splits)
    statistics.write(tmp_path / "statistics.h5")
    assert list(MethodStatistics.read(tmp_path / "statistics.h5").splits) == list(splits)


def test_a_method_without_predictions_is_refused(tmp_path):
    with pytest.raises(UserError, match="mine: no predictions were given"):
        measure_lds("mine", {}, [])
