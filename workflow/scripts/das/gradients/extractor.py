"""What a gradient feature is, and the plain way to compute it: one row at a time, by autograd.

A row is an (image, timestep) pair and its gradient g that of one output function of the row's own noise
prediction with respect to the model's parameters. An image's feature is the mean over its rows of the
projected g, where DAS (arXiv 2410.18639) divides each g by its norm before averaging, because gradients of
different timesteps differ in size by orders of magnitude.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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


class FeatureExtractor(ABC):
    """Per-image features of a model; subclasses differ in how they obtain the gradients of rows.

    Args:
        unet: any module that predicts the noise, see `das.diffusion.process.predict_noise`. The parameters
            covered are those that the projection was made for; they must be among those that require a
            gradient.
        schedule: the forward process of the model.
        output: a name in `OUTPUT_FUNCTIONS` of `das.gradients.output_functions`, or its `PROBE`.
        normalise: divide each row's gradient by its exact l2 norm before averaging over timesteps.
        projection: on the device of the model.
        precision: of matrix products; gradients are summed and projected in float32.

    Raises:
        UserError: the output function is unknown, or the model does not train the projection's parameters.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        output: str,
        normalise: bool,
        projection: Projection,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.unet = unet
        self.precision = precision
        self.schedule = schedule
        self.function = output_function(output)
        self.normalise = normalise
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
        images: Tensor,
        timesteps: Sequence[int],
        noise: Tensor,
        rows_per_batch: int,
        condition: Tensor | None = None,
        by_timestep: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Features of images: the mean over the timesteps of the gradients of `batches`, arguments as there.

        Args:
            by_timestep: keep the timesteps apart.
            weights: of the timesteps in the mean, float32 [T] of sum 1; equal ones without it.

        Returns:
            float32 [n, k], or [n, T, k] by timestep, on the device of the projection.
        """
        device, per_image = self.projection.device, len(timesteps)
        batches = self.batches(images, timesteps, noise, rows_per_batch, condition)
        if by_timestep:
            apart = torch.zeros(len(images) * per_image, self.projection.dimension, device=device)
            for index, projected in batches:
                apart[index] = projected
            return apart.unflatten(0, (len(images), per_image))
        features = torch.zeros(len(images), self.projection.dimension, device=device)
        weights = torch.ones(per_image) / per_image if weights is None else weights
        weights = weights.to(device)
        for index, projected in batches:
            # A product, because index_add_ has no fixed order of summation on a GPU.
            image = index // per_image
            first, last = int(image[0]), int(image[-1])
            own = image == torch.arange(first, last + 1, device=device)[:, None]
            features[first : last + 1] += (own * weights[index % per_image]) @ projected
        return features

    def batches(
        self,
        images: Tensor,
        timesteps: Sequence[int],
        noise: Tensor,
        rows_per_batch: int,
        condition: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Projected gradients of all rows, batch after batch.

        Args:
            images: [n, C, H, W], pixels in [-1, 1] or latents; [n, T, C, H, W] where an image has a version
                of its own for each timestep.
            timesteps: T of them.
            noise: [n * T, C, H, W], image-major: that of image 0 at every timestep first.
            rows_per_batch: how many rows go through the model at once; it moves results by rounding only.
            condition: embedded captions of the images [n, L, D], for a conditional model.
            target: what the output function sees beside the prediction, of the shape of the noise; the
                noise itself without it.

        Yields:
            The numbers of the rows, image * T + position of the timestep, int64 [R], and their projected
            gradients, float32 [R, k], on the device of the projection.

        Raises:
            UserError: a gradient or a norm is not finite, or a gradient that has to be normalised is zero.
        """
        count, per_image = len(images), len(timesteps)
        if noise.shape != (count * per_image, *images.shape[-3:]):
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
                eps = noise[index.cpu()].to(device)
                rows = Rows(
                    self.schedule.add_noise(clean, eps, timestep),
                    eps if target is None else target[index.cpu()].to(device),
                    timestep,
                    loss_weights(self.schedule, timestep),
                    None if condition is None else condition[image],
                )
                yield index, self._checked(rows, index, steps)

    def _output(self, rows: Rows) -> Tensor:
        """The output function of each row's own prediction, [R]."""
        prediction = predict_noise(self.unet, rows.noised, rows.timesteps, rows.condition, self.precision)
        return self.function(prediction, rows.target, rows.weights)

    def _checked(self, rows: Rows, index: Tensor, steps: Tensor) -> Tensor:
        """Projected gradients of rows, normalised if asked for, refused at the first bad row."""
        projected, norms = self._project(rows)
        bad = ~(norms.isfinite() & projected.isfinite().all(1))
        problem = "is not finite"
        if self.normalise and not bad.any():
            bad = norms == 0
            problem = "is zero and cannot be normalised"
        if bad.any():
            row = int(index[bad.nonzero()[0, 0]])
            image, step = divmod(row, len(steps))
            raise UserError(f"gradient of image {image} at timestep {int(steps[step])} {problem}")
        return projected / norms.float()[:, None] if self.normalise else projected

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
    def _project(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Projected gradients float32 [R, k], and norms float64 [R] (zeros if they are not needed)."""


class LoopGradients(FeatureExtractor):
    """Features by one backward pass per row: slow, and right for any kind of module."""

    def _project(self, rows: Rows) -> tuple[Tensor, Tensor]:
        accumulator = self.projection.accumulator(len(rows.noised))
        squared = torch.zeros(len(rows.noised), dtype=torch.float64, device=accumulator.device)
        for row in range(len(rows.noised)):
            gradients = torch.autograd.grad(
                self._output(rows.one(row)).sum(),
                list(self.parameters.values()),
                allow_unused=True,
            )
            for name, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is not None:
                    flat = canonical_order(gradient)
                    squared[row] += flat.double().square().sum()
                    self.projection.add(accumulator[row : row + 1], name, flat[None].float())
        return self.projection.finish(accumulator), squared.sqrt()


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
    loop = LoopGradients(unet, schedule, output, normalise, projection)
    return loop.features(images, timesteps, noise, rows_per_batch=1)
