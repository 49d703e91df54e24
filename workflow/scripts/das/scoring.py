"""Scores of training images, streamed over blocks of them.

`predict_losses` sums scores over the members of each subset, for a grid of dampings at once, and
`score_images` stores them at one damping. Neither holds an N x Q array: memory depends on the dimension of
the features, the block and the number of queries Q, not on the number of training images N (of which the
dual kernel holds N x N where that is smaller than k x k).

Sign convention: a positive score means that having the image in training lowers the query's loss. So the
prediction for the loss of a model is minus the sum of the scores of the images that it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das import artifacts
from das.clean import LATENTS, PIXELS, clean_shape, read_clean
from das.errors import UserError
from das.kernel import Damping, Floats, Kernel, build_kernel
from das.methods import Block, Method
from das.shards import Shards, blocks

SIGNED = "positive: having the image in training lowers the query's loss"
MAGNITUDE = "magnitude: taken as positive, having the image in training lowers the query's loss"

UNDAMPED = Damping(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Sources:
    """The files that methods score from; those that the method does not need may be left out.

    Feature shards go with the input "features", `train_errors` with "errors", images with "images".
    """

    train_features: Sequence[Path] = ()
    query_features: Sequence[Path] = ()
    train_errors: Path | None = None
    train_images: Path | None = None
    query_images: Path | None = None


def predict_losses(
    method: Method, sources: Sources, subsets: Path, dampings: Sequence[float], output: Path
) -> None:
    """Write what a method predicts for the loss of every subset's model on every query.

    The artifact "predictions" holds `prediction` float64 [L, S, Q] and the attributes `method` and
    `damping_relative`, `damping_absolute`, `damping_unscaled`, each [L]. An undamped method has L = 1 and
    NaN there.

    Args:
        subsets: artifact with `membership` bool [S, N].
        dampings: relative dampings, see `das.kernel.Damping`; ignored for undamped methods.

    Raises:
        UserError: inputs are missing, disagree or are not finite, or a score is not finite.
    """
    if method.damped and not dampings:
        raise UserError(f"method {method.name}: no dampings were given")
    scorer = Scorer(method, sources)
    with artifacts.read(subsets, "subsets") as artifact:
        scorer.require_same_dataset(artifact)
        membership = artifact.read("membership", (None, scorer.n), np.bool_)
    chosen = scorer.dampings(dampings)
    prediction = np.zeros((len(chosen), len(membership), scorer.queries))
    for rows in scorer.blocks():
        members = membership[:, rows.start : rows.stop].astype(np.float64)
        for index, scores in enumerate(scorer.scores(rows, chosen)):
            prediction[index] -= members @ scores.T

    attributes = {
        f"damping_{scale}": np.array([getattr(damping, scale) for damping in chosen])
        for scale in ("relative", "absolute", "unscaled")
    }
    settings = scorer.settings | {"dampings": [d.relative for d in chosen if method.damped]}
    with artifacts.write(
        output, "predictions", scorer.dataset, settings, scorer.weights, method=method.name, **attributes
    ) as file:
        file["prediction"] = prediction


def score_images(
    method: Method, sources: Sources, damping: float | None, damping_rule: str, top: int, output: Path
) -> None:
    """Write the scores of all training images for all queries at one damping.

    The artifact "scores" holds `scores` float32 [Q, N], `top_index` int64 [Q, M] and `top_score` float32
    [Q, M], the M = min(top, N) highest in descending order, equal ones by index. Attributes: `method`,
    `sign_convention`, `magnitude`, `damping` (relative), `damping_absolute`, `damping_rule`.

    Args:
        damping: relative damping, None for undamped methods.
        damping_rule: how the damping was chosen, for the record.

    Raises:
        UserError: inputs are missing, disagree or are not finite, or a score is not finite.
    """
    if method.damped and damping is None:
        raise UserError(f"method {method.name}: needs a damping, none was given")
    scorer = Scorer(method, sources)
    chosen = scorer.dampings([damping] if damping is not None else [])
    settings = scorer.settings | {"damping": damping, "damping_rule": damping_rule, "top": top}
    with artifacts.write(
        output,
        "scores",
        scorer.dataset,
        settings,
        scorer.weights,
        method=method.name,
        sign_convention=MAGNITUDE if method.magnitude else SIGNED,
        magnitude=method.magnitude,
        damping=chosen[0].relative,
        damping_absolute=chosen[0].absolute,
        damping_rule=damping_rule if method.damped else "none",
    ) as file:
        stored = file.create_dataset("scores", (scorer.queries, scorer.n), np.float32)
        best = _Best.none(scorer.queries)
        for rows in scorer.blocks():
            for scores in scorer.scores(rows, chosen):
                rounded = scores.astype(np.float32)
                scorer.require_finite(rounded, rows)
                stored[:, rows.start : rows.stop] = rounded
                best = best.merge(rounded, rows, top)
        file["top_index"] = best.index
        file["top_score"] = best.score


class Scorer:
    """A method with its inputs opened and checked against each other.

    Attributes:
        n, queries: number of training and of query images.
        dataset, weights, settings: provenance of the scores.
    """

    def __init__(self, method: Method, sources: Sources) -> None:
        self._method = method
        self._kernel: Kernel | None = None
        self._residual: NDArray[np.float64] | None = None
        self._images: Path | None = None
        self._first: artifacts.Artifact | None = None  # what others are compared with
        self.n = self.queries = self._width = 0
        self.weights = ""
        self.settings: dict[str, Any] = {"method": method.name}
        if "features" in method.inputs:
            self._open_features(sources)
        if "images" in method.inputs:
            self._open_images(sources)
        if "errors" in method.inputs:
            self._open_errors(sources)

    def require_same_dataset(self, artifact: artifacts.Artifact) -> None:
        """Refuse an artifact of another data set than the inputs opened so far."""
        if self._first is None:
            self._first, self.dataset = artifact, artifact.dataset
        artifacts.require_same("dataset", self._first, artifact)

    def dampings(self, relative: Sequence[float]) -> list[Damping]:
        """The dampings with these relative values; `UNDAMPED` alone for an undamped method."""
        if self._kernel is None:
            return [UNDAMPED]
        return [self._kernel.damping(value) for value in relative]

    def blocks(self) -> Iterator[range]:
        """The training images in blocks."""
        return blocks(self.n, max(self._width, self.queries))

    def scores(self, rows: range, dampings: Sequence[Damping]) -> Iterator[NDArray[np.floating]]:
        """Scores [Q, len(rows)] of some training images at each damping in turn.

        Raises:
            UserError: a score is not finite; names method, query and training image.
        """
        given: dict[str, Any] = {}
        if self._residual is not None:
            given["residual"] = self._residual[rows.start : rows.stop]
        if self._images is not None:
            given["query_pixels"] = self._query_pixels
            given["train_pixels"] = _read_pixels(self._images, rows)
        train = self._kernel.train(rows) if self._kernel else None
        for damping in dampings:
            if self._kernel is not None and train is not None:
                given["inner"] = self._kernel.inner(self._query, train, damping.absolute)
                given["one_minus_leverage"] = self._kernel.one_minus_leverage(train, damping.absolute)
            scores = self._method.score(Block(**given))
            if scores.shape != (self.queries, len(rows)):
                raise ValueError(f"{self._method.name}: scores have shape {scores.shape}")
            self.require_finite(scores, rows)
            yield scores

    def require_finite(self, scores: NDArray[np.floating], rows: range) -> None:
        """Refuse scores [Q, len(rows)] of which one is not finite."""
        finite = np.isfinite(scores)
        if not finite.all():
            query, image = np.argwhere(~finite)[0]
            raise UserError(
                f"method {self._method.name}: the score of training image {rows.start + image} "
                f"for query {query} is {scores[query, image]}; use a larger damping or check the features"
            )

    def _open_features(self, sources: Sources) -> None:
        train, query = Shards(sources.train_features), Shards(sources.query_features)
        train.require_same(query)
        self._kernel = build_kernel(train)
        parts = [self._kernel.query(query.read(rows)) for rows in blocks(query.n, query.k)]
        self._query: Floats = np.concatenate(parts)
        self.n, self.queries, self._width = train.n, query.n, train.k
        self.weights = train.weights
        self.settings["features"] = train.settings
        self.require_same_dataset(train.provenance)

    def _open_images(self, sources: Sources) -> None:
        train, query = _given(sources.train_images, "images"), _given(sources.query_images, "query images")
        with artifacts.read(train, PIXELS, LATENTS) as artifact:
            self.require_same_dataset(artifact)
            n, *shape = clean_shape(artifact)
        with artifacts.read(query, PIXELS, LATENTS) as artifact:
            self.require_same_dataset(artifact)
            queries, *query_shape = clean_shape(artifact)
        if query_shape != shape:
            raise UserError(f"{query}: images have shape {query_shape}, but those of {train} have {shape}")
        self._require_count(train, n, self.n or n)
        self._require_count(query, queries, self.queries or queries)
        self.n, self.queries, self._width = n, queries, max(self._width, math.prod(shape))
        self._images = train
        self._query_pixels = _read_pixels(query, range(queries))

    def _open_errors(self, sources: Sources) -> None:
        path = _given(sources.train_errors, "training errors")
        with artifacts.read(path, "errors") as artifact:
            self.require_same_dataset(artifact)
            if "features" in self._method.inputs and self._first is not None:
                artifacts.require_same("weights", self._first, artifact)
            self._require_count(path, artifact.shape("error")[0], self.n)
            errors = artifact.read("error", (self.n, None), np.float32).astype(np.float64)
        self._residual = np.sqrt(errors).mean(1)

    def _require_count(self, path: Path, found: int, expected: int) -> None:
        if found != expected:
            raise UserError(f"{path}: holds {found} images, the other inputs {expected}; they must agree")


@dataclass(frozen=True)
class _Best:
    """The highest scores so far, [Q, M], descending, and whose they are."""

    index: NDArray[np.int64]
    score: NDArray[np.float32]

    @classmethod
    def none(cls, queries: int) -> _Best:
        return cls(np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32))

    def merge(self, scores: NDArray[np.float32], rows: range, top: int) -> _Best:
        score = np.concatenate([self.score, scores], axis=1)
        new = np.broadcast_to(np.arange(rows.start, rows.stop), scores.shape)
        index = np.concatenate([self.index, new], axis=1)
        order = np.argsort(-score, axis=1, kind="stable")[:, :top]
        return _Best(np.take_along_axis(index, order, 1), np.take_along_axis(score, order, 1))


def _given(path: Path | None, what: str) -> Path:
    if path is None:
        raise UserError(f"{what}: the method needs them, no file was given")
    return path


def _read_pixels(path: Path, rows: range) -> NDArray[np.float32]:
    """Pixels in [-1, 1], or latents, [len(rows), d]; float32 holds them, and queries are kept whole."""
    with artifacts.read(path, PIXELS, LATENTS) as artifact:
        return read_clean(artifact, rows)
