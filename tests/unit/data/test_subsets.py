"""Subsets are those of the benchmark, balanced over classes, and a function of their own seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from das.data import subsets
from das.errors import UserError
from das.jobs import artifacts


def refused(*arguments, **named) -> str:
    with pytest.raises(UserError) as caught:
        subsets.draw(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_subsets_are_those_of_the_benchmark():
    """Its loop seeds subset k with 42 + count + k while count runs with k."""
    labels = np.random.default_rng(0).integers(0, 2, 100)
    membership = subsets.draw(labels, 5)
    for count, k in zip(range(5), range(5), strict=True):
        chosen, _ = train_test_split(range(100), train_size=0.5, random_state=42 + count + k, stratify=labels)
        assert sorted(chosen) == np.flatnonzero(membership[k]).tolist()


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8])
def test_every_subset_has_the_fraction_of_every_class(fraction):
    labels = np.repeat([0, 1, 2], [40, 80, 20])
    membership = subsets.draw(labels, 8, fraction)
    assert membership.dtype == bool
    assert membership.shape == (8, 140)
    for row in membership:
        assert np.array_equal(np.bincount(labels[row]), np.array([40, 80, 20]) * fraction)


def test_subset_depends_on_its_own_seed_alone():
    labels = np.arange(60) % 3
    many = subsets.draw(labels, 6, 0.5, seed=10, seed_step=3)
    assert np.array_equal(many[:2], subsets.draw(labels, 2, 0.5, seed=10, seed_step=3))
    assert np.array_equal(many[4:], subsets.draw(labels, 2, 0.5, seed=22, seed_step=3))
    assert len(np.unique(many, axis=0)) == 6


def test_one_class_can_be_drawn():
    assert subsets.draw(np.zeros(11, np.int64), 3).sum(axis=1).tolist() == [5, 5, 5]


def test_unstratified_subsets_are_those_of_the_benchmark():
    """CelebA has no classes: its loop calls train_test_split without stratify."""
    labels = np.zeros(100, np.int64)
    membership = subsets.draw(labels, 5, stratify=False)
    for k in range(5):
        chosen, _ = train_test_split(range(100), train_size=0.5, random_state=42 + 2 * k)
        assert sorted(chosen) == np.flatnonzero(membership[k]).tolist()
    assert not np.array_equal(membership, subsets.draw(labels, 5))


def test_a_class_that_an_unstratified_subset_lacks_is_named():
    labels = np.repeat([0, 1], [98, 2])
    message = refused(labels, 3, 0.1, class_names=("cat", "dog"), stratify=False)
    assert "class 'dog' has no images in subset 0 (2 in all)" in message


# Published indices


@pytest.fixture
def drawn():
    """Subsets 0 and 8 of 40 images, and what sets of images they are in their source."""
    labels = np.arange(40) % 2
    source_index = np.random.default_rng(0).permutation(1000)[:40]
    orders = {
        s: train_test_split(np.arange(40), train_size=0.5, random_state=42 + 2 * s, stratify=labels)[0]
        for s in (0, 8)
    }
    expected = {s: source_index[order[:5]].tolist() for s, order in orders.items()}
    return labels, source_index, expected


def checked(labels, source_index, is_published, expected) -> str:
    orders = {subset: subsets.draw_one(labels, subset) for subset in expected}
    return subsets.check_published(orders, source_index, is_published, expected)


def test_subsets_that_begin_as_published(drawn):
    labels, source_index, expected = drawn
    assert checked(labels, source_index, True, expected) == "subsets 0 and 8 begin as published"
    assert checked(labels, source_index, True, {8: expected[8]}) == "subset 8 begins as published"


def test_subsets_that_do_not_begin_as_published(drawn):
    """The order matters too: one that is sorted, or other images, are not what was published."""
    labels, source_index, expected = drawn
    for wrong in (sorted(expected[8]), [*expected[8][:4], 5000]):
        with pytest.raises(UserError) as caught:
            checked(labels, source_index, True, expected | {8: wrong})
        message = str(caught.value)
        assert "\n" not in message
        assert f"lds.published_indices: subset 8 begins {expected[8]}, published is {wrong}" in message


def test_subsets_that_cannot_be_compared(drawn):
    labels, source_index, _ = drawn
    assert checked(labels, source_index, False, {0: [1]}) == "not checked: not the published archive"
    assert checked(labels, source_index, True, {}) == "no published indices"


def test_what_was_compared_is_kept(tmp_path):
    membership = subsets.draw(np.arange(60) % 3, 6)
    subsets.write(tmp_path / "subsets.h5", membership, "test", {}, "subset 0 begins as published")
    with artifacts.read(tmp_path / "subsets.h5", "subsets") as artifact:
        assert artifact.attributes["published_check"] == "subset 0 begins as published"


def test_written_subsets_come_back(tmp_path):
    membership = subsets.draw(np.arange(60) % 3, 6)
    path = tmp_path / "subsets.h5"
    subsets.write(path, membership, "test", {"count": 6})
    assert np.array_equal(subsets.read_membership(path), membership)
    indices = subsets.members(path, 4)
    assert indices.dtype == np.int64
    assert np.array_equal(indices, np.flatnonzero(membership[4]))


@pytest.mark.parametrize("subset", [-1, 6])
def test_subset_that_does_not_exist(tmp_path, subset):
    path = tmp_path / "subsets.h5"
    subsets.write(path, subsets.draw(np.arange(60) % 3, 6), "test", {})
    with pytest.raises(UserError, match=rf"subsets.h5: holds no subset {subset}, allowed are 0 to 5$"):
        subsets.members(path, subset)


def test_empty_subset():
    message = refused(np.zeros(10, np.int64), 2, 0.05)
    assert message == "lds.fraction: 0.05 of 10 images leaves subset 0 empty"


def test_class_that_a_subset_would_lose_is_named():
    """2 of 100 images at a tenth: rounding gives the class no place."""
    labels = np.repeat([0, 1], [98, 2])
    message = refused(labels, 3, 0.1, class_names=("cat", "dog"))
    assert "class 'dog' has no images in subset 0 (2 in all)" in message
    assert "class 1 has no images" in refused(labels, 3, 0.1)


def test_fewer_images_than_classes():
    message = refused(np.arange(10) % 5, 2, 0.2)
    assert message.startswith(
        "lds.fraction: subset 0 of 10 images cannot be drawn by class with fraction 0.2"
    )


def test_class_with_a_single_image_cannot_be_stratified():
    assert "cannot be drawn by class" in refused(np.array([0] * 9 + [1]), 1)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"count": 0}, "lds.subsets: found 0, allowed is 1 or more"),
        ({"count": 1, "fraction": 1.0}, "lds.fraction: found 1.0, allowed is between 0 and 1"),
        ({"count": 1, "fraction": 0.0}, "lds.fraction: found 0.0, allowed is between 0 and 1"),
        ({"count": 2, "seed_step": 0}, "lds.seed_step: found 0, allowed is 1 or more"),
        ({"count": 0, "pool": "retrain"}, "retrain.subsets: found 0, allowed is 1 or more"),
        ({"count": 2, "seed": 2**32 - 2}, "lds.seed: seeds are 4294967294 to 4294967296"),
    ],
)
def test_settings_out_of_range_are_refused(named, words):
    assert words in refused(np.arange(20) % 2, **named)
