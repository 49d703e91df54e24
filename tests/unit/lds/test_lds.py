"""LDS is SciPy's correlation, its damping never sees the subsets it is measured on, and it finds a truth."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from das.errors import UserError
from das.jobs import artifacts
from das.lds import COLUMNS, measure_lds
from das.lds.correlation import ceiling, centre, lds, mean_spearman, spearman
from das.lds.damping import choose_held_out, query_held_out
from das.lds.resampling import Halves, Resamples
from das.lds.statistics import MethodStatistics


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


def test_lds_is_the_mean_over_queries_of_scipys_correlation_in_percent():
    random = np.random.default_rng(1)
    prediction, measured = random.normal(size=(2, 9, 6)), random.normal(size=(9, 6))
    expected = [100 * np.mean([spearmanr(p[:, q], measured[:, q])[0] for q in range(6)]) for p in prediction]
    np.testing.assert_allclose(lds(prediction, measured), expected, atol=1e-10)


def test_chunks_of_resamples_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    prediction, measured = random.normal(size=(3, 9, 2)), random.normal(size=(9, 2))
    counts = random.integers(0, 3, (50, 9))
    whole = mean_spearman(prediction, measured, counts)
    monkeypatch.setattr("das.lds.correlation._CHUNK", 100)
    np.testing.assert_array_equal(mean_spearman(prediction, measured, counts), whole)


def test_resamples_are_of_the_right_size_and_halves_share_no_subset():
    drawn = Resamples.draw(13, 40, seed=0)
    assert drawn.splits.left.shape == (20, 13)
    assert (drawn.splits.left + drawn.splits.right == 1).all()
    assert (drawn.all.sum(1) == 13).all()
    assert not ((drawn.halves.left > 0) & (drawn.halves.right > 0)).any()
    assert (drawn.halves.left.sum(1) == 6).all()
    assert (drawn.halves.right.sum(1) == 7).all()
    again = Resamples.draw(13, 40, seed=0)
    np.testing.assert_array_equal(drawn.all, again.all)


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
            drawn.halves.left + drawn.halves.right, np.repeat(drawn.whole, 20, axis=0)
        )


def scipys_held_out(prediction, measured, left):
    """Held-out LDS of each query, [Q], of one split in halves; `left` is a mask."""
    parts = []
    for half in (left, ~left):
        found = [
            [spearmanr(p[half, q], measured[half, q])[0] for q in range(measured.shape[1])]
            for p in prediction
        ]
        parts.append(np.array(found))
    chosen = [part.mean(1).argmax() for part in parts]
    return 50 * (parts[1][chosen[0]] + parts[0][chosen[1]])


def test_held_out_lds_of_each_query_is_scipys_at_the_damping_of_the_other_half():
    random = np.random.default_rng(11)
    truth = random.normal(size=(16, 5))
    prediction = truth + random.normal(size=(3, 16, 5))
    splits = Resamples.draw(16, 1, seed=0).splits
    expected = np.array([scipys_held_out(prediction, truth, left == 1) for left in splits.left])
    np.testing.assert_allclose(query_held_out(prediction, truth, splits), expected.mean(0), atol=1e-9)
    np.testing.assert_allclose(choose_held_out(prediction, truth, splits)[0], expected.mean(1), atol=1e-9)


def test_the_choice_of_damping_does_not_depend_on_the_subsets_it_is_measured_on():
    random = np.random.default_rng(3)
    prediction, measured = random.normal(size=(7, 16, 5)), random.normal(size=(16, 5))
    for left in Resamples.draw(16, 1, seed=1).splits.left:
        halves = Halves(left[None], 1 - left[None])
        _, chosen = choose_held_out(prediction, measured, halves)
        changed, outside = measured.copy(), left == 0
        changed[outside] = random.normal(size=(outside.sum(), 5))
        _, chosen_again = choose_held_out(prediction, changed, halves)
        assert chosen_again[0] == chosen[0]


def test_held_out_is_unbiased_where_the_oracle_is_not():
    """Of predictions that are all noise the oracle reports the luckiest."""
    random = np.random.default_rng(4)
    held_out, oracle = [], []
    for seed in range(40):
        prediction, measured = random.normal(size=(13, 16, 1)), random.normal(size=(16, 1))
        held_out.append(choose_held_out(prediction, measured, Resamples.draw(16, 1, seed).splits)[0].mean())
        oracle.append(lds(prediction, measured).max())
    error = np.std(held_out) / np.sqrt(len(held_out))
    assert abs(np.mean(held_out)) < 4 * error
    assert np.mean(oracle) > 30


def test_centring_removes_what_all_queries_share():
    random = np.random.default_rng(5)
    per_query, level = random.random(6) + 1, random.normal(0, 0.1, 9)
    shared = per_query * (1 + level[:, None])
    np.testing.assert_allclose(centre(shared), np.tile(per_query * (1 + level.mean()), (9, 1)), rtol=1e-12)
    own = random.normal(0, 0.01, (9, 6))
    measured = shared + own
    mean = measured.mean(0)
    expected = [
        [measured[s, q] - mean[q] * np.mean(measured[s] / mean - 1) for q in range(6)] for s in range(9)
    ]
    np.testing.assert_allclose(centre(measured), expected, rtol=1e-12)


def test_ceiling_is_the_mean_over_pairs_of_seeds():
    losses = np.random.default_rng(6).normal(size=(3, 8, 4))
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([spearmanr(losses[a, :, q], losses[b, :, q])[0] for a, b in pairs for q in range(4)])
    assert ceiling(losses) == pytest.approx(100 * expected)
    assert np.isnan(ceiling(losses[:1]))


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
    assert (val["ci_low"] > 90).all()
    assert (val["ci_low"] <= val["boot_mean"]).all()
    assert (val["boot_mean"] <= val["ci_high"]).all()
    assert (val["boot_std"] > 0).all()
    noise = gen[gen["damping_rule"] == "held_out"].iloc[0]
    assert abs(noise["lds"]) < 20
    assert noise["ci_low"] < 0 < noise["ci_high"]


def test_the_table_of_an_undamped_method_is_scipys_whatever_the_order_of_files(tmp_path, truth):
    _, losses = truth
    prediction = np.random.default_rng(9).normal(size=(1, S, Q)) + 10 * losses.mean(0)
    path = write_predictions(tmp_path / "val.h5", prediction, np.array([np.nan]), "raw_dot")
    files = write_losses(tmp_path, losses)
    table = measured_table({"val": path}, files, replicates=20)
    assert list(table["damping_rule"]) == ["none"]
    assert np.isnan(table["damping"][0])
    measured = losses.astype(np.float32).mean(0)
    expected = 100 * np.mean([spearmanr(prediction[0, :, q], measured[:, q])[0] for q in range(Q)])
    assert table["lds"][0] == pytest.approx(expected, abs=0.5)  # float32 draws may swap near ties
    backwards = measured_table({"val": path}, files[::-1], replicates=20)
    assert table.equals(backwards)
    single = measured_table({"val": path}, [p for p in files if "seed-1" in p.name], replicates=20)
    assert np.isnan(single["ceiling"][0])
    assert single["n_seeds"][0] == 1


def test_the_oracle_is_the_best_damping_and_its_interval_keeps_it(tmp_path, truth):
    _, losses = truth
    prediction = np.random.default_rng(10).normal(size=(3, S, Q))
    path = write_predictions(tmp_path / "val.h5", prediction)
    files = write_losses(tmp_path, losses)
    oracle = measured_table({"val": path}, files, replicates=100).iloc[1]
    best = int(np.flatnonzero(oracle["damping"] == DAMPINGS)[0])
    alone = write_predictions(tmp_path / "alone.h5", prediction[[best]], DAMPINGS[[best]])
    columns = ["damping", "lds", "ci_low", "ci_high", "boot_mean", "boot_std"]
    expected = measured_table({"val": alone}, files, replicates=100).iloc[1]
    assert oracle[columns].equals(expected[columns])


def test_a_damping_chosen_without_losses_has_a_row_of_its_own(tmp_path, truth):
    """Its LDS is scipy's of that one prediction; the other rows stay as they were."""
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
    expected = np.mean([spearmanr(prediction[2, :, q], measured[:, q])[0] for q in range(Q)])
    assert row["lds"] == pytest.approx(100 * expected, abs=0.5)  # losses are stored in float32
    assert row["damping"] == DAMPINGS[2]
    assert row["ci_low"] < row["lds"]
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
    held_out = table.iloc[0]
    assert held_out["lds"] == pytest.approx(found.halves.mean())
    assert held_out["lds"] == pytest.approx(found.queries.mean())
    assert held_out["lds_centred"] == pytest.approx(found.halves_centred.mean())
    for name, values in (("", found.replicates), ("centred_", found.replicates_centred)):
        expected = np.percentile(values, [2.5, 97.5])
        np.testing.assert_allclose(held_out[[f"{name}ci_low", f"{name}ci_high"]].astype(float), expected)
    assert 0 < held_out["negative_queries"] < Q
    assert held_out["negative_queries"] == sum(found.queries < 0)
    oracle, measured = table.iloc[1], losses.astype(np.float32).astype(float).mean(0)
    by_damping = [[spearmanr(p[:, q], measured[:, q])[0] for q in range(Q)] for p in prediction]
    np.testing.assert_allclose(found.by_damping, 100 * np.mean(by_damping, axis=1))
    np.testing.assert_array_equal(found.dampings, DAMPINGS)
    best = prediction[np.flatnonzero(oracle["damping"] == DAMPINGS)[0]]
    assert oracle["negative_queries"] == sum(spearmanr(best[:, q], measured[:, q])[0] < 0 for q in range(Q))


def test_the_interval_of_the_oracles_centred_lds_is_that_of_its_best_damping(tmp_path, truth):
    """Without damping there is nothing to choose, and the resamples are the same."""
    _, losses = truth
    losses *= 1 + np.random.default_rng(13).normal(0, 0.2, (1, S, 1))
    prediction = centre(losses.mean(0)) + np.random.default_rng(14).normal(0, 0.3, (3, S, Q))
    path, files = write_predictions(tmp_path / "val.h5", prediction), write_losses(tmp_path, losses)
    oracle = measured_table({"val": path}, files, replicates=100).iloc[1]
    alone = []
    for index in range(3):
        undamped = write_predictions(tmp_path / "one.h5", prediction[[index]], np.array([np.nan]))
        alone.append(measured_table({"val": undamped}, files, replicates=100).iloc[0])
    best = max(alone, key=lambda row: row["lds_centred"])
    columns = ["lds_centred", "centred_ci_low", "centred_ci_high"]
    assert oracle[columns].equals(best[columns])


def test_lds_by_number_of_subsets_is_that_of_the_drawn_subsets_alone(tmp_path, truth):
    _, losses = truth
    prediction = losses.mean(0) + np.random.default_rng(15).normal(0, 0.1, (3, S, Q))
    files = write_losses(tmp_path, losses)
    measured = losses.astype(np.float32).astype(float).mean(0)
    draws = Resamples.draw(S, 1, seed=0).draws[8]
    damped = write_predictions(tmp_path / "val.h5", prediction)
    undamped = write_predictions(tmp_path / "raw.h5", prediction[:1], np.array([np.nan]))
    for path in (damped, undamped):
        table, statistics = measure_lds("mine", {"val": path}, files, replicates=1)
        found = statistics.splits["val"]
        assert list(found.sizes) == [8, S]
        np.testing.assert_allclose(found.by_size[1], table["lds"][0])
        for draw in (0, 7):
            if path == damped:
                halves = draws.halves.left[20 * draw : 20 * (draw + 1)]
                members = draws.whole[draw] == 1
                expected = np.mean(
                    [
                        scipys_held_out(prediction[:, members], measured[members], left[members] == 1)
                        for left in halves
                    ]
                )
            else:
                expected = lds(
                    prediction[:1, draws.whole[draw] == 1], measured[draws.whole[draw] == 1]
                ).item()
            assert found.by_size[0, draw] == pytest.approx(expected, abs=1)  # float32 draws swap near ties


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
