"""Weights of patches are those of a loop over pairs of them, however they are cut into blocks."""

import itertools
import math

import numpy as np
import pytest
import torch

from das.diffusion import patches
from das.diffusion.inputs import PixelInputs
from das.diffusion.patches import border_classes, compare_patches, patch_weights
from das.diffusion.process import Schedule
from das.errors import UserError
from das.jobs import blocks
from das.noise import image_noise
from das.plan.work import Work, pairs

CPU = torch.device("cpu")
ABAR = np.array([0.99, 0.9, 0.4], np.float32)
SCHEDULE = Schedule(torch.zeros(3), torch.from_numpy(ABAR))


def images(count, side, channels, seed):
    random = np.random.default_rng(seed)
    return PixelInputs(random.integers(0, 256, (count, side, side, channels), dtype=np.uint8))


def cut(image, size):
    """Patches of an image [C, H, W]: pixels by their place in one, without what is beyond the border."""
    before, after = (size - 1) // 2, size // 2
    _, height, width = image.shape
    found = []
    for row, column in itertools.product(range(height - after + before), range(width - after + before)):
        top, left = row - before, column - before
        patch = {
            (c, a, b): image[c, top + a, left + b]
            for c, a, b in itertools.product(range(len(image)), range(size), range(size))
            if 0 <= top + a < height and 0 <= left + b < width
        }
        found.append(patch)
    return found


def halved(patch):
    """Half the sum of each square of four of its pixels; of those there are."""
    found = {}
    for (c, a, b), pixel in patch.items():
        found[c, a // 2, b // 2] = found.get((c, a // 2, b // 2), 0) + pixel / 2
    return found


def dense(noised, train, signal, sigma, size, halve):
    """Weights [N] of training images for a noised query [C, H, W], in float64, pair by pair."""
    weights = np.zeros(len(train))
    theirs = [cut(clean, size) for clean in train]
    for patch in cut(noised, size):
        near = np.zeros(len(train))
        for image, others in enumerate(theirs):
            for other in others:
                if set(other) == set(patch):  # over the border in the same way, or not at all
                    one, two = (halved(patch), halved(other)) if halve else (patch, other)
                    squared = sum((one[place] - signal * two[place]) ** 2 for place in one)
                    near[image] += math.exp(-squared / (2 * sigma**2))
        weights += near / near.sum()
    return weights


def pixels(inputs):
    return inputs.images.transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1


def compared(train, queries, tmp_path, **changes):
    settings = {"timesteps": [1], "size": 3, "halved": None, "seed": 5} | changes
    return np.concatenate(list(compare_patches(train, queries, SCHEDULE, settings, "val", CPU, tmp_path)))


@pytest.mark.parametrize(
    ("side", "channels", "size", "halve"),
    [(4, 3, 3, None), (5, 1, 4, None), (3, 1, 5, None), (2, 1, 1, None), (5, 1, 4, 2), (3, 2, 2, 6)],
)
def test_weights_are_those_of_a_loop_over_pairs_of_patches(side, channels, size, halve, tmp_path):
    """Patches of odd and even size, larger than the image, of one pixel; a second scale; two timesteps."""
    train, queries = images(4, side, channels, 0), images(2, side, channels, 1)
    expected = np.zeros((2, 4))
    for t in (1, 2):
        noise = image_noise("patches/val", 5, t, 0, range(2), train.shape)
        signal, sigma = math.sqrt(ABAR[t]), math.sqrt(1 - float(ABAR[t]))
        for query, (clean, eps) in enumerate(zip(pixels(queries), noise, strict=True)):
            noised = signal * clean + sigma * eps
            scales = [(size, False), *([(halve, True)] if halve else [])]
            of_scales = [dense(noised, pixels(train), signal, sigma, *scale) for scale in scales]
            expected[query] += np.mean(of_scales, axis=0) / 2
    found = compared(train, queries, tmp_path, timesteps=[1, 2], size=size, halved=halve)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-30)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("size", "places"), [(3, 36), (4, 25)])
def test_each_patch_of_a_query_gives_a_weight_of_one(size, places, tmp_path):
    found = compared(images(7, 6, 1, 0), images(3, 6, 1, 1), tmp_path, size=size)
    np.testing.assert_allclose(found.sum(1), places, rtol=1e-6)


def test_weights_do_not_depend_on_blocks(tmp_path, monkeypatch):
    train, queries = images(7, 6, 2, 0), images(3, 6, 2, 1)
    whole = compared(train, queries, tmp_path / "whole")
    monkeypatch.setattr(patches, "QUERIES_PER_BLOCK", 2)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 5 * 7)  # five patches of queries, one training image
    np.testing.assert_allclose(compared(train, queries, tmp_path / "cut"), whole, rtol=1e-6)


def test_a_copy_of_the_query_has_nearly_all_the_weight_where_there_is_little_noise(tmp_path):
    train, queries = images(9, 6, 1, 0), images(2, 6, 1, 1)
    train.images[[4, 7]] = queries.images
    found = compared(train, queries, tmp_path, timesteps=[0], size=5)
    assert found.argmax(1).tolist() == [4, 7]
    assert (found.max(1) > 0.9 * 36).all()


def test_very_little_noise_leaves_weights_finite():
    """Exponents of 1e7, which float32 rounds to whole numbers."""
    train, ratio = images(3, 4, 1, 0), 1e3
    found = patch_weights(ratio * train.clean(range(3)).double(), train, ratio, 3)
    np.testing.assert_allclose(found, 16 * np.eye(3), atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 12])
def test_jobs_ask_for_as_many_comparisons_as_there_are(size):
    assert sum(len(places) ** 2 for places in border_classes(8, size)) == pairs(8, size)
    work = Work({"split": {"train": 10, "val": 1}, "generate": {"count": 1}, "jobs": {}})
    one = {"timesteps": [100], "size": size, "halved": None}
    both = {"timesteps": [1, 2], "size": size, "halved": 4}
    of_one, of_four = (
        10 * pairs(8, cut) ** 2 * (4 * 3 * compared**2 + 200) for cut, compared in ((size, size), (4, 2))
    )
    assert work.comparison(one, 3, 8) == of_one
    assert work.comparison(both, 3, 8) == 2 * (of_one + of_four)


def test_a_timestep_that_the_model_does_not_have_is_refused(tmp_path):
    train = images(2, 3, 1, 0)
    with pytest.raises(UserError, match="patches: timesteps: found 3, allowed are those of the model's 3"):
        compared(train, train, tmp_path, timesteps=[3])
