"""The kernel is the formula, in both forms, for every damping; and it is exact for leaving one image out."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from das.errors import UserError
from das.gradients.projection import fold
from das.jobs import artifacts, blocks
from das.methods import Product
from das.scoring.build_kernel import build_kernel
from das.scoring.feature_shards import Shards
from das.scoring.solved_kernel import SolvedDualKernel, SolvedPrimalKernel
from das.scoring.spectral_kernel import SpectralDualKernel, SpectralPrimalKernel

DAMPINGS = [1e-6, 1e-2, 1.0, 1e3]


class InMemory:
    """Features [n, k] that are all there."""

    def __init__(self, features):
        self.features = np.asarray(features, dtype=np.float64)
        self.n, self.k = self.features.shape

    def read(self, rows):
        return self.features[rows.start : rows.stop]


def write_shard(path, features, first, *, weights="w", settings=None, count=None, timesteps=None):
    with artifacts.write(
        path,
        "features",
        "toy",
        settings or {"projection": {"k": features.shape[1]}},
        weights,
        precision="torch.float32",
        first=first,
        count=len(features) if count is None else count,
    ) as file:
        file["features"] = features.astype(np.float32)
        if timesteps is not None:
            file["timesteps"] = np.array(timesteps, np.int64)
    return path


PRIMAL, DUAL = (SolvedPrimalKernel, SpectralPrimalKernel), (SolvedDualKernel, SpectralDualKernel)


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(("n", "k", "forms"), [(7, 19, DUAL), (19, 7, PRIMAL), (9, 9, DUAL)])
def test_all_forms_equal_the_dense_formula(n, k, forms, spectral, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * k * 3)  # three rows per block
    random = np.random.default_rng(0)
    G, G_q = random.normal(size=(n, k)), random.normal(size=(5, k))
    kernel = build_kernel(InMemory(G), spectral=spectral)
    assert type(kernel) is forms[spectral]
    query, train = kernel.query(G_q), kernel.train(range(n))
    for relative in DAMPINGS:
        damping = kernel.damping(relative)
        assert damping.absolute == pytest.approx(relative * np.sum(G**2) / min(n, k), rel=1e-12)
        assert damping.unscaled == pytest.approx(damping.absolute * k)
        K = np.linalg.inv(G.T @ G + damping.absolute * np.eye(k))
        leverage = np.einsum("ia,ab,ib->i", G, K, G)
        inner = kernel.inner(query, train, damping.absolute)
        # The reference inverts a matrix of condition 1 / λ; it is the less accurate side.
        np.testing.assert_allclose(inner, G_q @ K @ G.T, rtol=1e-6, atol=1e-8)
        ours = kernel.one_minus_leverage(train, damping.absolute)
        np.testing.assert_allclose(ours, 1 - leverage, rtol=1e-6, atol=1e-8)
        kernel_norm, feature_norm = kernel.norms(train, damping.absolute)
        np.testing.assert_allclose(kernel_norm, np.linalg.norm(G @ K, axis=1), rtol=1e-6)
        np.testing.assert_allclose(feature_norm, np.linalg.norm(G, axis=1), rtol=1e-9)


@pytest.mark.parametrize(("n", "k"), [(12, 30), (30, 12)])
def test_solving_for_one_damping_equals_the_spectrum(n, k, monkeypatch):
    """Also where features lie in fewer dimensions, one of them is zero, and the damping is small."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * k * 5)
    random = np.random.default_rng(7)
    G, G_q = random.normal(size=(n, 4)) @ random.normal(size=(4, k)), random.normal(size=(3, k))
    G[2] = 0
    solved, spectral = (build_kernel(InMemory(G), spectral=each) for each in (False, True))
    for relative in (1e-4, 1e-2, 10.0):
        damping = solved.damping(relative)
        assert damping == spectral.damping(relative)
        for rows in blocks.blocks(n, k):
            found, expected = (
                [
                    kernel.inner(kernel.query(G_q), kernel.train(rows), damping.absolute),
                    kernel.one_minus_leverage(kernel.train(rows), damping.absolute),
                    *kernel.norms(kernel.train(rows), damping.absolute),
                ]
                for kernel in (solved, spectral)
            )
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("n", [5, 19])
def test_a_given_matrix_takes_the_place_of_that_of_the_features(n, monkeypatch):
    random = np.random.default_rng(7)
    G, G_q, other = (random.normal(size=(rows, 7)) for rows in (n, 5, 30))
    H = other.T @ other
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 7 * 3)
    kernel = build_kernel(InMemory(G), H.copy())
    for relative in DAMPINGS:
        damping = kernel.damping(relative).absolute
        assert damping == pytest.approx(relative * np.trace(H) / 7)
        found = kernel.inner(kernel.query(G_q), kernel.train(range(n)), damping)
        expected = G_q @ np.linalg.inv(H + damping * np.eye(7)) @ G.T
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_a_matrix_that_is_no_kernel_is_one_line():
    kernel = build_kernel(InMemory(np.eye(3)), np.diag([5.0, 1.0, -2.0]))
    with pytest.raises(UserError, match=r"^kernel: not positive definite with the damping 1.33; make"):
        kernel.solve(np.eye(3), kernel.damping(1).absolute)


@pytest.mark.parametrize(("n", "k"), [(7, 19), (19, 7), (9, 9)])
def test_gcv_is_that_of_the_dense_regression(n, k):
    random = np.random.default_rng(3)
    G, y = random.normal(size=(n, k)), random.normal(1, 1, n)
    kernel = build_kernel(InMemory(G), spectral=True)
    dampings = [kernel.damping(relative).absolute for relative in DAMPINGS]
    for damping, found in zip(dampings, kernel.gcv(y, dampings), strict=True):
        S = G @ np.linalg.solve(G.T @ G + damping * np.eye(k), G.T)
        expected = n * np.sum((y - S @ y) ** 2) / np.trace(np.eye(n) - S) ** 2
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k", [8, 11])
def test_gcv_of_features_of_full_rank_is_not_lost_to_cancellation(k):
    """G = U S with U and S known: n Σ (s_j² + λ)⁻² (Uᵀy)_j² / (Σ (s_j² + λ)⁻¹)², however small λ is."""
    U, s = scipy.linalg.hadamard(8) / np.sqrt(8), np.arange(1.0, 9)
    G, y = np.pad(U * s, ((0, 0), (0, k - 8))), np.random.default_rng(5).normal(1, 1, 8)
    dampings = [1e-14, 1e-9, 1e-6, 1e-3]
    expected = [8 * np.sum((U.T @ y / (s**2 + d)) ** 2) / np.sum(1 / (s**2 + d)) ** 2 for d in dampings]
    np.testing.assert_allclose(
        build_kernel(InMemory(G), spectral=True).gcv(y, dampings), expected, rtol=1e-11
    )


def test_gcv_of_equal_leverages_is_the_leave_one_out_error():
    """Orthogonal designs with equal leverages: each image is predicted by a regression without it."""
    n, damping = 8, 0.7
    G, y = scipy.linalg.hadamard(n)[:, :3].astype(float), np.random.default_rng(4).normal(size=n)
    errors = []
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        weights = np.linalg.solve(G[rest].T @ G[rest] + damping * np.eye(3), G[rest].T @ y[rest])
        errors.append((y[i] - G[i] @ weights) ** 2)
    assert build_kernel(InMemory(G), spectral=True).gcv(y, [damping]) == [pytest.approx(np.mean(errors))]


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("n", [6, 30])
def test_zero_columns_change_nothing_but_the_form(n, spectral):
    """Padding features with zeros turns the primal into the dual and leaves K's values alone."""
    random = np.random.default_rng(1)
    G, G_q = random.normal(size=(n, 5)), random.normal(size=(3, 5))
    pad = ((0, 0), (0, n))
    primal, dual = (build_kernel(InMemory(each), spectral=spectral) for each in (G, np.pad(G, pad)))
    assert isinstance(primal, PRIMAL)
    assert isinstance(dual, DUAL)
    rows = range(2, n)
    for damping in (1e-3, 1.0, 50.0):
        np.testing.assert_allclose(
            primal.inner(primal.query(G_q), primal.train(rows), damping),
            dual.inner(dual.query(np.pad(G_q, pad)), dual.train(rows), damping),
            rtol=1e-9,
        )
        np.testing.assert_allclose(
            primal.one_minus_leverage(primal.train(rows), damping),
            dual.one_minus_leverage(dual.train(rows), damping),
            rtol=1e-9,
        )


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(("n", "k"), [(4, 6), (6, 4)])
def test_one_minus_leverage_is_not_lost_to_cancellation(n, k, spectral):
    """An image orthogonal to all others has 1 - h = λ / (λ + ‖g‖²), however small λ is."""
    G = np.zeros((n, k))
    np.fill_diagonal(G, np.arange(1, 5))
    kernel = build_kernel(InMemory(G), spectral=spectral)
    damping = 1e-18
    ours = kernel.one_minus_leverage(kernel.train(range(4)), damping)
    np.testing.assert_allclose(ours, damping / (damping + np.arange(1, 5) ** 2.0), rtol=1e-9)


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(("n", "k"), [(12, 30), (40, 8)])
def test_leave_one_out_is_exact_for_a_linear_model(n, k, spectral):
    """f_q(θ without i) - f_q(θ) = g_qᵀ K g_i r_i / (1 - h_i), r signed, against solving again without i."""
    random = np.random.default_rng(2)
    X, y, X_q = random.normal(size=(n, k)), random.normal(size=n), random.normal(size=(4, k))
    kernel = build_kernel(InMemory(X), spectral=spectral)
    damping = kernel.damping(0.1).absolute

    def fit(rows):
        return np.linalg.solve(X[rows].T @ X[rows] + damping * np.eye(k), X[rows].T @ y[rows])

    everything = np.arange(n)
    theta = fit(everything)
    residual = X @ theta - y
    train = kernel.train(range(n))
    term = kernel.inner(kernel.query(X_q), train, damping) * residual
    term /= kernel.one_minus_leverage(train, damping)
    retrained = np.stack([X_q @ (fit(np.delete(everything, i)) - theta) for i in range(n)], axis=1)
    np.testing.assert_allclose(term, retrained, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("n", "k"), [(400, 150), (100, 150)])
def test_products_in_float32_are_close_where_they_are_taken(n, k):
    """Squares err by less than 1e-6 of the largest, and rank subsets alike: of images with much in common."""
    random = np.random.default_rng(6)
    rotation = np.linalg.qr(random.normal(size=(k, k)))[0]
    G, G_q = (random.normal(size=(rows, k)) / np.arange(1, k + 1) @ rotation + 3 for rows in (n, 40))
    membership = random.random((64, n)) < 0.5
    kernel = build_kernel(InMemory(G), spectral=True)
    assert kernel.single
    for relative in (1e-4, 1e-2, 1.0):
        damping = kernel.damping(relative).absolute
        query, train = kernel.solve(kernel.query(G_q), damping), kernel.train(range(n))
        weight = 1 / kernel.one_minus_leverage(train, damping)
        exact, single = (Product(query, train, weight, single=each).scores() ** 2 for each in (False, True))
        assert np.abs(single - exact).max() < 1e-6 * exact.max()
        predicted = [membership @ scores.T for scores in (exact, single)]
        measured = predicted[0] + predicted[0].std() * random.normal(size=predicted[0].shape)
        lds = [
            [scipy.stats.spearmanr(*columns)[0] for columns in zip(each.T, measured.T, strict=True)]
            for each in predicted
        ]
        np.testing.assert_allclose(*lds, rtol=0, atol=5e-5)


def test_zero_features_and_bad_dampings_are_refused():
    with pytest.raises(UserError, match="all are zero"):
        build_kernel(InMemory(np.zeros((3, 2))))
    kernel = build_kernel(InMemory(np.eye(3)))
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(UserError, match="damping: found"):
            kernel.damping(bad)


def test_shards_are_read_as_one_array_in_the_order_of_their_images(tmp_path: Path):
    features = np.random.default_rng(3).normal(size=(11, 4)).astype(np.float32)
    cuts = [(8, 11), (0, 3), (3, 8)]
    paths = [write_shard(tmp_path / f"{a}.h5", features[a:b], a) for a, b in cuts]
    both = Shards(paths)
    assert (both.n, both.k, both.weights, both.dataset) == (11, 4, "w", "toy")
    for rows in (range(0, 11), range(2, 9), range(3, 8), range(10, 11)):
        read = both.read(rows)
        assert read.dtype == np.float64
        np.testing.assert_array_equal(read, features[rows.start : rows.stop])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"first": 4}, "starts at image 4, expected 3"),
        ({"first": 0}, "starts at image 0, expected 3"),
        ({"weights": "other"}, "weights is 'other'"),
        ({"settings": {"k": 9}}, "settings is"),
        ({"count": 7}, "says it holds 7 images, but holds 2"),
        ({"features": np.ones((2, 5))}, "has 4|settings"),
    ],
)
def test_shards_that_disagree_are_refused(tmp_path: Path, second, message):
    write_shard(tmp_path / "a.h5", np.ones((3, 4)), 0)
    write_shard(tmp_path / "b.h5", **{"features": np.ones((2, 4)), "first": 3, **second})
    with pytest.raises(UserError, match=message) as caught:
        Shards([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert "b.h5" in str(caught.value)


def test_one_of_the_timesteps_that_are_kept_apart_is_read(tmp_path: Path):
    features = np.random.default_rng(3).normal(size=(7, 3, 4)).astype(np.float32)
    paths = [
        write_shard(tmp_path / f"{a}.h5", features[a : a + 4], a, timesteps=[5, 50, 500]) for a in (0, 4)
    ]
    for position in range(3):
        one = Shards(paths, position)
        assert (one.n, one.k, one.timesteps) == (7, 4, [5, 50, 500])
        np.testing.assert_array_equal(one.read(range(1, 6)), features[1:6, position])
    with h5py.File(paths[1], "r+") as file:
        file["features"][2, 1, 3] = np.nan
    Shards(paths, 0).read(range(7))
    with pytest.raises(UserError, match=r"4\.h5: array 'features' is not finite at \(2, 1, 3\)"):
        Shards(paths, 1).read(range(7))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5, 3, 4), {}, "keep 3 timesteps apart, asked for is means .*, allowed is a position from 0 to 2"),
        ((5, 3, 4), {"timestep": 3}, "asked for is position 3, allowed is a position from 0 to 2"),
        ((5, 4), {"timestep": 0}, "features are means over timesteps, asked for is the one at position 0"),
        ((5,), {}, r"shape \(5,\), expected \[n, k\] or \[n, T, k\]"),
        ((5, 12), {"dimension": 5}, "to dimension 5, allowed is one of 1, 2, 3, 4, 6, 12"),
        ((5, 12), {"dimension": 24}, "to dimension 24, allowed is one of 1, 2, 3, 4, 6, 12"),
    ],
)
def test_features_of_another_form_are_refused(tmp_path: Path, shape, options, message):
    settings = {"projection": "count-sketch"}
    path = write_shard(tmp_path / "a.h5", np.ones(shape), 0, settings=settings, timesteps=[0, 1, 2])
    with pytest.raises(UserError, match=message) as caught:
        Shards([path], **options)
    assert "a.h5" in str(caught.value)


def test_features_are_folded_block_by_block_as_all_at_once(tmp_path: Path, monkeypatch):
    features = np.random.default_rng(3).normal(size=(11, 12)).astype(np.float32)
    settings = {"projection": "count-sketch", "projection_seed": 3}
    paths = [write_shard(tmp_path / f"{a}.h5", features[a : a + 6], a, settings=settings) for a in (0, 6)]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 12 * 2)  # two rows per block
    folded = Shards(paths, dimension=4)
    assert folded.k == 4
    np.testing.assert_array_equal(folded.read(range(3, 10)), fold(features[3:10].astype(float), 4, 3))
    np.testing.assert_array_equal(Shards(paths, dimension=12).read(range(3, 10)), features[3:10])
    with pytest.raises(UserError, match=r"folded\.h5: features have 4 numbers, .*0\.h5 has 12"):
        Shards(paths).require_same(
            Shards([write_shard(tmp_path / "folded.h5", features, 0, settings=settings)], dimension=4)
        )


def test_exact_gradients_are_not_folded(tmp_path: Path):
    path = write_shard(tmp_path / "a.h5", np.ones((2, 4)), 0, settings={"projection": "none"})
    with pytest.raises(UserError, match="projection none cannot be folded to dimension 2"):
        Shards([path], dimension=2)


def test_query_features_of_other_weights_are_refused(tmp_path: Path):
    train = Shards([write_shard(tmp_path / "train.h5", np.ones((3, 4)), 0)])
    query = Shards([write_shard(tmp_path / "query.h5", np.ones((3, 4)), 0, weights="v")])
    with pytest.raises(UserError, match=r"query\.h5: weights is 'v', but .*train\.h5 has 'w'"):
        train.require_same(query)


def test_a_feature_that_is_not_finite_is_refused_with_its_file(tmp_path: Path):
    features = np.ones((6, 2))
    paths = [write_shard(tmp_path / f"shard-{i}.h5", features[:3], 3 * i) for i in range(2)]
    with h5py.File(paths[1], "r+") as file:
        file["features"][1, 0] = np.nan
    with pytest.raises(UserError, match=r"shard-1\.h5: array 'features' is not finite at \(1, 0\)"):
        build_kernel(Shards(paths))


def test_a_kernel_larger_than_memory_is_refused():
    class Huge:
        n, k = 10**7, 10**6

    with pytest.raises(UserError, match=r"the kernel of 10000000 images with k = 1000000 needs 32000\.0 GB"):
        build_kernel(Huge())
