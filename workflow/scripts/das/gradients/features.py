"""Per-image features of a shard of images: means over timesteps and noise draws of projected gradients."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from das.gradients.hooks import ImageGradients
from das.gradients.projection import make_projection, projection_dimension
from das.jobs import artifacts
from das.jobs.memory import require_memory
from das.jobs.progress import progress
from das.jobs.resume import compute_blocks, image_blocks

# Images between two saved states of unfinished work.
IMAGES_PER_BLOCK = 16


@dataclass(frozen=True)
class FeatureSettings:
    """What makes features. Published: `mean`, normalised, 10 uniform timesteps, k = 4096 for DAS.

    `parameters` is a regular expression that is searched for in the names of the trained parameters; those
    that match are covered. `by_timestep` keeps the timesteps apart; otherwise they are averaged with
    `timestep_weights`, see `das.diffusion.process.timestep_weights`.
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


class SplitGradients:
    """Projected gradients of the images of a split.

    Args:
        split: names the noise, so that no two splits share it.
        rows: how many (image, timestep) pairs to run at once; changes rounding only.
        precision: of matrix products, for which the network is prepared.
        timesteps: in place of those that the settings choose.
        section: where the settings stand, for messages.

    Attributes:
        dimension: k.
        timesteps: T of them.
        shape: of one image's features, (k,), or (T, k) where timesteps are kept apart.

    Raises:
        UserError: the gradients do not fit into memory, or the settings not to the model.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        settings: FeatureSettings,
        *,
        split: str,
        rows: int,
        precision: torch.dtype = torch.float32,
        timesteps: Sequence[int] | None = None,
        section: str = "features",
    ) -> None:
        self.settings, self.split, self.rows = settings, split, rows
        self.device = next(unet.parameters()).device
        self.timesteps = timesteps or choose_timesteps(settings.strategy, settings.timesteps, len(schedule))
        self._weights = timestep_weights(settings.timestep_weights, schedule, self.timesteps)
        shapes = covered_shapes(unet, settings.parameters, f"{section}.parameters")
        self.dimension = projection_dimension(settings.projection, settings.dimension, shapes)
        kept = len(self.timesteps) if settings.by_timestep else 1
        self.shape = (kept, self.dimension) if settings.by_timestep else (self.dimension,)
        name = "projection none" if settings.projection == "none" else f"dimension {settings.dimension}"
        require_memory(
            # The sketch adds into twice its width.
            4 * self.dimension * (2 * rows + 2 * IMAGES_PER_BLOCK * kept),
            f"gradients: {name} with {rows} rows",
            "lower gradients.dimension or jobs.rows_per_batch",
        )
        projection = make_projection(
            settings.projection, settings.dimension, settings.projection_seed, shapes, self.device
        )
        self._gradients = ImageGradients(
            unet, schedule, settings.output, settings.normalise, projection, precision
        )

    def features(
        self, block: range, clean: Tensor, condition: Tensor | None, keys: range | Sequence[str]
    ) -> NDArray[np.float32]:
        """Features of some images, float32 [n, k], or [n, T, k] by timestep.

        Args:
            block: which consecutive images of the split.
            clean: they themselves, [n, C, H, W], or [n, T, C, H, W] with a version for each timestep.
            condition: their embedded captions, [n, L, D].
            keys: of their noise, see `das.diffusion.inputs.Inputs.noise_keys`.

        Raises:
            UserError: a gradient is not finite.
        """
        clean, by_timestep = clean.to(self.device), self.settings.by_timestep
        total = torch.zeros(len(block), *self.shape, device=self.device)
        for draw in range(self.settings.draws):
            noise = self.noise(f"gradients/{self.split}", draw, keys, clean)
            with self._naming(block):
                total += self._gradients.features(
                    clean, self.timesteps, noise, self.rows, condition, by_timestep, self._weights
                )
        return total.div_(self.settings.draws).cpu().numpy()

    def batches(
        self, block: range, clean: Tensor, condition: Tensor | None, draw: int, target: Tensor
    ) -> Iterator[Tensor]:
        """Projected gradients of the rows of some images for one noise draw, float32 [R, k], batch by batch.

        Args:
            target: of every row in place of its noise, see
                `das.gradients.extractor.FeatureExtractor.batches`; the others as for `features`.

        Raises:
            UserError: a gradient is not finite.
        """
        noise = self.noise(f"gradients/{self.split}", draw, block, clean)
        with self._naming(block):
            for _, projected in self._gradients.batches(
                clean, self.timesteps, noise, self.rows, condition, target
            ):
                yield projected

    def noise(self, purpose: str, draw: int, keys: range | Sequence[str], clean: Tensor) -> Tensor:
        """Noise for every (image, timestep) pair of some images, see `das.diffusion.process.noise_rows`."""
        return noise_rows(purpose, self.settings.seed, self.timesteps, draw, keys, tuple(clean.shape[-3:]))

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


def project(
    gradients: SplitGradients, inputs: Inputs, indices: range, state: Path
) -> Iterator[NDArray[np.float32]]:
    """Features of some images of a split, block after block in the order of the images.

    Args:
        inputs: the whole split.
        indices: which consecutive images of it.
        state: folder for unfinished work.

    Returns:
        Blocks of float32 [n, k], or [n, T, k] by timestep.

    Raises:
        UserError: a gradient is not finite.
    """
    return compute_blocks(
        state,
        "features",
        progress(image_blocks(indices.start, indices.stop, IMAGES_PER_BLOCK), f"gradients {gradients.split}"),
        lambda block: gradients.features(
            block, inputs.clean(block), inputs.condition(block), inputs.noise_keys(block)
        ),
    )


def write(
    output: Path,
    dataset: str,
    weights: str,
    precision: torch.dtype,
    gradients: SplitGradients,
    indices: range,
    blocks: Iterable[NDArray[np.float32]],
    **attributes: Any,
) -> None:
    """Write a shard of features: `features` float32 [n, k] or [n, T, k], and `timesteps` int64 [T].

    Args:
        weights: sha256 of the model.
        indices: the images, whose features `blocks` are.
    """
    with artifacts.write(
        output,
        "features",
        dataset,
        dataclasses.asdict(gradients.settings),
        weights,
        precision=str(precision),
        split=gradients.split,
        first=indices.start,
        count=len(indices),
        **attributes,
    ) as file:
        file["timesteps"] = np.array(gradients.timesteps, np.int64)
        array = file.create_dataset("features", (len(indices), *gradients.shape), "float32")
        row = 0
        for block in blocks:
            array[row : row + len(block)] = block
            row += len(block)
