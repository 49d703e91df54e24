"""Which training images, or groups of them, mattered for a query, as a table: the answer in a form to read.

In a notebook, with workflow/scripts on the path:

    from das.attributions import attributions, group_shares, self_influence
    attributions("results/digits", "das", queries=[3])
    group_shares("results/digits", "das", queries=[3], by="label")
    self_influence("results/mine", "das")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.data.images import read_labels, read_source_index, read_texts
from das.errors import UserError
from das.jobs import artifacts

COLUMNS = [
    "method",
    "query",
    "query_path",
    "query_caption",
    "rank",
    "score",
    "share",
    "image",
    "path",
    "label",
    "caption",
    "source_index",
]
GROUP_COLUMNS = ["query", "group", "share", "net", "images", "by_size"]
# Columns of `training_images` that group images.
GROUPED_BY = ("label", "caption")


def attributions(
    results: Path | str,
    method: str,
    split: str = "gen",
    queries: Sequence[int] | None = None,
    count: int = 20,
) -> pd.DataFrame:
    """The `count` training images with the highest scores of queries, and with the lowest; by stored scores.

    Args:
        results: folder of a data set, such as results/digits.
        method: whose scores, in `scores/{method}/{split}.h5`.
        queries: which of the split's images; all without it.

    Returns:
        See `tabulate`.

    Raises:
        UserError: the scores have not been made, or see `tabulate`.
    """
    results = Path(results)
    scores = _scores(results, method, split)
    images = (results / "images" / f"{name}.h5" for name in ("train", split))
    return tabulate(scores, *images, count=count, queries=queries)


def group_shares(
    results: Path | str,
    method: str,
    split: str = "gen",
    queries: Sequence[int] | None = None,
    by: str | Sequence[Any] | pd.Series = "label",
) -> pd.DataFrame:
    """How much each group of training images mattered for each query, by stored scores.

    Absolute scores are summed, so that the shares of a query add up to 1 also where scores have a sign, and
    those of a group may cancel. `net` keeps the sign.

    Args:
        results, method, split, queries: see `attributions`.
        by: "label" or "caption", or the group of each training image, in the order of `training_images`.

    Returns:
        A table with `GROUP_COLUMNS`, for each query the group with the largest share first, equal ones by
        name. `share`: the sum of the absolute scores of the group over that of all images, 0 where all scores
        are 0. `net`: the sum of the scores themselves over the same, which is `share` where scores are
        magnitudes. `images`: how many the group has. `by_size`: their part of all images, which would be the
        share if every image mattered alike.

    Raises:
        UserError: scores have not been made, there is no such query, or `by` gives not every image a group.
    """
    results = Path(results)
    with artifacts.read(_scores(results, method, split), "scores") as artifact:
        number, groups = _groups(training_images(results), by, artifact.shape("scores")[1])
        images = np.bincount(number)
        tables = []
        for query, row in _rows(artifact, queries):
            exact = row.astype(np.float64)
            total = np.abs(exact).sum() or 1.0
            share, net = (np.bincount(number, part) / total for part in (np.abs(exact), exact))
            columns = {"group": groups, "share": share, "net": net, "images": images}
            table = pd.DataFrame(columns | {"by_size": images / len(row)}).assign(query=query)
            tables.append(table.sort_values("share", ascending=False, kind="stable"))
    return pd.concat(tables, ignore_index=True)[GROUP_COLUMNS]


def self_influence(results: Path | str, method: str, split: str = "gen") -> pd.DataFrame:
    """`training_images` with the `score` of each for itself, the highest first, by stored scores.

    The pictures have to be the training images, among others perhaps: an image and a picture of the same path
    are the same.

    Raises:
        UserError: scores have not been made, or a training image is not among the pictures.
    """
    results = Path(results)
    pictures = results / "images" / f"{split}.h5"
    table = training_images(results)
    row_of = pd.Index(read_texts(pictures, "paths") or [])
    query = row_of.get_indexer(table["path"])
    if (query < 0).any():
        lacking = table["path"][query < 0].iloc[0]
        raise UserError(f"{pictures}: lacks the training image {lacking!r}; score the folder of all of them")
    with artifacts.read(_scores(results, method, split), "scores") as artifact:
        rows = _rows(artifact, query)
        scores = [row[image] for image, (_, row) in zip(table.index, rows, strict=True)]
    return table.assign(score=scores).sort_values("score", ascending=False, kind="stable")


def training_images(results: Path | str) -> pd.DataFrame:
    """Label, source_index, path and caption of each training image, by its row in images/train.h5.

    Paths and captions are empty where images have none.
    """
    return _about(Path(results) / "images/train.h5")


def _scores(results: Path, method: str, split: str) -> Path:
    """The file of a method's scores, which has to be there."""
    file = results / "scores" / method / f"{split}.h5"
    if not file.exists():
        raise UserError(f"{file}: no such file; `.venv/bin/snakemake --cores 1 {file}` makes it")
    return file


def tabulate(
    scores: Path, train_images: Path, query_images: Path, *, count: int, queries: Sequence[int] | None = None
) -> pd.DataFrame:
    """A table with `COLUMNS`: for each query the `count` highest scores, and the `count` lowest ones.

    Where scores are magnitudes, which say how much an image matters but not whether it helps, the lowest
    mean nothing and are left out. `method` is the name of the folder in which the scores lie. `rank` is 1, 2,
    ... from the highest score down, and -1, -2, ... from the lowest up; equal scores rank by the image.
    `share` is the score over the sum of the absolute scores of all training images for that query, so that
    absolute shares add up to 1. `image` is the row of the training image in images/train.h5. Paths, labels
    and captions are empty where images have none.

    Raises:
        UserError: there is no such query, none is asked for, or there are fewer training images than `count`.
    """
    about = _about(train_images)
    with artifacts.read(scores, "scores") as artifact:
        n = artifact.shape("scores")[1]
        if count > n:
            raise UserError(f"count: found {count}, allowed is at most {n}, the training images of {scores}")
        lowest = 0 if artifact.attributes["magnitude"] else count
        tables = [
            _of_query(row, count, lowest).assign(query=query) for query, row in _rows(artifact, queries)
        ]
    table = pd.concat(tables, ignore_index=True).join(about, on="image").assign(method=scores.parent.name)
    for column, name in (("query_path", "paths"), ("query_caption", "captions")):
        texts = read_texts(query_images, name)
        table[column] = "" if texts is None else np.array(texts, object)[table["query"]]
    return table[COLUMNS]


def _rows(
    artifact: artifacts.Artifact, queries: Sequence[int] | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The chosen queries, all without it, and their scores [N]."""
    of, n = artifact.shape("scores")
    chosen = range(of) if queries is None else queries
    if not len(chosen):
        raise UserError(f"{artifact.path}: no queries were asked for, it has 0 to {of - 1}")
    unknown = [query for query in chosen if not 0 <= query < of]
    if unknown:
        raise UserError(f"{artifact.path}: no query {unknown[0]}, it has 0 to {of - 1}")
    for query in chosen:
        yield query, artifact.read("scores", (of, n), np.float32, slice(query, query + 1))[0]


def _groups(
    about: pd.DataFrame, by: str | Sequence[Any] | pd.Series, n: int
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """The number of the group of each of n training images, and the groups that they number, sorted."""
    if isinstance(by, str) and by not in GROUPED_BY:
        raise UserError(
            f"by: found {by!r}, allowed are {', '.join(GROUPED_BY)} or a group for each training image"
        )
    if isinstance(by, pd.Series) and not by.index.equals(about.index):
        raise UserError(
            f"by: found a Series with another index than the {len(about)} rows of training_images; "
            "its values belong to images by their row"
        )
    of_each = about[by] if isinstance(by, str) else pd.Series(list(by), dtype=object)
    if len(of_each) != n:
        raise UserError(f"by: found groups for {len(of_each)} training images, the scores have {n}")
    missing = of_each.isna() | (of_each == "")
    if missing.any():
        raise UserError(f"by: training image {missing.argmax()} has no group; each needs one")
    number, groups = pd.factorize(of_each, sort=True)
    return number, np.asarray(groups, object)


def _of_query(scores: NDArray[np.float32], highest: int, lowest: int) -> pd.DataFrame:
    order = np.argsort(-scores, kind="stable")
    image = np.concatenate([order[:highest], order[len(order) - lowest :]])
    rank = np.concatenate([np.arange(highest) + 1, np.arange(lowest) - lowest])
    total = np.abs(scores, dtype=np.float64).sum()
    share = scores[image] / total if total else np.zeros(len(image))
    return pd.DataFrame({"rank": rank, "score": scores[image], "share": share, "image": image})


def _about(train_images: Path) -> pd.DataFrame:
    """What is known of each training image, by its row."""
    labels, names = read_labels(train_images)
    columns: dict[str, Any] = {
        "label": np.array(names, object)[labels],
        "source_index": read_source_index(train_images)[0],
    }
    for column, name in (("path", "paths"), ("caption", "captions")):
        columns[column] = read_texts(train_images, name) or ""
    return pd.DataFrame(columns, index=pd.RangeIndex(len(labels)))
