"""Projections preserve inner products, are linear, and draw the same numbers on every machine."""

import hashlib
import math

import numpy as np
import pytest
import torch

from das.errors import UserError
from das.gradients.projection import (
    canonical_order,
    fold,
    make_projection,
    projection_dimension,
    random_signs,
)

SHAPES = {"a.weight": (6, 5, 3, 3), "a.bias": (6,), "b.weight": (40, 30), "b.bias": (40,)}
RANDOM_KINDS = ["count-sketch", "dense"]


@pytest.fixture(autouse=True)
def one_thread():
    """Operations this small only wait for each other's threads when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gradients(rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, math.prod(shape), generator=stream) for name, shape in SHAPES.items()}


def project(projection, parts, order=tuple(SHAPES)) -> torch.Tensor:
    accumulator = projection.accumulator(len(parts["a.bias"]))
    for name in order:
        projection.add(accumulator, name, parts[name])
    return projection.finish(accumulator)


def raw_stream(*key: object, count: int) -> list[int]:
    """The documented stream, without das: Philox keyed by the first 16 bytes of the key's sha256."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    words = [int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)]
    philox = np.random.Philox(key=np.array(words, dtype=np.uint64))
    return [int(philox.random_raw()) for _ in range(count)]


def test_signs_are_the_bits_of_the_raw_stream():
    words = raw_stream("projection", 7, "conv.weight", "signs", count=3)
    expected = [1 - 2 * (words[i // 64] >> (i % 64) & 1) for i in range(150)]
    assert random_signs(150, 7, "conv.weight", "signs").tolist() == expected


def test_count_sketch_follows_its_definition():
    """Element i of a tensor goes, with sign s_i, to sum (i mod k + shift of chunk i // k) mod k."""
    k, seed = 64, 3
    parts = gradients(2)
    expected = np.zeros((2, k))
    for name, values in parts.items():
        size = values.shape[1]
        words = raw_stream("projection", seed, name, "signs", count=math.ceil(size / 64))
        shifts = [w % k for w in raw_stream("projection", seed, name, "shifts", count=math.ceil(size / k))]
        for i in range(size):
            sign = 1 - 2 * (words[i // 64] >> (i % 64) & 1)
            expected[:, (i % k + shifts[i // k]) % k] += sign * values[:, i].double().numpy()
    found = project(make_projection("count-sketch", k, seed, SHAPES), parts)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_dense_follows_its_definition():
    """Block b of 1024 elements is multiplied by its own [elements, k] signs / sqrt(k)."""
    k, name = 8, "b.weight"
    values = gradients(2)[name]
    expected = np.zeros((2, k))
    for block, (start, stop) in enumerate([(0, 1024), (1024, 1200)]):
        words = raw_stream("projection", 5, name, "dense", block, count=(stop - start) * k // 64)
        bits = [1 - 2 * (word >> i & 1) for word in words for i in range(64)]
        signs = np.reshape(bits, (stop - start, k)) / math.sqrt(k)
        expected += values[:, start:stop].double().numpy() @ signs
    projection = make_projection("dense", k, 5, SHAPES)
    accumulator = projection.accumulator(2)
    projection.add(accumulator, name, values)
    np.testing.assert_allclose(projection.finish(accumulator).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", [*RANDOM_KINDS, "none"])
def test_linear_and_independent_of_order_and_batch(kind):
    projection = make_projection(kind, 128, 0, SHAPES)
    x, y = gradients(4), gradients(4, seed=1)
    both = project(projection, {name: 2 * x[name] - 3 * y[name] for name in SHAPES})
    torch.testing.assert_close(
        both, 2 * project(projection, x) - 3 * project(projection, y), atol=1e-4, rtol=0
    )
    again = make_projection(kind, 128, 0, SHAPES)
    torch.testing.assert_close(project(again, x, tuple(reversed(SHAPES))), project(projection, x))
    one = project(projection, {name: values[1:2] for name, values in x.items()})
    torch.testing.assert_close(one, project(projection, x)[1:2])


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_unbiased_with_the_expected_spread(kind):
    """E <Pg,Ph> = <g,h>; var = (|g|²|h|² + <g,h>² - 2 Σ g²h²) / k for both."""
    x = gradients(2)
    x = {name: torch.stack([v[0], 0.5 * v[0] + v[1]]) for name, v in x.items()}
    flat = torch.cat(list(x.values()), dim=1).double()
    g, h = flat
    exact = float(g @ h)
    for k in (64, 256):
        products = []
        for seed in range(300):
            p = project(make_projection(kind, k, seed, SHAPES), x).double()
            products.append(float(p[0] @ p[1]))
        variance = float((g @ g) * (h @ h) + (g @ h) ** 2 - 2 * (g * g * h * h).sum()) / k
        assert abs(np.mean(products) - exact) < 4 * math.sqrt(variance / 300)
        # Relative standard error of a standard deviation from 300 draws: 1 / sqrt(600) = 4 %.
        assert np.std(products) == pytest.approx(math.sqrt(variance), rel=0.2)


def test_fold_follows_its_definition():
    """Number i goes, with sign s_i, to sum (i mod d + shift of piece i // d) mod d."""
    k, d, seed = 96, 24, 5
    x = np.random.default_rng(0).normal(size=(3, k))
    shifts = [w % d for w in raw_stream("projection", seed, "fold", k, d, "shifts", count=k // d)]
    words = raw_stream("projection", seed, "fold", k, d, count=2)
    expected = np.zeros((3, d))
    for i in range(k):
        expected[:, (i % d + shifts[i // d]) % d] += (1 - 2 * (words[i // 64] >> (i % 64) & 1)) * x[:, i]
    np.testing.assert_allclose(fold(x, d, seed), expected, atol=1e-12)


def test_a_folded_sketch_is_unbiased_and_as_good_as_a_direct_one():
    """From p to k = 512 and on to d = 64: E = <g,h>, and the spread that a sketch from p to d has."""
    x = gradients(2)
    x = {name: torch.stack([v[0], 0.5 * v[0] + v[1]]) for name, v in x.items()}
    g, h = torch.cat(list(x.values()), dim=1).double()
    exact = float(g @ h)
    variance = float((g @ g) * (h @ h) + (g @ h) ** 2 - 2 * (g * g * h * h).sum()) / 64
    products = []
    for seed in range(300):
        sketch = project(make_projection("count-sketch", 512, seed, SHAPES), x).double().numpy()
        a, b = fold(sketch, 64, seed)
        products.append(a @ b)
    assert abs(np.mean(products) - exact) < 4 * math.sqrt(variance / 300)
    assert np.std(products) == pytest.approx(math.sqrt(variance), rel=0.2)
    # Unbiased over folds of one and the same sketch, too.
    folded = [fold(sketch, 64, seed) for seed in range(300)]
    spread = np.std([a @ b for a, b in folded])
    assert abs(np.mean([a @ b for a, b in folded]) - sketch[0] @ sketch[1]) < 4 * spread / math.sqrt(300)


def test_shifts_spread_aligned_elements():
    """A gradient with one element per chunk, all aligned, still lands in different sums."""
    projection = make_projection("count-sketch", 64, 0, {"w": (64, 64)})
    aligned = torch.zeros(1, 64, 64)
    aligned[:, :, 0] = 1
    accumulator = projection.accumulator(1)
    projection.add(accumulator, "w", aligned.flatten(1))
    # 64 balls in 64 boxes leave 64 (1 - 1/64)^64 = 23 empty on average (standard deviation about 2.4).
    assert int((projection.finish(accumulator) != 0).sum()) > 20


def test_none_concatenates_in_order_with_convolutions_channels_last():
    weight = torch.arange(6 * 5 * 9.0).view(6, 5, 3, 3)
    flat = canonical_order(weight)
    for out, into, row, column in np.ndindex(6, 5, 3, 3):
        assert flat[out * 45 + row * 15 + column * 5 + into] == weight[out, into, row, column]
    assert torch.equal(canonical_order(weight[0]), weight[0].flatten())
    parts = gradients(2)
    projection = make_projection("none", 0, 0, SHAPES)
    assert torch.equal(project(projection, parts), torch.cat(list(parts.values()), dim=1))


def test_dimension_and_errors():
    assert projection_dimension("none", 4096, SHAPES) == 270 + 6 + 1200 + 40
    assert (
        projection_dimension("dense", 17, SHAPES) == make_projection("dense", 17, 0, SHAPES).dimension == 17
    )
    with pytest.raises(UserError, match="'gauss', allowed is one of count-sketch, dense, none"):
        make_projection("gauss", 16, 0, SHAPES)
    with pytest.raises(UserError, match="projection dimension: found 0"):
        make_projection("dense", 0, 0, SHAPES)
