"""The inputs of `das.methods.inputs`, opened: each checks its files and fills in its fields of blocks.

`das.scoring.scorer` opens them, and `das.scoring.score` uses them together.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from das.data.noiseless import LATENTS, PIXELS, noiseless_shape, read_noiseless
from das.diffusion.losses import read_losses
from das.errors import UserError
from das.jobs import artifacts
from das.jobs.blocks import blocks
from das.methods import Product
from das.plan.methods import KERNEL_AGREES
from das.scoring.build_kernel import build_kernel
from das.scoring.feature_shards import Shards
from das.scoring.gram import read_gram
from das.scoring.kernel import Damping, Floats, Kernel

Opened = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Scene:
    """How a method's inputs are opened, besides the files.

    Attributes:
        wanted: the inputs of the method.
        split: which the queries are, val or gen.
        dimension: fold features to so many numbers, None for all of them.
        timestep: position and number of the timestep of which features and errors are read; None for all.
        one_damping: whether there is a single damping, and none to choose.
    """

    wanted: Sequence[str]
    split: str = "val"
    dimension: int | None = None
    timestep: tuple[int, int] | None = None
    one_damping: bool = False


class OpenInput(ABC):
    """An input of `das.methods.inputs` with its files opened and checked. A subclass takes files and scene.

    Attributes:
        artifact: stands for its files when data sets and weights are compared.
        n, queries: number of training and of query images; None where it does not tell.
        width: numbers per training image, which decides the size of blocks.
        before_blocks: whether a method's `prepare` is given it, for all training images.
        record: what it adds to the settings that scores keep.
    """

    artifact: artifacts.Artifact
    n: int | None = None
    queries: int | None = None
    width: int = 1
    before_blocks: bool = False
    record: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:
        """Its fields of `das.methods.Block` for consecutive training images, at a damping if there is one."""

    def loaded(self) -> OpenInput:
        """Itself, ready for blocks, with what is too large to hold for several models at once."""
        return self


def _file(files: Opened, name: str, what: str) -> Path:
    """The one file of a name.

    Raises:
        UserError: there is none.
    """
    if name not in files:
        raise UserError(f"{what}: the method needs them, no file was given")
    [path] = files[name]
    return path


class DampedInput(OpenInput):
    """One whose fields depend on the damping of its kernel.

    Args:
        query: features of the queries, [Q, k].
    """

    def __init__(self, kernel: Kernel, query: Floats) -> None:
        self.kernel = kernel
        self._coordinates = kernel.query(query)
        self._solved: dict[float, Floats] = {}
        self._coordinates_of = _latest(kernel.train)

    def product(self, rows: range, damping: float) -> Product:
        """g_qᵀ K g_i, [Q, len(rows)], of consecutive training images."""
        solve, single = partial(self._solve, damping), self.kernel.single
        return Product(self._coordinates, self._coordinates_of(rows), kernel=solve, single=single)

    def _solve(self, damping: float, vectors: Floats) -> Floats:
        """Vectors of coordinates times K; queries are solved for each λ once."""
        if vectors is not self._coordinates:
            return self.kernel.solve(vectors, damping)
        if damping not in self._solved:
            self._solved[damping] = self.kernel.solve(vectors, damping)
        return self._solved[damping]


class FeatureInput(OpenInput):
    """The input "features": the vectors themselves."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        chosen = {"timestep": scene.timestep and scene.timestep[0], "dimension": scene.dimension}
        self.train = Shards(files.get("train_features", ()), **chosen)
        self.query = Shards(files.get("query_features", ()), **chosen)
        self.train.require_same(self.query)
        self.artifact, self.n, self.width = self.train.provenance, self.train.n, self.train.k
        self.queries: int = self.query.n
        self.record = {"features": self.train.settings}
        self._read_query = _latest(self.query.read)

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        queries = self._read_query(range(self.queries))
        return {"query_features": queries, "train_features": self.train.read(rows)}


def timesteps_of(files: Opened) -> list[tuple[int, int]]:
    """Position and number of each timestep that features keep apart, see `Scene`."""
    return list(enumerate(Shards(files["train_features"], timestep=0).timesteps))


class KernelInput(FeatureInput):
    """The inputs "kernel", "leverage" and "norms", before the kernel is built."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        super().__init__(files, scene)
        self._scene = scene
        self._given, self._gram = (files[name][0] if name in files else None for name in ("kernels", "grams"))

    def loaded(self) -> LoadedKernel:
        """With its kernel: the features' own, or the one that was given."""
        return LoadedKernel(self.train, self.query, self._given, self._gram, self._scene)


class LoadedKernel(DampedInput):
    """The same with its kernel.

    Args:
        given: artifact "kernel" that takes the place of the features' own kernel, or None.
        gram: artifact "gram" of the features, None to sum it here.
    """

    def __init__(
        self, train: Shards, query: Shards, given: Path | None, gram: Path | None, scene: Scene
    ) -> None:
        self.artifact, self.n, self.queries, self.width = train.provenance, train.n, query.n, train.k
        self._wanted, self.own = scene.wanted, given is None
        matrix = None
        if given is not None:
            matrix = read_kernel(given, train)
        elif gram is not None:
            matrix = read_gram(gram, train)
        # With errors, the own kernel may have to choose a damping, by its spectrum.
        costly = bool({"leverage", "norms", "errors"} & set(scene.wanted))
        spectral = self.own and costly and not scene.one_damping
        super().__init__(build_kernel(train, matrix, spectral), query.read(range(query.n)))

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        if damping is None:
            return {}
        given: dict[str, Any] = {}
        if "kernel" in self._wanted:
            product = self.product(rows, damping.absolute)
            given |= {"product": product, "inner": product.scores}
        train = self._coordinates_of(rows)
        if "leverage" in self._wanted:
            given["one_minus_leverage"] = self.kernel.one_minus_leverage(train, damping.absolute)
        if "norms" in self._wanted:
            given["kernel_norm"], given["feature_norm"] = self.kernel.norms(train, damping.absolute)
        return given


class ErrorInput(OpenInput):
    """The input "errors": at all timesteps at which they were measured, or at one of them."""

    before_blocks = True

    def __init__(self, files: Opened, scene: Scene) -> None:
        path = _file(files, "train_errors", "training errors")
        with artifacts.read(path, "errors") as artifact:
            self.artifact, shape = artifact, artifact.shape("error")
            self.n = shape[0]
            if scene.timestep is None:
                errors = artifact.read("error", (self.n, None), np.float32)
            else:
                measured = artifact.read("timesteps", shape[1:], np.int64)
                timestep = scene.timestep[1]
                if timestep not in measured:
                    raise UserError(
                        f"{path}: errors were measured at {len(measured)} timesteps without {timestep}, at "
                        "which there are gradients; set errors.timesteps to a multiple of gradients.timesteps"
                    )
                column = int(np.flatnonzero(measured == timestep)[0])
                errors = artifact.read("error", (self.n, None), np.float32, column=column)[:, None]
        self._errors = errors.astype(np.float64)
        self.residual: Floats = np.sqrt(self._errors).mean(1)

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        return {"errors": self._errors[rows.start : rows.stop]}


class ImageInput(OpenInput):
    """The input "images": pixels, or latents, in float32, which holds them."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        train = _file(files, "train_images", "images")
        query = _file(files, "query_images", "query images")
        with artifacts.read(train, PIXELS, LATENTS) as artifact:
            self.artifact = artifact
            self.n, *shape = noiseless_shape(artifact)
        with artifacts.read(query, PIXELS, LATENTS) as artifact:
            artifacts.require_same("dataset", self.artifact, artifact)
            self.queries, *query_shape = noiseless_shape(artifact)
            if query_shape != shape:
                raise UserError(
                    f"{query}: images have shape {query_shape}, but those of {train} have {shape}"
                )
            self._query = read_noiseless(artifact, range(self.queries))
        self.width = math.prod(shape)
        self._path = train

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        with artifacts.read(self._path, PIXELS, LATENTS) as artifact:
            return {"query_pixels": self._query, "train_pixels": read_noiseless(artifact, rows)}


class ImageKernelInput(ImageInput, DampedInput):
    """The input "image_kernel": of pixels, or latents, as if they were features."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        ImageInput.__init__(self, files, scene)
        images = _CentredImages(self._path)
        DampedInput.__init__(self, build_kernel(images), self._query - images.mean)

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        if damping is None:
            return {}
        # Relative to this kernel: beside that of gradients its scale is another one.
        absolute = self.kernel.damping(damping.relative).absolute
        return {"image_inner": self.product(rows, absolute).scores()}


class _CentredImages:
    """Images [n, k] less their mean [k], read by blocks of rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with artifacts.read(path, PIXELS, LATENTS) as artifact:
            self.n, *shape = noiseless_shape(artifact)
        self.k, self.mean = math.prod(shape), np.zeros(1)
        total = sum(self.read(rows).sum(0) for rows in blocks(self.n, self.k))
        self.mean = np.asarray(total) / self.n

    def read(self, rows: range) -> Floats:
        with artifacts.read(self._path, PIXELS, LATENTS) as artifact:
            return read_noiseless(artifact, rows).astype(np.float64) - self.mean


class EmbeddingInput(OpenInput):
    """The input "embeddings": of images, by CLIP."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        train = _file(files, "train_embeddings", "embeddings")
        query = _file(files, "query_embeddings", "query embeddings")
        with artifacts.read(train, "embeddings") as artifact:
            self.artifact = artifact
            self.n, self.width = artifact.shape("embeddings")
            self._train = artifact.read("embeddings", (None, None), np.float32).astype(np.float64)
        with artifacts.read(query, "embeddings") as artifact:
            artifacts.require_same("dataset", self.artifact, artifact)
            artifacts.require_same("weights", self.artifact, artifact)
            self._query = artifact.read("embeddings", (None, self.width), np.float32).astype(np.float64)
        self.queries = len(self._query)

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        return {"query_embeddings": self._query, "train_embeddings": self._train[rows.start : rows.stop]}


class PatchInput(OpenInput):
    """The input "patches": weights of the training images by how their patches explain a query."""

    def __init__(self, files: Opened, scene: Scene) -> None:
        self._path = _file(files, "patch_weights", "weights of patches")
        with artifacts.read(self._path, "patches") as artifact:
            self.artifact = artifact
            self.n, self.queries = artifact.shape("weights")
        self.width = self.queries

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        with artifacts.read(self._path, "patches") as artifact:
            weights = artifact.read(
                "weights", (self.n, self.queries), np.float32, slice(rows.start, rows.stop)
            )
        return {"patch_weights": weights.T.astype(np.float64)}


class RetrainingInput(OpenInput):
    """The input "retraining": which models saw which images, and what they lose on a split's queries."""

    before_blocks = True

    def __init__(self, files: Opened, scene: Scene) -> None:
        subsets = _file(files, "retrained_subsets", "subsets of retrained models")
        with artifacts.read(subsets, "subsets") as artifact:
            self.artifact = artifact
            self._membership = artifact.read("membership", (None, None), np.bool_)
        models, self.n = self._membership.shape
        self._losses = read_losses(
            files.get("retrained_losses", ()), scene.split, self.artifact, models, None
        ).mean((0, 1))
        self.queries = self._losses.shape[1]

    def block(self, rows: range, damping: Damping | None) -> dict[str, Any]:  # noqa: D102 -- inherited
        members = self._membership[:, rows.start : rows.stop].astype(np.float64)
        return {"retrained_on": members, "retrained_losses": self._losses}


def read_kernel(path: Path, features: Shards) -> NDArray[np.float64]:
    """The matrix in an artifact "kernel", which must be of the model and the projection of the features.

    Raises:
        UserError: it is of others; names both files and what differs.
    """
    with artifacts.read(path, "kernel") as artifact:
        for name in ("dataset", "weights"):
            artifacts.require_same(name, features.provenance, artifact)
        for name in KERNEL_AGREES:
            found, expected = artifact.settings.get(name), features.settings.get(name)
            if found != expected:
                raise UserError(
                    f"{path}: {name} is {found!r}, but the features {features.provenance.path} have "
                    f"{expected!r}; they must agree"
                )
        return artifact.read("kernel", (features.k, features.k), np.float64)


def _latest(read: Callable[[range], Floats]) -> Callable[[range], Floats]:
    """The function, which keeps its last result: every damping asks for the same rows."""
    kept: dict[range, Floats] = {}

    def cached(rows: range) -> Floats:
        if rows not in kept:
            kept.clear()
            kept[rows] = read(rows)
        return kept[rows]

    return cached
