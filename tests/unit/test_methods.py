"""Every method is its formula, evaluated here densely in float64, from files, however they are cut."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_kernel import write_shard

import das
from das import artifacts, methods, shards
from das.errors import UserError
from das.methods import METHODS, Block, Method, method
from das.scoring import Sources, predict_losses, score_images

N, Q, S, T = 13, 4, 6, 5
DAMPINGS = [0.01, 0.3, 10.0]


class Toy:
    """Files of a small problem, and the arrays in them."""

    def __init__(self, folder: Path, k: int, cuts=(0, 5, 6, N)):
        random = np.random.default_rng(k)
        self.folder, self.k = folder, k
        self.features = random.normal(size=(N, k)).astype(np.float32)
        self.query_features = random.normal(size=(Q, k)).astype(np.float32)
        self.error = random.random((N, T)).astype(np.float32)
        self.images = random.integers(0, 256, (N, 3, 3, 1), dtype=np.uint8)
        self.query_images = random.integers(0, 256, (Q, 3, 3, 1), dtype=np.uint8)
        self.membership = random.random((S, N)) < 0.5
        self.sources = Sources(
            self.shards("train", self.features, cuts),
            self.shards("val", self.query_features, (0, 1, Q)),
            self.array("errors", "error", self.error),
            self.array("images", "images", self.images),
            self.array("images", "images", self.query_images, "query.h5"),
        )
        self.subsets = self.array("subsets", "membership", self.membership, weights="")

    def shards(self, name, features, cuts):
        return [write_shard(self.folder / f"{name}-{a}.h5", features[a:b], a) for a, b in pairwise(cuts)]

    def array(self, kind, name, values, file=None, weights="w", dataset="toy"):
        path = self.folder / (file or f"{kind}.h5")
        with artifacts.write(path, kind, dataset, {}, weights) as out:
            out[name] = values
        return path

    def dense(self, name, relative):
        """Scores [Q, N] straight from the formula."""
        G, G_q = self.features.astype(np.float64), self.query_features.astype(np.float64)
        damping = relative * np.sum(G**2) / min(G.shape)
        K = np.linalg.inv(G.T @ G + damping * np.eye(self.k))
        inner = G_q @ K @ G.T
        h = np.diag(G @ K @ G.T)
        r = np.mean([np.sqrt(self.error[:, t].astype(np.float64)) for t in range(T)], axis=0)
        x = (self.images.reshape(N, -1) / 127.5) - 1
        x_q = (self.query_images.reshape(Q, -1) / 127.5) - 1
        norms = np.sqrt(np.outer(np.sum(x_q**2, 1), np.sum(x**2, 1)))
        term = inner * r / (1 - h)
        return {
            "trak": inner,
            "dtrak": inner,
            "dtrak_squared": inner**2,
            "das": term**2,
            "das_no_residual": (inner / (1 - h)) ** 2,
            "das_no_leverage": (inner * r) ** 2,
            "das_linear": term,
            "das_signed_square": term * np.abs(term),
            "raw_dot": x_q @ x.T,
            "raw_cos": x_q @ x.T / norms,
        }[name]


ALL = sorted(METHODS)


def predict(toy, name, **changes):
    output = toy.folder / "out" / "predictions.h5"
    sources = Sources(**(vars(toy.sources) | changes))
    predict_losses(methods.get(name), sources, toy.subsets, DAMPINGS, output)
    return h5py.File(output)


@pytest.mark.parametrize("k", [6, 40])
@pytest.mark.parametrize("name", ALL)
def test_predictions_are_minus_the_sums_of_the_formulas_scores(tmp_path, name, k, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_BYTES", 8 * k * 4)
    toy = Toy(tmp_path, k)
    damped = METHODS[name].damped
    with predict(toy, name) as file:
        assert file["prediction"].shape == (len(DAMPINGS) if damped else 1, S, Q)
        assert file.attrs["method"] == name
        assert file.attrs["kind"] == "predictions"
        for index, relative in enumerate(DAMPINGS if damped else [1]):
            expected = -toy.membership.astype(float) @ toy.dense(name, relative).T
            np.testing.assert_allclose(file["prediction"][index], expected, rtol=1e-4, atol=1e-5)
            if damped:
                absolute = relative * np.sum(toy.features.astype(float) ** 2) / min(N, k)
                assert file.attrs["damping_relative"][index] == relative
                assert file.attrs["damping_absolute"][index] == pytest.approx(absolute)
                assert file.attrs["damping_unscaled"][index] == pytest.approx(absolute * k)
            else:
                assert np.isnan(file.attrs["damping_relative"]).all()


@pytest.mark.parametrize("name", ALL)
def test_scores_are_the_formula_and_top_is_their_order(tmp_path, name, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_BYTES", 8 * 9 * 4)
    toy = Toy(tmp_path, 6)
    damping = 0.3 if METHODS[name].damped else None
    score_images(METHODS[name], toy.sources, damping, "held_out", 5, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        scores = file["scores"][:]
        np.testing.assert_allclose(scores, toy.dense(name, 0.3), rtol=1e-4, atol=1e-5)
        assert scores.dtype == np.float32
        order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(file["top_index"][:], order)
        np.testing.assert_array_equal(file["top_score"][:], np.take_along_axis(scores, order, 1))
        magnitude = bool(file.attrs["magnitude"])
        assert not magnitude or scores.min() >= 0
        assert file.attrs["sign_convention"].startswith("magnitude" if magnitude else "positive")
        assert file.attrs["damping_rule"] == ("held_out" if damping else "none")


def test_top_is_no_longer_than_the_training_set(tmp_path):
    toy = Toy(tmp_path, 6)
    score_images(METHODS["das"], toy.sources, 1.0, "number", 100, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert (np.sort(file["top_index"][:], axis=1) == np.arange(N)).all()


@pytest.mark.parametrize("k", [6, 40])
def test_the_layout_of_shards_does_not_matter(tmp_path, k):
    one, many = (
        predict(Toy(tmp_path / str(len(cuts)), k, cuts), "das") for cuts in [(0, N), (0, 1, 2, 9, N)]
    )
    with one, many:
        np.testing.assert_array_equal(one["prediction"][:], many["prediction"][:])


def test_inputs_that_do_not_belong_together_are_refused(tmp_path):
    toy = Toy(tmp_path, 6)
    short = toy.array("errors", "error", toy.error[:-1], "short.h5")
    other = toy.array("errors", "error", toy.error, "other.h5", weights="v")
    elsewhere = toy.array("errors", "error", toy.error, "elsewhere.h5", dataset="digits")
    wide = toy.array("images", "images", np.zeros((Q, 3, 4, 1), np.uint8), "wide.h5")
    foreign = [write_shard(tmp_path / "foreign.h5", toy.query_features, 0, projection="q")]
    for name, changes, message in [
        ("das", {"train_errors": short}, r"short\.h5: holds 12 images, the other inputs 13"),
        ("das", {"train_errors": other}, r"other\.h5: weights is 'v'"),
        ("das", {"train_errors": elsewhere}, r"elsewhere\.h5: dataset is 'digits'"),
        ("das", {"train_errors": None}, r"training errors: the method needs them"),
        ("das", {"query_features": foreign}, r"foreign\.h5: projection is 'q'"),
        ("das", {"train_features": ()}, "no shards"),
        ("raw_dot", {"query_images": wide}, r"wide\.h5: images have shape"),
    ]:
        with pytest.raises(UserError, match=message):
            predict(toy, name, **changes)
    toy.subsets = toy.array("subsets", "membership", toy.membership[:, 1:], "few.h5")
    with pytest.raises(UserError, match=r"few\.h5: array 'membership' has shape \(6, 12\)"):
        predict(toy, "das")
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_are_named(tmp_path, monkeypatch):
    toy = Toy(tmp_path, 6)

    @method(inputs=("images",), damped=False)
    def broken(block: Block):
        scores = block.query_pixels @ block.train_pixels.T
        scores[2, 3] = np.inf
        return scores

    with pytest.raises(UserError, match=r"method broken: .* training image 3 for query 2 is inf"):
        predict_losses(broken, toy.sources, toy.subsets, [], tmp_path / "p.h5")


def test_an_unknown_method_is_refused_with_those_that_are_known():
    with pytest.raises(UserError, match=r"unknown method 'daz', known are das, .*trak"):
        methods.get("daz")


def test_every_method_states_its_formula_and_is_declared_consistently():
    assert len(ALL) >= 10
    for name, found in METHODS.items():
        assert found.name == name
        assert len(found.description) > 10
    with pytest.raises(ValueError, match="unknown inputs"):
        Method("x", lambda block: block.inner, ("latents",), False, False)
    with pytest.raises(ValueError, match="if, and only if"):
        Method("x", lambda block: block.inner, ("images",), True, False)


def test_the_registry_needs_only_numpy():
    """The workflow reads it at every parse, and a dry run must stay quick."""
    code = (
        "import sys, das.methods;"
        "heavy = {'torch', 'scipy', 'pandas', 'h5py', 'matplotlib'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    folder = str(Path(das.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
