"""LDS is SciPy's correlation, its damping never sees the subsets it is measured on, and it finds a truth."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from das import artifacts
from das.errors import UserError
from das.lds import COLUMNS, measure_lds
from das.lds.correlation import ceiling, centre, lds, mean_spearman, spearman
from das.lds.damping import choose_held_out
from das.lds.resampling import Halves, Resamples


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


def write_predictions(path, prediction, dampings=DAMPINGS, method="das", dataset="toy"):
    with artifacts.write(
        path, "predictions", dataset, {}, "w", method=method, damping_relative=dampings
    ) as file:
        file["prediction"] = prediction
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
    table = measure_lds(predictions, write_losses(tmp_path, losses), replicates=200)
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
    table = measure_lds({"val": path}, files, replicates=20)
    assert list(table["damping_rule"]) == ["none"]
    assert np.isnan(table["damping"][0])
    measured = losses.astype(np.float32).mean(0)
    expected = 100 * np.mean([spearmanr(prediction[0, :, q], measured[:, q])[0] for q in range(Q)])
    assert table["lds"][0] == pytest.approx(expected, abs=0.5)  # float32 draws may swap near ties
    backwards = measure_lds({"val": path}, files[::-1], replicates=20)
    assert table.equals(backwards)
    single = measure_lds({"val": path}, [p for p in files if "seed-1" in p.name], replicates=20)
    assert np.isnan(single["ceiling"][0])
    assert single["n_seeds"][0] == 1


def test_the_oracle_is_the_best_damping_and_its_interval_keeps_it(tmp_path, truth):
    _, losses = truth
    prediction = np.random.default_rng(10).normal(size=(3, S, Q))
    path = write_predictions(tmp_path / "val.h5", prediction)
    files = write_losses(tmp_path, losses)
    oracle = measure_lds({"val": path}, files, replicates=100).iloc[1]
    best = int(np.flatnonzero(oracle["damping"] == DAMPINGS)[0])
    alone = write_predictions(tmp_path / "alone.h5", prediction[[best]], DAMPINGS[[best]])
    columns = ["damping", "lds", "ci_low", "ci_high", "boot_mean", "boot_std"]
    expected = measure_lds({"val": alone}, files, replicates=100).iloc[1]
    assert oracle[columns].equals(expected[columns])


def test_losses_that_are_missing_or_do_not_fit_are_refused(tmp_path, truth):
    _, losses = truth
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, S, Q)))
    files = write_losses(tmp_path, losses)
    without = [p for p in files if p.name not in ("subset-10_seed-1.h5", "subset-2_seed-0.h5")]
    with pytest.raises(UserError, match="missing are subset 2 seed 0, subset 10 seed 1; every subset"):
        measure_lds({"val": path}, without)
    with pytest.raises(UserError, match="losses: missing"):
        measure_lds({"val": path}, [])
    with pytest.raises(UserError, match="already in"):
        measure_lds({"val": path}, [*files, files[3]])
    few = write_predictions(tmp_path / "few.h5", np.zeros((3, S - 1, Q)))
    with pytest.raises(UserError, match=r"subset-15_seed-0\.h5: of subset 15, but .*few\.h5 has 15 subsets"):
        measure_lds({"val": few}, files)
    narrow = write_predictions(tmp_path / "narrow.h5", np.zeros((3, S, Q - 1)))
    with pytest.raises(UserError, match=r"subset-0_seed-0\.h5: array 'val' has shape"):
        measure_lds({"val": narrow}, files)
    other = write_predictions(tmp_path / "other.h5", np.zeros((3, S, Q)), dataset="digits")
    with pytest.raises(UserError, match="dataset is 'toy'"):
        measure_lds({"val": other}, files)
    losses[1, 4] = np.nan
    files = write_losses(tmp_path, losses)
    with pytest.raises(UserError, match=r"subset-4_seed-1\.h5: array 'val' is not finite"):
        measure_lds({"val": path}, files)


def test_too_few_subsets_to_hold_some_out_are_refused(tmp_path, truth):
    _, losses = truth
    path = write_predictions(tmp_path / "val.h5", np.zeros((3, 7, Q)))
    with pytest.raises(UserError, match=r"lds\.subsets: found 7, allowed are 8 and more"):
        measure_lds({"val": path}, write_losses(tmp_path, losses[:, :7]))
