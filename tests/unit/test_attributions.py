"""The table of the most and least influential images, against plain sorting."""

import numpy as np
import pandas as pd
import pytest

from das.attributions import (
    COLUMNS,
    GROUP_COLUMNS,
    attributions,
    group_shares,
    self_influence,
    training_images,
)
from das.data.images import write_texts
from das.errors import UserError
from das.jobs import artifacts

NAMES = ("cat", "dog")


def results(folder, scores, paths=True, magnitude=False):
    """A data set's folder with scores [Q, N] of the method mine, and images of one pixel."""
    queries, n = scores.shape
    with artifacts.write(
        folder / "scores/mine/gen.h5", "scores", "x", {}, method="das", magnitude=magnitude
    ) as file:
        file["scores"] = scores.astype(np.float32)
    with artifacts.write(
        folder / "images/train.h5", "images", "x", {}, class_names=NAMES, published=False
    ) as file:
        file["images"] = np.zeros((n, 1, 1, 1), np.uint8)
        file["labels"] = np.arange(n, dtype=np.int64) % 2
        file["source_index"] = 100 + np.arange(n, dtype=np.int64)
        if paths:
            write_texts(file, "paths", [f"cat/{i}.png" for i in range(n)])
    with artifacts.write(folder / "images/gen.h5", "images", "x", {}) as file:
        file["images"] = np.zeros((queries, 1, 1, 1), np.uint8)
        write_texts(file, "captions", [f"query {q}" for q in range(queries)])
    return folder


def test_each_query_lists_the_highest_and_the_lowest_scores(tmp_path):
    scores = np.random.default_rng(0).standard_normal((3, 11)).astype(np.float32)
    table = attributions(results(tmp_path, scores), "mine", count=4)
    assert list(table.columns) == COLUMNS
    assert len(table) == 3 * 8
    for query, rows in table.groupby("query"):
        of = pd.Series(scores[query]).sort_values(ascending=False)
        assert rows["image"].tolist() == [*of.index[:4], *of.index[-4:]]
        assert rows["rank"].tolist() == [1, 2, 3, 4, -4, -3, -2, -1]
        np.testing.assert_array_equal(rows["score"], of.to_numpy()[[0, 1, 2, 3, 7, 8, 9, 10]])
        assert set(rows["query_caption"]) == {f"query {query}"}
    row = table.iloc[0]
    assert (row.method, row.path, row.label, row.source_index) == (
        "mine",
        f"cat/{row.image}.png",
        NAMES[row.image % 2],
        100 + row.image,
    )


def test_absolute_shares_of_all_images_add_up_to_one(tmp_path):
    scores = np.random.default_rng(1).standard_normal((2, 6))
    table = attributions(results(tmp_path, scores), "mine", count=3)
    assert table.groupby("query").share.apply(lambda share: share.abs().sum()).to_numpy() == pytest.approx(1)
    assert (np.sign(table.share) == np.sign(table.score)).all()


def test_magnitudes_have_no_lowest(tmp_path):
    """Many are exactly 0: which of them stand last says nothing."""
    scores = np.maximum(np.random.default_rng(3).standard_normal((2, 12)), 0)
    table = attributions(results(tmp_path, scores, magnitude=True), "mine", count=3)
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert table["image"][0] == scores[0].argmax()


def test_scores_that_are_all_zero_have_no_shares(tmp_path):
    table = attributions(results(tmp_path, np.zeros((1, 5))), "mine", count=2)
    assert (table.share == 0).all()
    assert table["image"].tolist() == [0, 1, 3, 4]


def test_queries_can_be_chosen(tmp_path):
    scores = np.random.default_rng(2).random((9, 8))
    folder = results(tmp_path, scores, paths=False)
    table = attributions(folder, "mine", queries=[7, 3], count=2)
    assert table["query"].unique().tolist() == [7, 3]
    assert table["image"].iloc[0] == scores[7].argmax()
    assert set(table["path"]) == {""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 6}, r"count: found 6, allowed is at most 5, the training images of .*gen.h5"),
        ({"queries": [1]}, r"gen.h5: no query 1, it has 0 to 0"),
        ({"method": "dtrak"}, r"scores/dtrak/gen.h5: no such file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, options, message):
    folder = results(tmp_path, np.ones((1, 5)))
    with pytest.raises(UserError, match=message):
        attributions(folder, **{"method": "mine", "count": 2} | options)


ARTISTS = ["Ada", "Bo", "Ada", "Cy", "Bo", "Ada", "Ada"]


@pytest.mark.parametrize("by", [ARTISTS, np.array(ARTISTS), pd.Series(ARTISTS), pd.Categorical(ARTISTS)])
def test_shares_of_groups_are_those_of_a_plain_sum(tmp_path, by):
    scores = np.random.default_rng(4).standard_normal((3, 7)).astype(np.float32)
    table = group_shares(results(tmp_path, scores), "mine", by=by)
    assert list(table.columns) == GROUP_COLUMNS
    assert len(table) == 9
    long = pd.DataFrame(scores.astype(np.float64).T).assign(group=ARTISTS).melt("group", var_name="query")
    long["absolute"] = long.value.abs()
    total = long.groupby("query").absolute.sum()
    for query, rows in table.groupby("query"):
        of = long[long["query"] == query].groupby("group")[["absolute", "value"]].sum() / total[query]
        of = of.sort_values("absolute", ascending=False)
        assert rows["group"].tolist() == of.index.tolist()
        np.testing.assert_allclose(rows["share"], of["absolute"])
        np.testing.assert_allclose(rows["net"], of["value"])
        assert rows["share"].sum() == pytest.approx(1)
        assert rows["images"].tolist() == [ARTISTS.count(group) for group in rows["group"]]
        np.testing.assert_allclose(rows["by_size"], rows["images"] / 7)


def test_scores_alike_give_each_group_the_share_of_its_size(tmp_path):
    table = group_shares(results(tmp_path, np.full((1, 7), 0.3)), "mine")
    assert dict(zip(table["group"], table["images"], strict=True)) == {"cat": 4, "dog": 3}
    np.testing.assert_allclose(table["share"], table["by_size"])
    np.testing.assert_allclose(table["net"], table["share"])


def test_groups_come_from_what_is_known_of_training_images(tmp_path):
    """As of an artist who stands in a table by the file's name; and of chosen queries alone."""
    scores = np.random.default_rng(5).random((4, 5))
    folder = results(tmp_path, scores)
    about = training_images(folder)
    assert about.path.tolist() == [f"cat/{i}.png" for i in range(5)]
    artist = about.path.map({f"cat/{i}.png": "Ada" if i < 2 else "Bo" for i in range(5)})
    table = group_shares(folder, "mine", queries=[2, 1], by=artist).set_index(["query", "group"])
    assert table.index.unique("query").tolist() == [2, 1]
    assert table.share[2, "Ada"] == pytest.approx(scores[2, :2].sum() / scores[2].sum())


def test_groups_of_scores_that_are_all_zero_have_no_shares(tmp_path):
    table = group_shares(results(tmp_path, np.zeros((1, 5))), "mine")
    assert table["group"].tolist() == ["cat", "dog"]
    assert (table[["share", "net"]] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "artist"},
            "by: found 'artist', allowed are label, caption or a group for each training image",
        ),
        ({"by": "caption"}, "by: training image 0 has no group; each needs one"),
        ({"by": ["a", "b"]}, "by: found groups for 2 training images, the scores have 5"),
        ({"by": ["a", "b", None, "a", "a"]}, "by: training image 2 has no group; each needs one"),
        (
            {"by": pd.Series(list("abcde"), list("edcba"))},
            "by: found a Series with another index than the 5 rows",
        ),
        ({"queries": [-1]}, "gen.h5: no query -1, it has 0 to 0"),
        ({"queries": []}, "gen.h5: no queries were asked for, it has 0 to 0"),
        ({"split": "val"}, "scores/mine/val.h5: no such file"),
    ],
)
def test_a_mistake_in_groups_is_one_line(tmp_path, options, message):
    folder = results(tmp_path, np.ones((1, 5)))
    with pytest.raises(UserError, match=message):
        group_shares(folder, **{"method": "mine"} | options)


def test_the_influence_of_an_image_on_itself_is_found_by_its_path(tmp_path):
    scores = np.random.default_rng(7).standard_normal((7, 5)).astype(np.float32)
    folder = results(tmp_path, scores)
    pictures = [f"cat/{i}.png" for i in (9, 3, 0, 4, 8, 1, 2)]  # 8 and 9 were not trained on
    with artifacts.write(folder / "images/gen.h5", "images", "x", {}) as file:
        file["images"] = np.zeros((7, 1, 1, 1), np.uint8)
        write_texts(file, "paths", pictures)
    table = self_influence(folder, "mine")
    expected = {i: scores[pictures.index(f"cat/{i}.png"), i] for i in range(5)}
    assert table.score.to_dict() == expected
    assert table.score.is_monotonic_decreasing
    assert table.path[3] == "cat/3.png"


def test_self_influence_of_images_that_are_no_pictures_is_refused(tmp_path):
    folder = results(tmp_path, np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"gen.h5: lacks the training image 'cat/0.png'; score the folder"):
        self_influence(folder, "mine")
