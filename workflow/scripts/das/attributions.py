"""Which training images mattered for a query, as a table: the answer in a form to read.

In a notebook, with workflow/scripts on the path:

    from das.attributions import attributions
    attributions("results/digits", "das", queries=[3])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das import artifacts
from das.errors import UserError
from das.images import read_labels, read_source_index, read_texts

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
    scores = results / "scores" / method / f"{split}.h5"
    images = (results / "images" / f"{name}.h5" for name in ("train", split))
    return tabulate(scores, *images, count=count, queries=queries)


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
        UserError: there is no such query, or there are fewer training images than `count`.
    """
    about = _about(train_images)
    with artifacts.read(scores, "scores") as artifact:
        of, n = artifact.shape("scores")
        if count > n:
            raise UserError(
                f"{scores}: the first {count} of {n} training images were asked for; "
                "lower attributions.count or report.most"
            )
        chosen = range(of) if queries is None else queries
        unknown = [query for query in chosen if not 0 <= query < of]
        if unknown:
            raise UserError(f"{scores}: no query {unknown[0]}, it has 0 to {of - 1}")
        lowest = 0 if artifact.attributes["magnitude"] else count
        rows = [artifact.read("scores", (of, n), np.float32, slice(query, query + 1)) for query in chosen]
    tables = [
        _of_query(row[0], count, lowest).assign(query=query) for query, row in zip(chosen, rows, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True).join(about, on="image").assign(method=scores.parent.name)
    for column, name in (("query_path", "paths"), ("query_caption", "captions")):
        texts = read_texts(query_images, name)
        table[column] = "" if texts is None else np.array(texts, object)[table["query"]]
    return table[COLUMNS]


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
