"""The table of the most and least influential images, against plain sorting."""

import numpy as np
import pandas as pd
import pytest

from das import artifacts
from das.attributions import COLUMNS, attributions
from das.errors import UserError
from das.images import write_texts

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
        ({"count": 6}, r"gen.h5: the first 6 of 5 training images were asked for; lower attributions.count"),
        ({"queries": [1]}, r"gen.h5: no query 1, it has 0 to 0"),
        ({"method": "dtrak"}, r"scores/dtrak/gen.h5: no such file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, options, message):
    folder = results(tmp_path, np.ones((1, 5)))
    with pytest.raises(UserError, match=message):
        attributions(folder, **{"method": "mine", "count": 2} | options)
