"""A method with its inputs opened and checked against each other, which scores images block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.jobs.blocks import blocks
from das.methods import Block, Method
from das.plan.methods import Candidates
from das.scoring.feature_shards import Shards
from das.scoring.inputs import (
    DampedProvider,
    EmbeddingProvider,
    ErrorProvider,
    FeatureProvider,
    ImageKernelProvider,
    ImageProvider,
    KernelProvider,
    Provider,
    RetrainingProvider,
)
from das.scoring.kernel import Damping, SpectralKernel

UNDAMPED = Damping(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Part:
    """The files of one part of a method, those of one model."""

    train_features: Sequence[Path] = ()
    query_features: Sequence[Path] = ()
    errors: Path | None = None
    kernel: Path | None = None


@dataclass(frozen=True)
class Sources:
    """What methods score from; what the method does not need may be left out.

    Attributes:
        parts: what the scores are averaged over, see `das.plan.methods`.
        by_timestep: the features keep their timesteps; each is a part of its own.
        dimension: fold features to so many numbers, None for all of them.
        train_images, query_images, train_embeddings, query_embeddings: artifacts.
        retrained_subsets, retrained_losses, split: retrained models and their losses on a split's queries.
        candidates: which images are scored, the others having score 0; None for all.
    """

    parts: Sequence[Part] = (Part(),)
    by_timestep: bool = False
    dimension: int | None = None
    train_images: Path | None = None
    query_images: Path | None = None
    train_embeddings: Path | None = None
    query_embeddings: Path | None = None
    retrained_subsets: Path | None = None
    retrained_losses: Sequence[Path] = ()
    split: str = "val"
    candidates: Candidates | None = None

    def computed(self) -> dict[str, list[Path]]:
        """The files that were computed for the method's sake, by what they are: not images and subsets."""
        found: dict[str, list[Path | None]] = {
            "gradients of the training images": [f for part in self.parts for f in part.train_features],
            "gradients of the pictures": [f for part in self.parts for f in part.query_features],
            "Gauss-Newton kernel": [part.kernel for part in self.parts],
            "errors of the training images": [part.errors for part in self.parts],
            "embeddings": [self.train_embeddings, self.query_embeddings],
            "losses of further models": list(self.retrained_losses),
        }
        there = {step: [path for path in files if path is not None] for step, files in found.items()}
        return {step: files for step, files in there.items() if files}


class Scorer:
    """A method and what it scores from; `len(scorer)` is the number of parts.

    Attributes:
        n, queries: number of training and of query images.
        dataset, weights, settings: provenance of the scores; of several models, the weights of the last.

    Raises:
        UserError: an input is missing or does not belong to the others.
    """

    def __init__(self, method: Method, sources: Sources) -> None:
        self.settings: dict[str, Any] = {"method": method.name}
        self.weights = ""
        self.n = self.queries = 0
        self._method = method
        self._width = 1
        self._first: artifacts.Artifact | None = None  # what others are compared with
        self._parts = [opened for part in sources.parts for opened in self._open_part(part, sources)]
        candidates = sources.candidates
        self._shared = self._open_shared(method.inputs, sources)
        self._nearest = self._choose(candidates, sources) if candidates else None

    def __len__(self) -> int:
        return len(self._parts)

    def require_same_dataset(self, artifact: artifacts.Artifact) -> None:
        """Refuse an artifact of another data set than the inputs opened so far."""
        if self._first is None:
            self._first, self.dataset = artifact, artifact.dataset
        artifacts.require_same("dataset", self._first, artifact)

    def blocks(self) -> Iterator[range]:
        """Blocks of training images of a bounded size."""
        return blocks(self.n, max(self._width, self.queries))

    def parts(self) -> Iterator[PartScorer]:
        """The parts, one after another: of their kernels only one is in memory."""
        for part in self._parts:
            providers = [*part.providers(self._method), *self._shared]
            yield PartScorer(self._method, providers, self.queries, self.n, self._nearest)
            del providers

    def _open_part(self, part: Part, sources: Sources) -> Iterator[_OpenPart]:
        inputs = self._method.inputs
        timesteps: list[int | None] = [None]
        if sources.by_timestep:
            timesteps = list(Shards(part.train_features, timestep=0).timesteps)
        for position, timestep in enumerate(timesteps):
            opened = _OpenPart(part.kernel)
            if self._method.needs_features:
                chosen = {"timestep": None if timestep is None else position, "dimension": sources.dimension}
                opened.train = Shards(part.train_features, **chosen)
                opened.query = Shards(part.query_features, **chosen)
                opened.train.require_same(opened.query)
                self._accept(FeatureProvider(opened.train, opened.query))
                self.weights, self.settings["features"] = opened.train.weights, opened.train.settings
            if "errors" in inputs:
                opened.errors = ErrorProvider(_given(part.errors, "training errors"), timestep)
                self._accept(opened.errors)
                if opened.train is not None:
                    artifacts.require_same("weights", opened.train.provenance, opened.errors.artifact)
            yield opened

    def _open_shared(self, inputs: Sequence[str], sources: Sources) -> list[Provider]:
        """What does not depend on a model: the same for all parts."""
        found: list[Provider] = []
        for name, provider_of in (("images", ImageProvider), ("image_kernel", ImageKernelProvider)):
            if name in inputs:
                train = _given(sources.train_images, "images")
                found.append(provider_of(train, _given(sources.query_images, "query images")))
        if "embeddings" in inputs:
            found.append(
                EmbeddingProvider(
                    _given(sources.train_embeddings, "embeddings"),
                    _given(sources.query_embeddings, "query embeddings"),
                )
            )
        if "retraining" in inputs:
            subsets = _given(sources.retrained_subsets, "subsets of retrained models")
            found.append(RetrainingProvider(subsets, sources.retrained_losses, sources.split))
        for provider in found:
            self._accept(provider)
        return found

    def _accept(self, provider: Provider) -> None:
        """Take a provider's counts and data set, or refuse it where they are not those of the others."""
        self.require_same_dataset(provider.artifact)
        for name in ("n", "queries"):
            found, expected = getattr(provider, name), getattr(self, name)
            if found is not None and expected and found != expected:
                raise UserError(
                    f"{provider.artifact.path}: holds {found} images, the other inputs {expected}; "
                    "they must agree"
                )
            setattr(self, name, found or expected)
        self._width = max(self._width, provider.width)

    def _choose(self, candidates: Candidates, sources: Sources) -> NDArray[np.int64]:
        """The training images that are nearest to each query, [Q, M]."""
        shared = self._open_shared(candidates.rule.inputs, sources)
        part = PartScorer(candidates.rule, shared, self.queries, self.n)
        best = Best.none(self.queries)
        for rows in self.blocks():
            for scores in part.scores(rows, [UNDAMPED]):
                best = best.merge(scores.astype(np.float32), rows, candidates.count)
        return best.index


@dataclass
class _OpenPart:
    """A part whose files have been opened; its kernel is built when its turn comes."""

    kernel: Path | None
    train: Shards | None = None
    query: Shards | None = None
    errors: ErrorProvider | None = None

    def providers(self, method: Method) -> Iterator[Provider]:
        if self.train is not None and self.query is not None:
            if method.damped:
                yield KernelProvider(self.train, self.query, self.kernel, method.inputs)
            if "features" in method.inputs:
                yield FeatureProvider(self.train, self.query)
        if self.errors is not None:
            yield self.errors


class PartScorer:
    """Scores by one part.

    Args:
        queries, n: number of query and of training images.
        nearest: training images [Q, M] that alone are scored for each query; None for all.
    """

    def __init__(
        self,
        method: Method,
        providers: Sequence[Provider],
        queries: int,
        n: int,
        nearest: NDArray[np.int64] | None = None,
    ) -> None:
        self._method = method
        self._providers = providers
        self._nearest, self._queries = nearest, queries
        self._prepared = None
        if method.prepare is not None:
            known = [p.block(range(n), None) for p in providers if p.before_blocks]
            everything = Block(**{k: v for part in known for k, v in part.items()})
            self._prepared = _called(method, method.prepare, everything)

    def dampings(self, relative: Sequence[float]) -> list[Damping]:
        """The dampings with these relative values; `UNDAMPED` for each where there is no kernel."""
        kernels = [p.kernel for p in self._providers if isinstance(p, DampedProvider)]
        return [kernels[0].damping(value) if kernels else UNDAMPED for value in relative]

    @property
    def chooses(self) -> bool:
        """Whether a damping can be chosen without retrained models: by residuals and the own kernel."""
        return any(isinstance(p, KernelProvider) and p.own for p in self._providers) and any(
            isinstance(p, ErrorProvider) for p in self._providers
        )

    def choose(self, dampings: Sequence[Damping]) -> int:
        """Position of the damping with the least generalised cross-validation error.

        The features' kernel is that of a linear model of the residuals r_i; the damping is the one with
        which this model predicts best the residual of an image that it was not fitted to.
        """
        kernels = [p.kernel for p in self._providers if isinstance(p, KernelProvider)]
        kernel = next(kernel for kernel in kernels if isinstance(kernel, SpectralKernel))
        residual = next(p.residual for p in self._providers if isinstance(p, ErrorProvider))
        return int(np.argmin([kernel.gcv(residual, damping.absolute) for damping in dampings]))

    def scores(self, rows: range, dampings: Sequence[Damping]) -> Iterator[NDArray[np.floating]]:
        """Scores [Q, len(rows)] of consecutive training images at each damping.

        Raises:
            UserError: a score is not finite; names method, query and training image.
        """
        for damping in dampings:
            given = {k: v for p in self._providers for k, v in p.block(rows, damping).items()}
            scores = _called(self._method, self._method.score, Block(**given, prepared=self._prepared))
            expected = (self._queries, len(rows))
            if np.shape(scores) != expected:
                raise UserError(
                    f"method {self._method.name}: scores have shape {np.shape(scores)}, expected {expected}, "
                    "queries by training images"
                )
            require_finite(self._method, scores, rows)
            yield scores if self._nearest is None else np.where(self._chosen(rows), scores, 0)

    def _chosen(self, rows: range) -> NDArray[np.bool_]:
        """Whether training images are candidates, [Q, len(rows)]."""
        assert self._nearest is not None
        chosen = np.zeros((len(self._nearest), len(rows)), dtype=np.bool_)
        query, place = np.nonzero((self._nearest >= rows.start) & (self._nearest < rows.stop))
        chosen[query, self._nearest[query, place] - rows.start] = True
        return chosen


def _called(method: Method, function: Callable[[Block], Any], block: Block) -> Any:
    """What a function of a method makes of a block; its mistakes with the method's name."""
    try:
        return function(block)
    except UserError as error:
        raise UserError(f"method {method.name}: {error}") from error


def require_finite(method: Method, scores: NDArray[np.floating], rows: range) -> None:
    """Refuse scores [Q, len(rows)] of which one is not finite."""
    finite = np.isfinite(scores)
    if not finite.all():
        query, image = np.argwhere(~finite)[0]
        raise UserError(
            f"method {method.name}: the score of training image {rows.start + image} "
            f"for query {query} is {scores[query, image]}; "
            f"{'use a larger damping or check the features' if method.damped else 'check what it computes'}"
        )


@dataclass(frozen=True)
class Best:
    """The highest scores so far, [Q, M], descending, and whose they are."""

    index: NDArray[np.int64]
    score: NDArray[np.float32]

    @classmethod
    def none(cls, queries: int) -> Best:
        """Before the first block."""
        return cls(np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32))

    def merge(self, scores: NDArray[np.float32], rows: range, top: int) -> Best:
        """With a block of scores [Q, len(rows)], of which the `top` highest are kept, equal ones by index."""
        score = np.concatenate([self.score, scores], axis=1)
        new = np.broadcast_to(np.arange(rows.start, rows.stop), scores.shape)
        index = np.concatenate([self.index, new], axis=1)
        order = np.argsort(-score, axis=1, kind="stable")[:, :top]
        return Best(np.take_along_axis(index, order, 1), np.take_along_axis(score, order, 1))


def _given(path: Path | None, what: str) -> Path:
    if path is None:
        raise UserError(f"{what}: the method needs them, no file was given")
    return path
