"""Noise is a function of its key alone: not of the batch, the shard or the machine."""

import hashlib

import numpy as np

from das.noise import BLOCK, generator, image_noise


def test_a_stream_is_philox_keyed_by_the_hash_of_the_key():
    key = np.frombuffer(hashlib.sha256(b"order/42/7").digest()[:16], np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key)).random(5)
    np.testing.assert_array_equal(generator("order", 42, 7).random(5), expected)


def test_an_image_has_the_same_noise_in_any_range():
    shape = (3, 4, 4)
    whole = image_noise("errors/train", 0, 500, 0, range(3 * BLOCK), shape)
    for part in (range(0, 1), range(5, BLOCK + 9), range(BLOCK, 2 * BLOCK), range(2 * BLOCK - 1, 3 * BLOCK)):
        np.testing.assert_array_equal(
            image_noise("errors/train", 0, 500, 0, part, shape), whole[part.start : part.stop]
        )


def test_an_image_with_a_name_has_the_same_noise_wherever_it_lies():
    shape, names = (3, 4, 4), ["picture", "another", "picture"]
    noise = image_noise("gradients/gen", 0, 500, 0, names, shape)
    np.testing.assert_array_equal(noise[0], noise[2])
    np.testing.assert_array_equal(noise[1:], image_noise("gradients/gen", 0, 500, 0, names[1:], shape))
    expected = generator("gradients/gen", 0, 500, 0, "another").standard_normal(shape, dtype=np.float32)
    np.testing.assert_array_equal(noise[1], expected)


def test_every_part_of_the_key_matters():
    keys = [("a", 0, 0, 0), ("b", 0, 0, 0), ("a", 1, 0, 0), ("a", 0, 1, 0), ("a", 0, 0, 1)]
    noises = [image_noise(*key, range(2), (1, 8, 8)) for key in keys]
    for i, first in enumerate(noises):
        assert not np.array_equal(first[0], first[1])
        for other in noises[i + 1 :]:
            assert not np.array_equal(first, other)


def test_noise_is_standard_normal():
    noise = image_noise("a", 0, 0, 0, range(1000), (1, 8, 8))
    # 64,000 values: the mean's standard deviation is 0.004, the variance's 0.0056.
    assert abs(noise.mean()) < 0.02
    assert abs(noise.var() - 1) < 0.03
