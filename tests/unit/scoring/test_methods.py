"""Every method is its formula, evaluated here densely in float64, from files, however they are cut."""

import json
import subprocess
import sys
import weakref
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from test_kernel import write_shard

import das
from das import methods
from das.errors import UserError
from das.jobs import artifacts, blocks
from das.methods import METHODS, Block, Files, Input, Method, Product, declare, method
from das.methods.inputs import INPUTS
from das.plan.methods import Candidates
from das.scoring import inputs
from das.scoring.gram import sum_gram
from das.scoring.inputs import ImageInput, Scene
from das.scoring.kernel import Damping
from das.scoring.score import predict_losses, score_images
from das.scoring.scorer import Best, Sources

N, Q, S, T, M = 13, 4, 6, 5, 10
DAMPINGS = [0.01, 0.3, 10.0]


class Toy:
    """Files of a small problem, and the arrays in them."""

    def __init__(self, folder: Path, k: int, cuts=(0, 5, 6, N)):
        random = np.random.default_rng(k)
        self.folder, self.k, self.cuts, self.random = folder, k, cuts, random
        self.features = random.normal(size=(N, k)).astype(np.float32)
        self.query_features = random.normal(size=(Q, k)).astype(np.float32)
        self.error = random.random((N, T)).astype(np.float32)
        self.images = random.integers(0, 256, (N, 3, 3, 1), dtype=np.uint8)
        self.query_images = random.integers(0, 256, (Q, 3, 3, 1), dtype=np.uint8)
        self.embeddings = random.normal(size=(N, 7)).astype(np.float32)
        self.query_embeddings = random.normal(size=(Q, 7)).astype(np.float32)
        self.patch_weights = random.random((N, Q)).astype(np.float32)
        self.membership = random.random((S, N)) < 0.5
        self.retrained = random.random((M, N)) < 0.5
        self.losses = random.random((2, M, 3, Q)).astype(np.float32)  # [seeds, M, draws, Q]
        self.part = {
            "train_features": self.shards("train", self.features, cuts),
            "query_features": self.shards("val", self.query_features, (0, 1, Q)),
            "train_errors": [self.array("errors", "error", self.error, timesteps=np.arange(T) * 10)],
        }
        self.shared = {
            "train_images": [self.array("images", "images", self.images)],
            "query_images": [self.array("images", "images", self.query_images, "query.h5")],
            "train_embeddings": [self.array("embeddings", "embeddings", self.embeddings, weights="c")],
            "query_embeddings": [
                self.array(
                    "embeddings", "embeddings", self.query_embeddings, "query_embeddings.h5", weights="c"
                )
            ],
            "patch_weights": [self.array("patches", "weights", self.patch_weights, weights="")],
            "retrained_subsets": [
                self.array("subsets", "membership", self.retrained, "retrained.h5", weights="")
            ],
            "retrained_losses": [self.loss(m, r) for m in reversed(range(M)) for r in (0, 1)],
        }
        self.sources = self.scored_from([self.part])
        self.subsets = self.array("subsets", "membership", self.membership, weights="")

    def scored_from(self, parts, without=(), **more):
        """The sources of a method: files of each part, and those of all parts but for some."""
        files = {name: [part[name] for part in parts] for name in parts[0]}
        files |= {name: [found] for name, found in self.shared.items() if name not in without}
        return Sources(files, **more)

    def shards(self, name, features, cuts):
        return [write_shard(self.folder / f"{name}-{a}.h5", features[a:b], a) for a, b in pairwise(cuts)]

    def array(self, kind, name, values, file=None, weights="w", dataset="toy", **more):
        path = self.folder / (file or f"{kind}.h5")
        with artifacts.write(path, kind, dataset, {}, weights) as out:
            out[name] = values
            for key, value in more.items():
                out[key] = value
        return path

    def loss(self, m, r):
        path = self.folder / f"loss-{m}-{r}.h5"
        with artifacts.write(path, "losses", "toy", {}, "w", subset=m, seed=r) as file:
            file["val"] = self.losses[r, m]
        return path

    def another(self, name):
        """The files of a second model: other features and errors; and the toy that has them."""
        other = Toy(self.folder / name, self.k, self.cuts)
        other.features = self.random.normal(size=(N, self.k)).astype(np.float32)
        other.query_features = self.random.normal(size=(Q, self.k)).astype(np.float32)
        other.error = self.random.random((N, T)).astype(np.float32)
        part = {
            "train_features": other.shards("train", other.features, self.cuts),
            "query_features": other.shards("val", other.query_features, (0, Q)),
            "train_errors": [other.array("errors", "error", other.error)],
        }
        return other, part

    def dense(self, name, relative, H=None):
        """Scores [Q, N] straight from the formula."""
        G, G_q = self.features.astype(np.float64), self.query_features.astype(np.float64)
        H, size = (G.T @ G, min(G.shape)) if H is None else (H, self.k)
        damping = relative * np.trace(H) / size
        K = np.linalg.inv(H + damping * np.eye(self.k))
        inner = np.array([[g_q @ K @ g for g in G] for g_q in G_q])
        h = np.array([g @ K @ g for g in G])
        root = np.sqrt(self.error.astype(np.float64))
        r = np.mean([root[:, t] for t in range(root.shape[1])], axis=0)
        code_r = np.mean(
            [root[:, t] / np.sqrt(np.sum(root[:, t] ** 2)) for t in range(root.shape[1])], axis=0
        )
        pixels = [
            (images.reshape(len(images), -1) / 127.5) - 1 for images in (self.query_images, self.images)
        ]
        mean = pixels[1].mean(0)
        X = pixels[1] - mean
        whole = X.T @ X + relative * np.sum(X**2) / min(X.shape) * np.eye(X.shape[1])
        pixel_inner = (pixels[0] - mean) @ np.linalg.inv(whole) @ X.T
        clip = [self.query_embeddings.astype(np.float64), self.embeddings.astype(np.float64)]
        term = inner * r / (1 - h)
        y = self.losses.astype(np.float64).mean(2).mean(0)  # [M, Q]
        return {
            "trak": lambda: inner,
            "dtrak": lambda: inner,
            "dtrak_squared": lambda: inner**2,
            "relative_if": lambda: inner / [np.sqrt(g @ K @ K @ g) for g in G],
            "renormalised_if": lambda: inner / [np.sqrt(g @ g) for g in G],
            "grad_dot": lambda: G_q @ G.T,
            "grad_cos": lambda: cosines(G_q, G),
            "retrac": lambda: np.array([[g_q @ g / np.sqrt(g @ g) for g in G] for g_q in G_q]),
            "das_gn": lambda: inner**2,
            "ekfac": lambda: G_q @ G.T,
            "ekfac_squared": lambda: (G_q @ G.T) ** 2,
            "das_gn_raw": lambda: np.maximum(inner, 0) * np.maximum(pixel_inner, 0),
            "das": lambda: term**2,
            "das_no_residual": lambda: (inner / (1 - h)) ** 2,
            "das_no_leverage": lambda: (inner * r) ** 2,
            "das_linear": lambda: term,
            "das_relative": lambda: np.array(
                [[(g_q @ K @ g) ** 2 / (g @ K @ K @ g) for g in G] for g_q in G_q]
            ),
            "das_signed_square": lambda: term * np.abs(term),
            "das_code_residual": lambda: (inner * code_r / (1 - h)) ** 2,
            "raw_dot": lambda: pixels[0] @ pixels[1].T,
            "raw_cos": lambda: cosines(*pixels),
            "raw_kernel": lambda: np.maximum(pixel_inner, 0) ** 2,
            "clip_dot": lambda: clip[0] @ clip[1].T,
            "clip_cos": lambda: cosines(*clip),
            "nda": lambda: self.patch_weights.T.astype(np.float64),
            "empirical_influence": lambda: np.array(
                [[np.mean(y[~seen, q]) - np.mean(y[seen, q]) for seen in self.retrained.T] for q in range(Q)]
            ),
            "datamodel": lambda: (
                -np.array(
                    [
                        RidgeCV((0.1, 1, 10), cv=5).fit(self.retrained.astype(float), y[:, q]).coef_
                        for q in range(Q)
                    ]
                )
            ),
        }[name]()


def cosines(a, b):
    return np.array([[x @ y / np.sqrt((x @ x) * (y @ y)) for y in b] for x in a])


ALL = sorted(METHODS)


def predict(toy, name, without=(), **changes):
    """Predictions of a method, from other files in the place of some, or without them."""
    output = toy.folder / "out" / "predictions.h5"
    files = {key: found for key, found in (toy.part | toy.shared | changes).items() if key not in without}
    sources = Sources({key: [found] for key, found in files.items()})
    predict_losses(methods.get(name), sources, toy.subsets, DAMPINGS, output)
    return h5py.File(output)


@pytest.mark.parametrize(
    ("name", "k"),
    [(name, k) for name in ALL for k in (6, 40) if k == 6 or "kernel" in METHODS[name].inputs],
)
def test_predictions_are_minus_the_sums_of_the_formulas_scores(tmp_path, name, k, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * k * 4)
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
                matrix = toy.features.astype(float)
                if name == "raw_kernel":
                    matrix = toy.images.reshape(N, -1) / 127.5
                    matrix = matrix - matrix.mean(0)
                absolute = relative * np.sum(matrix**2) / min(matrix.shape)
                assert file.attrs["damping_relative"][index] == relative
                assert file.attrs["damping_absolute"][index] == pytest.approx(absolute)
                assert file.attrs["damping_unscaled"][index] == pytest.approx(absolute * matrix.shape[1])
            else:
                assert np.isnan(file.attrs["damping_relative"]).all()


@pytest.mark.parametrize(
    ("name", "k"),
    [
        *((name, k) for name in ("trak", "dtrak", "relative_if", "das_linear") for k in (6, 40)),
        *((name, 6) for name in ("renormalised_if", "grad_dot", "grad_cos", "retrac")),
        *((name, 6) for name in ("raw_dot", "raw_cos", "clip_dot", "clip_cos")),
    ],
)
def test_products_are_summed_before_they_are_multiplied(tmp_path, name, k, monkeypatch):
    """No score is computed on the way, and the sums are those of scores."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * k * 4)
    toy, linear = Toy(tmp_path, k), METHODS[name]

    def score_by_score(block):
        found = linear.score(block)
        query = found.query if found.kernel is None else found.kernel(found.query)
        scores = (found.train.astype(float) @ query.astype(float).T).T
        return scores if found.weight is None else scores * found.weight

    plain = Method("plain", score_by_score, linear.inputs)
    predict_losses(plain, toy.sources, toy.subsets, DAMPINGS, tmp_path / "plain.h5")
    monkeypatch.setattr(Product, "scores", None)
    predict_losses(linear, toy.sources, toy.subsets, DAMPINGS, tmp_path / "summed.h5")
    with h5py.File(tmp_path / "plain.h5") as expected, h5py.File(tmp_path / "summed.h5") as file:
        for array in {"prediction", "prediction_gcv"} & set(expected):
            largest = np.abs(expected[array]).max()
            np.testing.assert_allclose(file[array], expected[array], rtol=0, atol=1e-11 * largest)


@pytest.mark.parametrize("name", ALL)
def test_scores_are_the_formula_and_top_is_their_order(tmp_path, name, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 9 * 4)
    toy = Toy(tmp_path, 6)
    damped = METHODS[name].damped
    score_images(METHODS[name], toy.sources, [0.3], "held_out", 5, tmp_path / "s.h5")
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
        assert file.attrs["damping_rule"] == ("held_out" if damped else "none")
        assert not damped or file.attrs["damping"] == pytest.approx(0.3)


def test_top_is_no_longer_than_the_training_set(tmp_path):
    toy = Toy(tmp_path, 6)
    score_images(METHODS["das"], toy.sources, [1.0], "number", 100, tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert (np.sort(file["top_index"][:], axis=1) == np.arange(N)).all()


@pytest.mark.parametrize("top", [1, 4, 30])
def test_the_highest_of_blocks_are_those_of_all_and_equal_ones_by_index(top):
    scores = np.random.default_rng(0).integers(0, 5, (7, 20)).astype(np.float32)
    best = Best.none(7)
    for rows in (range(6), range(6, 18), range(18, 20)):
        best = best.merge(scores[:, rows.start : rows.stop], rows, top)
    expected = [sorted(range(20), key=lambda i: (-row[i], i))[:top] for row in scores]
    np.testing.assert_array_equal(best.index, expected)
    np.testing.assert_array_equal(best.score, np.take_along_axis(scores, best.index, 1))


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
    foreign = [write_shard(tmp_path / "foreign.h5", toy.query_features, 0, settings={"seed": 9})]
    for name, changes, message in [
        ("das", {"train_errors": [short]}, r"short\.h5: holds 12 images, the other inputs 13"),
        ("das", {"train_errors": [other]}, r"other\.h5: weights is 'v'"),
        ("das", {"train_errors": [elsewhere]}, r"elsewhere\.h5: dataset is 'digits'"),
        ("das", {"without": ["train_errors"]}, r"training errors: the method needs them"),
        ("das", {"query_features": foreign}, r"foreign\.h5: settings is '{\"seed\": 9}'"),
        ("das", {"train_features": ()}, "no shards"),
        ("raw_dot", {"query_images": [wide]}, r"wide\.h5: images have shape"),
    ]:
        with pytest.raises(UserError, match=message):
            predict(toy, name, **changes)
    toy.subsets = toy.array("subsets", "membership", toy.membership[:, 1:], "few.h5")
    with pytest.raises(UserError, match=r"few\.h5: array 'membership' has shape \(6, 12\)"):
        predict(toy, "das")
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_are_named(tmp_path, monkeypatch):
    toy = Toy(tmp_path, 6)

    @method(inputs=("images",))
    def broken(block: Block):
        scores = block.query_pixels @ block.train_pixels.T
        scores[2, 3] = np.inf
        return scores

    with pytest.raises(UserError, match=r"method broken: .* training image 3 for query 2 is inf"):
        predict_losses(broken, toy.sources, toy.subsets, [], tmp_path / "p.h5")


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered")
def test_an_image_whose_scores_are_not_finite_is_named_where_they_are_summed(tmp_path):
    toy = Toy(tmp_path, 6)
    toy.features[3] = 0
    silent = {"train_features": [write_shard(tmp_path / "silent.h5", toy.features, 0)]}
    for name in ("grad_cos", "renormalised_if"):
        with pytest.raises(UserError, match=f"method {name}: .* training image 3 for query 0 is nan"):
            predict(toy, name, **silent)


def test_what_a_method_did_not_ask_for_is_named(tmp_path):
    toy = Toy(tmp_path, 6)

    @method(inputs=("images",))
    def careless(block: Block):
        return block.query_pixels @ block.train_pixels.T * block.one_minus_leverage

    @method(inputs=("images",), prepare=lambda everything: np.linalg.norm(everything.train_pixels))
    def early(block: Block):
        return block.query_pixels @ block.train_pixels.T / block.prepared

    @method(inputs=("images",))
    def narrow(block: Block):
        return (block.query_pixels @ block.train_pixels.T).mean(0, keepdims=True)

    for own, message in [
        (careless, "method careless: uses block.one_minus_leverage, which none of its inputs gives"),
        (
            early,
            "method early: uses block.train_pixels, .* or not before there are blocks",
        ),
        (narrow, r"method narrow: scores have shape \(1, 13\), expected \(4, 13\)"),
    ]:
        with pytest.raises(UserError, match=message):
            predict_losses(own, toy.sources, toy.subsets, [], tmp_path / "p.h5")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("errors", {}, "there is an input errors already, choose another name"),
        (
            "mine",
            {"ours": Files("x/{slpit}.h5")},
            "mine: ours: .* the placeholder 'slpit', allowed",
        ),
        ("mine", {"ours": Files("x/{split!r}.h5")}, "has the placeholder 'split', .* nothing beside them"),
        ("mine", {"ours": Files("x/{split.h5")}, "is no path with placeholders"),
        ("mine", {"ours": Files("x/{shard}.h5")}, "shards are files named /train/{shard}.h5 or"),
        ("mine", {"ours": "x.h5"}, "mine: ours: found 'x.h5', expected Files with a path"),
        (
            "mine",
            {"query_images": Files("images/val.h5")},
            "but query_images is .*; choose another",
        ),
    ],
)
def test_an_input_that_cannot_be_declared_is_named(name, files, message):
    with pytest.raises(UserError, match=message):
        declare(Input(name, {}, files, "somewhere:Mine"))
    assert "mine" not in INPUTS


def test_an_input_that_opens_otherwise_than_it_says_is_named(tmp_path, monkeypatch):
    """One that asks for a file of another name, and one that has no damping."""
    toy = Toy(tmp_path, 6)

    class Mine(ImageInput):
        def __init__(self, files, scene):
            super().__init__(files, scene)
            self._more = files["more"] if "asks" in scene.wanted else None

    images = INPUTS["images"].files
    for name, damped, message in [
        ("asks", False, "Mine: asks for 'more', given are .*train_images"),
        ("lies", True, "method scored: an input is damped, but none opened as a DampedInput"),
    ]:
        monkeypatch.setitem(INPUTS, name, Input(name, {}, images, Mine, damped=damped))

        @method(inputs=(name,))
        def scored(block: Block):
            return block.query_pixels @ block.train_pixels.T

        with pytest.raises(UserError, match=message):
            predict_losses(scored, toy.sources, toy.subsets, [0.1], tmp_path / "p.h5")


def test_inputs_give_the_fields_that_they_declare(tmp_path):
    """Each by itself, opened as the scorer does it."""
    toy = Toy(tmp_path, 6)
    files = toy.part | toy.shared
    for name, declared in INPUTS.items():
        opened = declared.opener(files, Scene((name,))).loaded()
        given = opened.block(range(3), Damping(1.0, 1.0, 1.0))
        assert set(given) == set(declared.gives), name


def test_only_one_part_has_its_kernel_in_memory(tmp_path, monkeypatch):
    toy = Toy(tmp_path, 6)
    alive, most = weakref.WeakSet(), []
    build = inputs.build_kernel

    def counted(*arguments, **named):
        kernel = build(*arguments, **named)
        alive.add(kernel)
        most.append(len(alive))
        return kernel

    monkeypatch.setattr(inputs, "build_kernel", counted)
    both = toy.scored_from([toy.part] * 3)
    predict_losses(METHODS["das"], both, toy.subsets, DAMPINGS, tmp_path / "p.h5")
    score_images(METHODS["das"], both, [0.3], "number", 5, tmp_path / "s.h5")
    assert most == [1] * 6


def test_an_unknown_method_is_refused_with_those_that_are_known():
    with pytest.raises(UserError, match=r"unknown method 'daz', known are .*das, .*trak"):
        methods.get("daz")


def test_every_method_states_its_formula_and_is_declared_consistently():
    assert len(ALL) >= 10
    for name, found in METHODS.items():
        assert found.name == name
        assert len(found.description) > 10
    with pytest.raises(UserError, match="method x: unknown inputs latents, allowed are kernel, "):
        Method("x", lambda block: block.inner, ("latents",))
    with pytest.raises(
        UserError, match="method x: its inputs errors say nothing of queries; add one of kernel, "
    ):
        Method("x", lambda block: block.residual, ("errors",))


def test_an_image_that_one_model_alone_saw_or_missed_has_a_score_and_one_that_all_saw_has_none():
    seen = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 1]], dtype=float)  # models by images
    losses = np.array([[1.0], [2.0], [6.0]])
    scores = METHODS["empirical_influence"].score(Block(retrained_on=seen, retrained_losses=losses))
    np.testing.assert_allclose(scores, [[(2 + 6) / 2 - 1, 1 - (2 + 6) / 2, 0]])


def test_magnitudes_are_scores_without_a_sign(tmp_path):
    toy = Toy(tmp_path, 6)
    for name, found in METHODS.items():
        assert found.magnitude == bool((np.asarray(toy.dense(name, 0.3)) >= 0).all()), name


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


def scores_of(toy, name, tmp_path, relative=0.3, parts=None, **changes):
    sources = toy.scored_from(parts or [toy.part], **changes)
    score_images(METHODS[name], sources, [relative], "held_out", 5, tmp_path / "scores.h5")
    with h5py.File(tmp_path / "scores.h5") as file:
        return file["scores"][:]


@pytest.mark.parametrize("name", ["das", "grad_cos", "trak"])
def test_scores_over_models_are_the_mean_of_each_models_scores(tmp_path, name):
    """Checkpoints make TracInCP of grad_dot and GAS of grad_cos; seeds make ensembles."""
    toy = Toy(tmp_path, 6)
    other, part = toy.another("second")
    found = scores_of(toy, name, tmp_path, parts=[toy.part, part])
    expected = (toy.dense(name, 0.3) + other.dense(name, 0.3)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    predict_losses(METHODS[name], toy.scored_from([toy.part, part]), toy.subsets, [0.3], tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        np.testing.assert_allclose(
            file["prediction"][0], -toy.membership.astype(float) @ expected.T, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("k", [6, 40])
def test_das_over_timesteps_is_equation_16(tmp_path, k):
    """A kernel, a leverage and a residual of each timestep; the squared terms averaged."""
    toy = Toy(tmp_path, k)
    timesteps = [10, 40]  # of 0, 10, ..., at which there are errors
    random = np.random.default_rng(0)
    train, query = (random.normal(size=(n, 2, k)).astype(np.float32) for n in (N, Q))
    part = toy.part | {
        "train_features": [write_shard(tmp_path / "by_t.h5", train, 0, timesteps=timesteps)],
        "query_features": [write_shard(tmp_path / "by_q.h5", query, 0, timesteps=timesteps)],
    }
    found = scores_of(toy, "das", tmp_path, parts=[part], by_timestep=True)
    expected = np.zeros((Q, N))
    for position, column in enumerate([1, 4]):
        G, G_q = train[:, position].astype(float), query[:, position].astype(float)
        K = np.linalg.inv(G.T @ G + 0.3 * np.sum(G**2) / min(N, k) * np.eye(k))
        h = np.diag(G @ K @ G.T)
        r = np.sqrt(toy.error[:, column].astype(float))
        expected += (G_q @ K @ G.T * r / (1 - h)) ** 2 / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    late = [
        write_shard(tmp_path / f"late_{n}.h5", f, 0, timesteps=[10, 45])
        for n, f in [("t", train), ("q", query)]
    ]
    part |= {"train_features": late[:1], "query_features": late[1:]}
    with pytest.raises(UserError, match=r"errors\.h5: errors were measured at 5 timesteps without 45"):
        scores_of(toy, "das", tmp_path, parts=[part], by_timestep=True)


@pytest.mark.parametrize("k", [6, 40])
def test_a_given_kernel_takes_the_place_of_the_features_own(tmp_path, k):
    toy = Toy(tmp_path, k)
    J = np.random.default_rng(1).normal(size=(50, k))
    kernel = tmp_path / "kernel.h5"
    settings = {"projection": "count-sketch", "dimension": k, "projection_seed": 0}
    with artifacts.write(kernel, "kernel", "toy", settings, "w") as file:
        file["kernel"] = J.T @ J
    part = toy.part | {
        "train_features": [write_shard(tmp_path / "t.h5", toy.features, 0, settings=settings)],
        "query_features": [write_shard(tmp_path / "q.h5", toy.query_features, 0, settings=settings)],
        "kernels": [kernel],
    }
    for name in ("das_gn", "das_relative"):
        found = scores_of(toy, name, tmp_path, parts=[part])
        np.testing.assert_allclose(found, toy.dense(name, 0.3, J.T @ J), rtol=1e-4, atol=1e-6)
    with artifacts.write(kernel, "kernel", "toy", settings | {"projection_seed": 1}, "w") as file:
        file["kernel"] = J.T @ J
    with pytest.raises(UserError, match=r"kernel\.h5: projection_seed is 1, but the features .*t\.h5 have 0"):
        scores_of(toy, "das_gn", tmp_path, parts=[part])


@pytest.mark.parametrize("name", ["trak", "das", "relative_if"])
def test_a_gram_matrix_that_was_summed_before_changes_nothing(tmp_path, name):
    toy, gram = Toy(tmp_path, 6), tmp_path / "gram.h5"
    sum_gram(toy.part["train_features"][::-1], gram)
    with h5py.File(gram) as file:
        np.testing.assert_allclose(file["gram"], toy.features.astype(float).T @ toy.features, rtol=1e-6)
    with predict(toy, name) as file:
        expected = {key: file[key][:] for key in file}
    with predict(toy, name, grams=[gram]) as file:
        for key, array in expected.items():
            np.testing.assert_array_equal(file[key], array)


def test_the_gram_matrix_of_other_features_is_refused(tmp_path):
    toy, few, other = Toy(tmp_path, 6), tmp_path / "few.h5", tmp_path / "other.h5"
    sum_gram(toy.part["train_features"][:1], few)
    with pytest.raises(UserError, match=r"few\.h5: is of \d+ images, but the features of .* are of 13; they"):
        predict(toy, "trak", grams=[few])
    settings = {"projection": "none"}
    sum_gram([write_shard(tmp_path / "shard.h5", toy.features, 0, settings=settings)], other)
    with pytest.raises(UserError, match=r"other\.h5"):
        predict(toy, "trak", grams=[other])


@pytest.mark.parametrize("by", ["raw", "clip"])
def test_only_the_nearest_candidates_are_scored(tmp_path, by, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 9 * 4)
    toy = Toy(tmp_path, 6)
    chosen = Candidates(by, 3)
    das, trak = toy.dense("das", 0.3), toy.dense("trak", 0.3)
    for query, nearness in enumerate(toy.dense(f"{by}_cos", 0.3)):
        das[query, np.argsort(-nearness)[3:]] = trak[query, np.argsort(-nearness)[3:]] = 0
    found = scores_of(toy, "das", tmp_path, candidates=chosen)
    np.testing.assert_allclose(found, das, rtol=1e-4, atol=1e-5)
    sources = toy.scored_from([toy.part], candidates=chosen)
    predict_losses(METHODS["trak"], sources, toy.subsets, [0.3], tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        expected = -toy.membership.astype(float) @ trak.T
        np.testing.assert_allclose(file["prediction"][0], expected, rtol=1e-4, atol=1e-5)


def test_predictions_say_what_their_files_cost(tmp_path):
    toy = Toy(tmp_path, 6)
    train_files, query_files, [errors] = toy.part.values()
    files = [*train_files, *query_files, errors]
    for seconds, path in enumerate(files):
        with h5py.File(path, "a") as file:
            file.attrs["seconds"] = 100.0 * seconds
    with h5py.File(files[0], "a") as file:
        file.attrs["training_seconds"] = 5000.0
    none = ("train_embeddings", "query_embeddings", "patch_weights", "retrained_losses")
    with predict(toy, "das", without=none) as file:
        own = file.attrs["cost_seconds"] - 5000 - 100 * sum(range(len(files)))
        assert 0 < own < 100
        assert file.attrs["cost_bytes"] == sum(path.stat().st_size for path in files)
    sources = toy.scored_from([toy.part], without=none)
    score_images(methods.get("das"), sources, [0.1], "number", 3, tmp_path / "scores.h5")
    with h5py.File(tmp_path / "scores.h5") as file:
        costs = {step.pop("step"): step for step in json.loads(file.attrs["costs"])}
    train, query, size = len(train_files), len(query_files), errors.stat().st_size
    assert costs == {
        "gradients of the training images": {
            "files": train,
            "seconds": 100 * sum(range(train)),
            "bytes": sum(path.stat().st_size for path in train_files),
        },
        "gradients of the pictures": {
            "files": query,
            "seconds": 100 * sum(range(train, train + query)),
            "bytes": sum(path.stat().st_size for path in query_files),
        },
        "errors of the training images": {"files": 1, "seconds": 100 * (train + query), "bytes": size},
        "training of further models": {"files": 1, "seconds": 5000, "bytes": 0},
    }


def gcv_of(toy, relative):
    """Mean squared leave-one-out error, with the mean leverage, of the residuals' dense ridge regression."""
    G = toy.features.astype(np.float64)
    y = np.sqrt(toy.error.astype(np.float64)).mean(1)
    damping = relative * np.sum(G**2) / min(G.shape)
    S = G @ np.linalg.inv(G.T @ G + damping * np.eye(toy.k)) @ G.T
    return np.mean((y - S @ y) ** 2) / (1 - np.trace(S) / N) ** 2


@pytest.mark.parametrize("k", [6, 40])
def test_a_damping_is_chosen_without_retrained_models(tmp_path, k):
    toy = Toy(tmp_path, k)
    other, part = toy.another("second")
    both = toy.scored_from([toy.part, part])
    chosen = [min(DAMPINGS, key=lambda relative: gcv_of(t, relative)) for t in (toy, other)]
    expected = sum(t.dense("das", relative) for t, relative in zip((toy, other), chosen, strict=True)) / 2
    predict_losses(METHODS["das"], both, toy.subsets, DAMPINGS, tmp_path / "p.h5")
    score_images(METHODS["das"], both, DAMPINGS, "gcv", 5, tmp_path / "s.h5")
    with h5py.File(tmp_path / "p.h5") as file, h5py.File(tmp_path / "s.h5") as scores:
        np.testing.assert_allclose(scores["scores"][:], expected, rtol=1e-4, atol=1e-5)
        predicted = -toy.membership.astype(float) @ expected.T
        np.testing.assert_allclose(file["prediction_gcv"][:], predicted, rtol=1e-4, atol=1e-5)
        for attribute in (file.attrs["damping_gcv"], scores.attrs["damping"]):
            assert attribute == pytest.approx(np.sqrt(chosen[0] * chosen[1]))
        assert scores.attrs["damping_rule"] == "gcv"


def test_a_method_without_residuals_has_nothing_to_choose_a_damping_by(tmp_path):
    toy = Toy(tmp_path, 6)
    with pytest.raises(UserError, match=r"scores\.damping: gcv needs residuals .* which trak lacks; name a"):
        score_images(METHODS["trak"], toy.sources, DAMPINGS, "gcv", 5, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()
    with predict(toy, "trak") as file:
        assert "prediction_gcv" not in file


def test_retraining_leaves_images_out_that_every_model_saw(tmp_path):
    toy = Toy(tmp_path, 6)
    toy.retrained[:, 2], toy.retrained[:, 5] = True, False
    toy.array("subsets", "membership", toy.retrained, "retrained.h5", weights="")
    found = scores_of(toy, "empirical_influence", tmp_path, None)
    assert (found[:, [2, 5]] == 0).all()
    assert (found[:, [0, 1]] != 0).all()


OWN = """
from __future__ import annotations

from dataclasses import dataclass

from das.methods import method

@dataclass
class Unused:
    number: int

@method(inputs=("images",))
def brightness(block):
    \"\"\"Product of the images' mean brightness.\"\"\"
    return block.query_pixels.mean(1)[:, None] * block.train_pixels.mean(1)
"""


def test_a_method_may_live_in_a_file_outside_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))
    monkeypatch.setattr(methods, "_LOADED", set())
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    assert methods.get("brightness", [file]).inputs == ("images",)
    assert methods.get("brightness", [file]).name == "brightness"  # loaded once
    for text, message in [
        ("x = 1", r"other\.py: holds no method"),
        ("import nothing_of_this_name", r"other\.py: cannot be loaded: ModuleNotFoundError"),
        (OWN, r"other\.py: there is a method brightness already"),
    ]:
        (tmp_path / "other.py").write_text(text)
        with pytest.raises(UserError, match=message):
            methods.load(tmp_path / "other.py")
    with pytest.raises(UserError, match="method_modules: no file"):
        methods.load(tmp_path / "absent.py")
