"""What a gradient feature is, and the plain way to compute it: one row at a time, by autograd.

A row is an (image, timestep) pair and its gradient g that of one output function of the row's own noise
prediction with respect to the model's parameters. An image's feature is the mean over its rows of the
projected g, where DAS (arXiv 2410.18639) divides each g by its norm before averaging, because gradients of
different timesteps differ in size by orders of magnitude.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from das.diffusion.process import Schedule, predict_noise
from das.errors import UserError
from das.gradients.output_functions import loss_weights, output_function
from das.gradients.projection import Projection, canonical_order


@dataclass(frozen=True)
class Rows:
    """A batch of rows: noised images [R, C, H, W], timesteps [R] and weights of the loss [R].

    `target` [R, C, H, W] is what the output function sees beside the prediction: the noise, or a probe.
    `condition` holds embedded captions [R, L, D], or None.
    """

    noised: Tensor
    target: Tensor
    timesteps: Tensor
    weights: Tensor
    condition: Tensor | None

    def one(self, row: int) -> Rows:
        """A single row."""
        parts = (None if part is None else part[row : row + 1] for part in vars(self).values())
        return Rows(*parts)  # type: ignore[arg-type]


class Gradient(NamedTuple):
    """Which gradient of a row: of the output function of that name, and whether divided by its exact l2 norm.

    The name is one in `OUTPUT_FUNCTIONS` of `das.gradients.output_functions`, or its `PROBE`.
    """

    output: str
    normalise: bool


@dataclass(frozen=True)
class Feature:
    """What an image's rows are reduced to.

    Attributes:
        by_timestep: keep the timesteps apart.
        weights: of the timesteps in the mean, float32 [T] of sum 1; equal ones without it.
    """

    gradient: Gradient
    by_timestep: bool = False
    weights: Tensor | None = None


class FeatureExtractor(ABC):
    """Per-image features of a model; subclasses differ in how they obtain the gradients of rows.

    Features that agree on rows share the pass through the model.

    Args:
        unet: any module that predicts the noise, see `das.diffusion.process.predict_noise`. The parameters
            covered are those that the projection was made for; they must be among those that require a
            gradient.
        schedule: the forward process of the model.
        projection: on the device of the model.
        precision: of matrix products; gradients are summed and projected in float32.

    Raises:
        UserError: the model does not train the projection's parameters.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        projection: Projection,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.unet = unet
        self.precision = precision
        self.schedule = schedule
        self.projection = projection
        trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
        self.parameters = {name: p for name, p in trained.items() if name in projection.sizes}
        self._left_out = [p for name, p in trained.items() if name not in projection.sizes]
        sizes = {name: p.numel() for name, p in self.parameters.items()}
        if not sizes or sizes != projection.sizes:
            made, found = sum(projection.sizes.values()), sum(sizes.values())
            raise UserError(
                f"projection: made for {len(projection.sizes)} parameters with {made} elements, "
                f"of which the model trains {len(sizes)} with {found}"
            )

    def features(
        self,
        wanted: Sequence[Feature],
        images: Tensor,
        timesteps: Sequence[int],
        noise: Tensor,
        rows_per_batch: int,
        condition: Tensor | None = None,
    ) -> list[Tensor]:
        """Features of images: means over the timesteps of the gradients of `batches`, arguments as there.

        Returns:
            Of each that is wanted float32 [n, k], or [n, T, k] by timestep, on the device of the projection.
        """
        device, k, per_image = self.projection.device, self.projection.dimension, len(timesteps)
        sums = [
            torch.zeros(len(images) * (per_image if feature.by_timestep else 1), k, device=device)
            for feature in wanted
        ]
        equal = torch.ones(per_image) / per_image
        weights = [(equal if f.weights is None else f.weights).to(device) for f in wanted]
        gradients = dict.fromkeys(feature.gradient for feature in wanted)
        for gradient, index, projected in self.batches(
            gradients, images, timesteps, noise, rows_per_batch, condition
        ):
            image = index // per_image
            first, last = int(image[0]), int(image[-1])
            own = image == torch.arange(first, last + 1, device=device)[:, None]
            for feature, total, weight in zip(wanted, sums, weights, strict=True):
                if feature.gradient != gradient:
                    continue
                if feature.by_timestep:
                    total[index] = projected
                else:
                    # A product, because index_add_ has no fixed order of summation on a GPU.
                    total[first : last + 1] += (own * weight[index % per_image]) @ projected
        return [
            total.unflatten(0, (len(images), per_image)) if feature.by_timestep else total
            for feature, total in zip(wanted, sums, strict=True)
        ]

    def batches(
        self,
        gradients: Collection[Gradient],
        images: Tensor,
        timesteps: Sequence[int],
        noise: Tensor,
        rows_per_batch: int,
        condition: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Iterator[tuple[Gradient, Tensor, Tensor]]:
        """Projected gradients of all rows, batch after batch, and of each batch one gradient after another.

        Args:
            gradients: which; each once.
            images: [n, C, H, W], pixels in [-1, 1] or latents; [n, T, C, H, W] where an image has a version
                of its own for each timestep.
            timesteps: T of them.
            noise: [n * T, C, H, W], image-major: that of image 0 at every timestep first; [T, C, H, W] where
                all images share it.
            rows_per_batch: how many rows go through the model at once; it moves results by rounding only.
            condition: embedded captions of the images [n, L, D], for a conditional model.
            target: what the output function sees beside the prediction, [n * T, C, H, W]; the noise without
                it.

        Yields:
            Which gradient; the numbers of the rows, image * T + position of the timestep, int64 [R]; and
            their projected gradients, float32 [R, k], on the device of the projection.

        Raises:
            UserError: an output function is unknown, a gradient or a norm is not finite, or a gradient that
                has to be normalised is zero.
        """
        count, per_image = len(images), len(timesteps)
        if noise.shape[0] not in (count * per_image, per_image) or noise.shape[1:] != images.shape[-3:]:
            raise ValueError(f"noise is {tuple(noise.shape)} for {count} images at {per_image} timesteps")
        device = self.projection.device
        steps = torch.as_tensor(list(timesteps), device=device)
        images = images.to(device)
        condition = None if condition is None else condition.to(device)
        with self._prepared():
            for start in range(0, count * per_image, rows_per_batch):
                index = torch.arange(start, min(start + rows_per_batch, count * per_image), device=device)
                image, timestep = index // per_image, steps[index % per_image]
                clean = images[image] if images.dim() == 4 else images.flatten(0, 1)[index]
                eps = noise[index.cpu() % len(noise)].to(device)
                rows = Rows(
                    self.schedule.add_noise(clean, eps, timestep),
                    eps if target is None else target[index.cpu()].to(device),
                    timestep,
                    loss_weights(self.schedule, timestep),
                    None if condition is None else condition[image],
                )
                for gradient, projected in self._checked(rows, gradients, index, steps):
                    yield gradient, index, projected

    def _predict(self, rows: Rows) -> Tensor:
        """The model's prediction for rows, [R, C, H, W]."""
        return predict_noise(self.unet, rows.noised, rows.timesteps, rows.condition, self.precision)

    def _checked(
        self, rows: Rows, gradients: Collection[Gradient], index: Tensor, steps: Tensor
    ) -> Iterator[tuple[Gradient, Tensor]]:
        """Projected gradients of rows, normalised if asked for, refused at the first bad row."""
        outputs = list(dict.fromkeys(gradient.output for gradient in gradients))
        normalised = {gradient.output for gradient in gradients if gradient.normalise}
        for output, projected, norms in self._project(rows, outputs, normalised):
            bad = ~(norms.isfinite() & projected.isfinite().all(1))
            problem = "is not finite"
            if output in normalised and not bad.any():
                bad = norms == 0
                problem = "is zero and cannot be normalised"
            if bad.any():
                row = int(index[bad.nonzero()[0, 0]])
                image, step = divmod(row, len(steps))
                raise UserError(f"gradient of image {image} at timestep {int(steps[step])} {problem}")
            for gradient in gradients:
                if gradient.output == output:
                    yield gradient, projected / norms.float()[:, None] if gradient.normalise else projected

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """Evaluation mode, the covered parameters alone trained, for the duration; as it was afterwards."""
        training = [module for module in self.unet.modules() if module.training]
        self.unet.eval()
        for parameter in self._left_out:
            parameter.requires_grad_(False)
        try:
            with torch.enable_grad():
                yield
        finally:
            for module in training:
                module.training = True
            for parameter in self._left_out:
                parameter.requires_grad_(True)

    @abstractmethod
    def _project(
        self, rows: Rows, outputs: Sequence[str], normalised: Collection[str]
    ) -> Iterable[tuple[str, Tensor, Tensor]]:
        """Of each output function its name, projected gradients float32 [R, k] and norms float64 [R].

        Norms are needed of those that are `normalised`, and may be zeros of others.
        """


class LoopGradients(FeatureExtractor):
    """Features by one backward pass per row: slow, and right for any kind of module."""

    def _project(
        self, rows: Rows, outputs: Sequence[str], normalised: Collection[str]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        for output in outputs:
            function = output_function(output)
            accumulator = self.projection.accumulator(len(rows.noised))
            squared = torch.zeros(len(rows.noised), dtype=torch.float64, device=accumulator.device)
            for row in range(len(rows.noised)):
                one = rows.one(row)
                gradients = torch.autograd.grad(
                    function(self._predict(one), one.target, one.weights).sum(),
                    list(self.parameters.values()),
                    allow_unused=True,
                )
                for name, gradient in zip(self.parameters, gradients, strict=True):
                    if gradient is not None:
                        flat = canonical_order(gradient)
                        squared[row] += flat.double().square().sum()
                        self.projection.add(accumulator[row : row + 1], name, flat[None].float())
            yield output, self.projection.finish(accumulator), squared.sqrt()


def loop_features(
    unet: nn.Module,
    schedule: Schedule,
    output: str,
    normalise: bool,
    projection: Projection,
    images: Tensor,
    timesteps: Sequence[int],
    noise: Tensor,
) -> Tensor:
    """The features of `das.gradients.hooks.ImageGradients`, by the plain loop; arguments as there."""
    wanted = [Feature(Gradient(output, normalise))]
    loop = LoopGradients(unet, schedule, projection)
    return loop.features(wanted, images, timesteps, noise, rows_per_batch=1)[0]
