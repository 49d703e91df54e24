"""Per-image features of a shard of images: means over timesteps and noise draws of projected gradients.

Features that agree on all but `das.plan.work.OWN` share one pass over the images: each batch of rows goes
forward once, and backward once for each output function. A feature is the same, to the bit, in any company.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from das.diffusion.inputs import Inputs
from das.diffusion.process import (
    Schedule,
    TimestepStrategy,
    TimestepWeights,
    choose_timesteps,
    noise_rows,
    timestep_weights,
)
from das.errors import UserError
from das.gradients.extractor import Feature, Gradient
from das.gradients.hooks import ImageGradients, LayerGradients
from das.gradients.projection import Projection, make_projection, projection_dimension
from das.jobs import artifacts
from das.jobs.memory import require_memory
from das.jobs.progress import progress
from das.jobs.resume import compute_together, image_blocks
from das.plan.work import OWN, relative_work

# Images between two saved states of unfinished work.
IMAGES_PER_BLOCK = 16

GradientNoise = Literal["own", "shared"]


@dataclass(frozen=True)
class FeatureSettings:
    """What makes features. Published: `mean`, normalised, 10 uniform timesteps, k = 4096 for DAS.

    `parameters` is a regular expression that is searched for in the names of the trained parameters; those
    that match are covered. `by_timestep` keeps the timesteps apart; otherwise they are averaged with
    `timestep_weights`, see `das.diffusion.process.timestep_weights`. Every image has a `noise` of its
    "own", or it is "shared": at a timestep and draw the same for all images of every split. `preconditioner`
    has the `name` of one, the `damping` and the `sha256` of its file, see `das.gradients.ekfac`.
    """

    output: str
    normalise: bool
    timesteps: int
    strategy: TimestepStrategy
    draws: int
    seed: int
    projection: str
    dimension: int
    projection_seed: int
    precision: dict[str, str] = field(default_factory=dict)
    parameters: str = ""
    by_timestep: bool = False
    timestep_weights: TimestepWeights = "uniform"
    noise: GradientNoise = "own"
    preconditioner: dict[str, Any] | None = None


@dataclass(frozen=True)
class Coordinates:
    """Other coordinates, in which gradients are projected.

    Attributes:
        layers: by the names of layers, what forms gradients in them; see
            `das.gradients.hooks.ImageGradients`.
        projection: what takes the place of a projection.
    """

    layers: Mapping[str, LayerGradients]
    projection: Callable[[Projection], Projection]


class SplitGradients:
    """Projected gradients of the images of a split.

    Args:
        settings: of one feature, or of several that share a pass.
        split: names the noise that images have of their own, so that no two splits share it.
        rows: how many (image, timestep) pairs to run at once; changes rounding only.
        precision: of matrix products, for which the network is prepared.
        timesteps: in place of those that the settings choose.
        section: where the settings stand, for messages.
        coordinates: of the gradients, which features with a preconditioner need.

    Attributes:
        common: settings that all agree on, but for `das.plan.work.OWN`.
        dimension: k.
        timesteps: T of them.
        shapes: of one image's features, each (k,), or (T, k) where timesteps are kept apart.

    Raises:
        UserError: the gradients do not fit into memory, the settings not to the model or to each other, or a
            preconditioner lacks its coordinates.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        *settings: FeatureSettings,
        split: str,
        rows: int,
        precision: torch.dtype = torch.float32,
        timesteps: Sequence[int] | None = None,
        section: str = "features",
        coordinates: Coordinates | None = None,
    ) -> None:
        self.settings, self.split, self.rows = settings, split, rows
        self.common = _common(settings, section)
        self.device = next(unet.parameters()).device
        common = self.common
        if common.preconditioner and coordinates is None:
            name = common.preconditioner["name"]
            raise UserError(
                f"{section}.preconditioner: found {name!r}, allowed is none without its file, as here"
            )
        self.timesteps = timesteps or choose_timesteps(common.strategy, common.timesteps, len(schedule))
        shapes = covered_shapes(unet, common.parameters, f"{section}.parameters")
        self.dimension = projection_dimension(common.projection, common.dimension, shapes)
        self.shapes = [
            (len(self.timesteps), self.dimension) if each.by_timestep else (self.dimension,)
            for each in settings
        ]
        self._wanted = [
            Feature(
                Gradient(each.output, each.normalise),
                each.by_timestep,
                timestep_weights(each.timestep_weights, schedule, self.timesteps),
            )
            for each in settings
        ]
        name = "projection none" if common.projection == "none" else f"dimension {common.dimension}"
        kept = sum(math.prod(shape) for shape in self.shapes)
        require_memory(
            # The sketch adds into twice its width.
            4 * (2 * rows * self.dimension + 2 * IMAGES_PER_BLOCK * kept),
            f"gradients: {name} with {rows} rows",
            "lower gradients.dimension or jobs.rows_per_batch",
        )
        projection = make_projection(
            common.projection, common.dimension, common.projection_seed, shapes, self.device
        )
        if coordinates is None:
            self._gradients = ImageGradients(unet, schedule, projection, precision)
        else:
            projection = coordinates.projection(projection)
            self._gradients = ImageGradients(unet, schedule, projection, precision, coordinates.layers)

    def features(
        self,
        block: range,
        clean: Tensor,
        condition: Tensor | None,
        keys: range | Sequence[str],
        positions: Sequence[int] = (0,),
    ) -> list[NDArray[np.float32]]:
        """Features of some images, each float32 [n, k], or [n, T, k] by timestep.

        Args:
            block: which consecutive images of the split.
            clean: they themselves, [n, C, H, W], or [n, T, C, H, W] with a version for each timestep.
            condition: their embedded captions, [n, L, D].
            keys: of their noise, see `das.diffusion.inputs.Inputs.noise_keys`.
            positions: of the features that are wanted, among the settings.

        Raises:
            UserError: a gradient is not finite.
        """
        clean, wanted = clean.to(self.device), [self._wanted[position] for position in positions]
        totals = [
            torch.zeros(len(block), *self.shapes[position], device=self.device) for position in positions
        ]
        for draw in range(self.common.draws):
            noise = self._noise(draw, keys, clean)
            with self._naming(block):
                found = self._gradients.features(wanted, clean, self.timesteps, noise, self.rows, condition)
            for total, of_draw in zip(totals, found, strict=True):
                total += of_draw
        return [total.div_(self.common.draws).cpu().numpy() for total in totals]

    def batches(
        self, block: range, clean: Tensor, condition: Tensor | None, draw: int, target: Tensor
    ) -> Iterator[Tensor]:
        """Projected gradients of the rows of some images for one noise draw, float32 [R, k], batch by batch.

        Those of the first feature.

        Args:
            target: of every row in place of its noise, see
                `das.gradients.extractor.FeatureExtractor.batches`; the others as for `features`.

        Raises:
            UserError: a gradient is not finite.
        """
        noise = self._noise(draw, block, clean)
        with self._naming(block):
            for _, _, projected in self._gradients.batches(
                [self._wanted[0].gradient], clean, self.timesteps, noise, self.rows, condition, target
            ):
                yield projected

    def keyed_noise(self, purpose: str, draw: int, keys: range | Sequence[str], clean: Tensor) -> Tensor:
        """Noise for every (image, timestep) pair of some images, see `das.diffusion.process.noise_rows`."""
        return noise_rows(purpose, self.common.seed, self.timesteps, draw, keys, tuple(clean.shape[-3:]))

    def _noise(self, draw: int, keys: range | Sequence[str], clean: Tensor) -> Tensor:
        """The noise of x_t: of every pair, or where it is shared of every timestep."""
        if self.common.noise == "shared":
            # As of a single image, whose name is the same in every split.
            return self.keyed_noise("gradients", draw, ["shared"], clean)
        return self.keyed_noise(f"gradients/{self.split}", draw, keys, clean)

    @contextmanager
    def _naming(self, block: range) -> Iterator[None]:
        """Say which block an error is of: extractors count images from its start."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.split}, images {block.start} and on: {error}") from error


def covered_shapes(network: nn.Module, parameters: str, setting: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the trained parameters in whose names a regular expression is found.

    Args:
        setting: where the expression stands, for messages.

    Raises:
        UserError: the expression is not valid, or none matches.
    """
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}
    try:
        covered = {name: shape for name, shape in shapes.items() if re.search(parameters, name)}
    except re.error as error:
        raise UserError(f"{setting}: found {parameters!r}, not a regular expression ({error})") from error
    if not covered:
        names = list(shapes)
        some = ", ".join(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))
        raise UserError(
            f"{setting}: found {parameters!r}, allowed is what some of the {len(names)} trained parameters "
            f"match, such as {some}"
        )
    return covered


def _common(settings: Sequence[FeatureSettings], section: str) -> FeatureSettings:
    """The first of the settings, with which the others have to agree on all but `OWN`."""
    first = dataclasses.asdict(settings[0])
    for other in settings[1:]:
        for name, value in dataclasses.asdict(other).items():
            if name not in OWN and value != first[name]:
                raise UserError(
                    f"{section}.{name}: found {first[name]!r} and {value!r}, allowed is one value in a pass"
                )
    return settings[0]


def project(
    gradients: SplitGradients, inputs: Inputs, indices: range, *states: Path
) -> Iterator[list[NDArray[np.float32]]]:
    """Features of some images of a split, block after block in the order of the images.

    Args:
        inputs: the whole split.
        indices: which consecutive images of it.
        states: folders for unfinished work, one of each feature.

    Returns:
        Blocks, of each feature float32 [n, k], or [n, T, k] by timestep.

    Raises:
        UserError: a gradient is not finite.
    """
    return compute_together(
        states,
        "features",
        progress(image_blocks(indices.start, indices.stop, IMAGES_PER_BLOCK), f"gradients {gradients.split}"),
        lambda block, missing: gradients.features(
            block, inputs.clean(block), inputs.condition(block), inputs.noise_keys(block), missing
        ),
    )


def write(
    outputs: Sequence[Path],
    dataset: str,
    weights: str,
    precision: torch.dtype,
    gradients: SplitGradients,
    indices: range,
    blocks: Iterable[Sequence[NDArray[np.float32]]],
    **attributes: Any,
) -> None:
    """Write a shard of each feature: `features` float32 [n, k] or [n, T, k], and `timesteps` int64 [T].

    Their attribute `seconds` is what each would have taken alone, by `das.plan.work.relative_work`.

    Args:
        outputs: a file for each feature.
        weights: sha256 of the model.
        indices: the images, whose features `blocks` are.
    """
    with ExitStack() as opened:
        files = [
            opened.enter_context(
                artifacts.write(
                    output,
                    "features",
                    dataset,
                    dataclasses.asdict(settings),
                    weights,
                    precision=str(precision),
                    split=gradients.split,
                    first=indices.start,
                    count=len(indices),
                    **attributes,
                )
            )
            for output, settings in zip(outputs, gradients.settings, strict=True)
        ]
        arrays = []
        for file, shape in zip(files, gradients.shapes, strict=True):
            file["timesteps"] = np.array(gradients.timesteps, np.int64)
            arrays.append(file.create_dataset("features", (len(indices), *shape), "float32"))
        row = 0
        for found in blocks:
            for array, block in zip(arrays, found, strict=True):
                array[row : row + len(block)] = block
            row += len(found[0])
        seconds = artifacts.seconds_since_last() / relative_work(each.output for each in gradients.settings)
        for file in files:
            file.attrs["seconds"] = seconds
