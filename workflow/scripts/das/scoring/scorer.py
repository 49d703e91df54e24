"""A method with its inputs opened and checked against each other, which scores images block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.errors import UserError
from das.jobs import artifacts
from das.jobs.blocks import blocks
from das.methods import Block, Method, Product
from das.methods.inputs import INPUTS
from das.plan.methods import Candidates
from das.scoring.inputs import DampedInput, ErrorInput, LoadedKernel, Opened, OpenInput, Scene, timesteps_of
from das.scoring.kernel import Damping
from das.scoring.spectral_kernel import SpectralKernel

UNDAMPED = Damping(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Sources:
    """What a method scores from; what it does not need may be left out.

    Attributes:
        files: by the names of `das.methods.inputs`, lists of files: one list for each model that scores are
            averaged over, where each has its own files, or a single one for all of them.
        by_timestep: the features keep their timesteps; each timestep of a model is a part of its own.
        dimension: fold features to so many numbers, None for all of them.
        split: which the queries are, val or gen.
        candidates: which images are scored, the others having score 0; None for all.
    """

    files: Mapping[str, Sequence[Sequence[Path]]]
    by_timestep: bool = False
    dimension: int | None = None
    split: str = "val"
    candidates: Candidates | None = None

    @property
    def models(self) -> list[dict[str, Sequence[Path]]]:
        """The files for each model that scores are averaged over."""
        number = max((len(each) for each in self.files.values()), default=1)
        return [
            {name: each[model if len(each) > 1 else 0] for name, each in self.files.items()}
            for model in range(number)
        ]

    def computed(self) -> dict[str, list[Path]]:
        """The files that were computed for the method's sake, by what they were computed in."""
        steps = {
            name: files.step for each in INPUTS.values() for name, files in each.files.items() if files.step
        }
        found: dict[str, list[Path]] = {}
        for name, step in steps.items():
            found.setdefault(step, []).extend(path for part in self.files.get(name, ()) for path in part)
        return {step: files for step, files in found.items() if files}


class Scorer:
    """A method and what it scores from; `len(scorer)` is the number of parts.

    Args:
        one_damping: whether there is a single damping, and none to choose.

    Attributes:
        n, queries: number of training and of query images.
        dataset, weights, settings: provenance of the scores; of several models, the weights of the last.

    Raises:
        UserError: an input is missing or does not belong to the others.
    """

    def __init__(self, method: Method, sources: Sources, one_damping: bool = False) -> None:
        self.settings: dict[str, Any] = {"method": method.name}
        self.weights = ""
        self.n = self.queries = 0
        self._method, self._one_damping = method, one_damping
        self._width = 1
        self._first: artifacts.Artifact | None = None  # what others are compared with
        self._parts = [opened for files in sources.models for opened in self._open_model(files, sources)]
        self._shared = self._open(method.inputs, sources.models[0], sources, of_models=False)
        self._nearest = self._choose(sources.candidates, sources) if sources.candidates else None

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
            opened = [each.loaded() for each in (*part, *self._shared)]
            yield PartScorer(self._method, opened, self.queries, self.n, self._nearest)
            del opened

    def _open_model(self, files: Opened, sources: Sources) -> Iterator[list[OpenInput]]:
        """What depends on a model: one part, or one for each timestep that its features keep."""
        for timestep in timesteps_of(files) if sources.by_timestep else [None]:
            opened = self._open(self._method.inputs, files, sources, of_models=True, timestep=timestep)
            for each in opened:
                artifacts.require_same("weights", opened[0].artifact, each.artifact)
                if each.record:
                    self.weights = each.artifact.weights
                    self.settings |= each.record
            yield opened

    def _open(
        self,
        wanted: Sequence[str],
        files: Opened,
        sources: Sources,
        *,
        of_models: bool,
        timestep: tuple[int, int] | None = None,
    ) -> list[OpenInput]:
        """Inputs that depend on a model, or those that do not and are the same for all parts."""
        scene = Scene(wanted, sources.split, sources.dimension, timestep, self._one_damping)
        chosen = [each for name, each in INPUTS.items() if name in wanted and each.of_models == of_models]
        opened = []
        for opens in dict.fromkeys(each.opener for each in chosen):  # several may be opened as one
            try:
                opened.append(opens(files, scene))
            except KeyError as error:
                raise UserError(
                    f"{opens.__qualname__}: asks for {error}, given are {', '.join(files)}"
                ) from error
            self._accept(opened[-1])
        return opened

    def _accept(self, opened: OpenInput) -> None:
        """Take an input's counts and data set, or refuse it where they are not those of the others."""
        self.require_same_dataset(opened.artifact)
        for name in ("n", "queries"):
            found, expected = getattr(opened, name), getattr(self, name)
            if found is not None and expected and found != expected:
                raise UserError(
                    f"{opened.artifact.path}: holds {found} images, the other inputs {expected}; "
                    "they must agree"
                )
            setattr(self, name, found or expected)
        self._width = max(self._width, opened.width)

    def _choose(self, candidates: Candidates, sources: Sources) -> NDArray[np.int64]:
        """The training images that are nearest to each query, [Q, M]."""
        shared = self._open(candidates.rule.inputs, sources.models[0], sources, of_models=False)
        part = PartScorer(candidates.rule, shared, self.queries, self.n)
        best = Best.none(self.queries)
        for rows in self.blocks():
            for scores in part.scores(rows, [UNDAMPED]):
                best = best.merge(scores.astype(np.float32), rows, candidates.count)
        return best.index


class PartScorer:
    """Scores by one part.

    Args:
        queries, n: number of query and of training images.
        nearest: training images [Q, M] that alone are scored for each query; None for all.
    """

    def __init__(
        self,
        method: Method,
        opened: Sequence[OpenInput],
        queries: int,
        n: int,
        nearest: NDArray[np.int64] | None = None,
    ) -> None:
        self._method = method
        self._opened = opened
        self._nearest, self._queries = nearest, queries
        self._prepared = None
        if method.prepare is not None:
            known = [p.block(range(n), None) for p in opened if p.before_blocks]
            everything = Block(**{k: v for part in known for k, v in part.items()})
            self._prepared = _called(method, method.prepare, everything)

    def dampings(self, relative: Sequence[float]) -> list[Damping]:
        """The dampings with these relative values; `UNDAMPED` for each where there is no kernel."""
        damped = [each for each in self._opened if isinstance(each, DampedInput)]
        if not damped and self._method.damped:
            raise UserError(
                f"method {self._method.name}: an input is damped, but none opened as a DampedInput"
            )
        if not damped:
            return [UNDAMPED] * len(relative)
        # An image kernel beside one of gradients has a scale of its own.
        kernel = next((each for each in damped if isinstance(each, LoadedKernel)), damped[0]).kernel
        return [kernel.damping(value) for value in relative]

    @property
    def chooses(self) -> bool:
        """Whether a damping can be chosen without retrained models: by residuals and the own kernel."""
        return any(isinstance(p, LoadedKernel) and p.own for p in self._opened) and any(
            isinstance(p, ErrorInput) for p in self._opened
        )

    def choose(self, dampings: Sequence[Damping]) -> int:
        """Position of the damping with the least generalised cross-validation error.

        The features' kernel is that of a linear model of the residuals r_i; the damping is the one with
        which this model predicts best the residual of an image that it was not fitted to.
        """
        kernels = [p.kernel for p in self._opened if isinstance(p, LoadedKernel)]
        kernel = next(kernel for kernel in kernels if isinstance(kernel, SpectralKernel))
        residual = next(p.residual for p in self._opened if isinstance(p, ErrorInput))
        return int(np.argmin(kernel.gcv(residual, [damping.absolute for damping in dampings])))

    def scores(self, rows: range, dampings: Sequence[Damping]) -> Iterator[NDArray[np.floating]]:
        """Scores [Q, len(rows)] of consecutive training images at each damping.

        Raises:
            UserError: a score is not finite; names method, query and training image.
        """
        for damping in dampings:
            yield self._scores(self._found(rows, damping), rows)

    def sums(
        self, membership: NDArray[np.bool_], cuts: Iterable[range], dampings: Sequence[Damping]
    ) -> list[NDArray[np.floating]]:
        """Sums of scores over the members of each subset, [S, Q], at each damping.

        Of a `Product`, vectors of images are summed first: queries are multiplied with sums alone.

        Args:
            membership: bool [S, N].
            cuts: blocks of training images, which make up all of them.

        Raises:
            UserError: as `scores`.
        """
        totals: list[Any] = [0.0] * len(dampings)  # [S, Q], or [S, m] where the method returns products
        products: dict[int, Product] = {}
        for rows in cuts:
            members = membership[:, rows.start : rows.stop].astype(np.float64)
            last: Product | None = None
            for index, damping in enumerate(dampings):
                found = self._found(rows, damping)
                if isinstance(found, Product) and self._nearest is None:
                    # Vectors of images that do not depend on λ have the same sums.
                    if last is None or found.train is not last.train or found.weight is not last.weight:
                        if not found.finite:
                            self._scores(found, rows)  # names the score
                        summed = found.summed(members)
                    last = products[index] = found
                else:
                    summed = members @ self._scores(found, rows).T
                totals[index] += summed
        return [products[i].of_sums(total) if i in products else total for i, total in enumerate(totals)]

    def _found(self, rows: range, damping: Damping) -> NDArray[np.floating] | Product:
        """What the method makes of a block."""
        given = {k: v for p in self._opened for k, v in p.block(rows, damping).items()}
        found = _called(self._method, self._method.score, Block(**given, prepared=self._prepared))
        product = isinstance(found, Product)
        shape = (len(found.query), found.train.shape[0]) if product else np.shape(found)
        expected = (self._queries, len(rows))
        if shape != expected:
            raise UserError(
                f"method {self._method.name}: scores have shape {shape}, expected {expected}, "
                "queries by training images"
            )
        return found

    def _scores(self, found: NDArray[np.floating] | Product, rows: range) -> NDArray[np.floating]:
        """Scores [Q, len(rows)], finite, and 0 but for candidates."""
        scores = found.scores() if isinstance(found, Product) else found
        require_finite(self._method, scores, rows)
        return scores if self._nearest is None else np.where(self._chosen(rows), scores, 0)

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
        order = np.stack([_highest(row, top) for row in score])
        return Best(np.take_along_axis(index, order, 1), np.take_along_axis(score, order, 1))


def _highest(row: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """Positions of the highest numbers, descending, equal ones in their order. Only these are sorted."""
    least = np.partition(row, -top)[-top] if top < len(row) else -np.inf
    chosen = np.flatnonzero(row >= least)  # with all that are equal to the least
    return chosen[np.argsort(-row[chosen], kind="stable")[:top]]
