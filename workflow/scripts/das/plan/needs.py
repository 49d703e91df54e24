"""What one job asks a scheduler for: main memory, run time and disk, by formulas, without torch.

    runtime   rows * FLOPs of a row * passes / speed; the speeds are assumptions, execution.gpu_tflops and
              execution.cpu_tflops
    memory    a process, the weights and what goes with them and, without a GPU, the maps of a batch
    disk      what the job leaves, and its unfinished work

`results/{dataset}/cost.csv` has these more exactly (`das.cost.estimate`), but takes torch and seconds for
it. A scheduler kills a job that asked for too little, hence the margins, which
tests/benchmarks/check_needs.py holds against real runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from das.pipelines.families import FAMILIES
from das.plan.unet_size import unet_size
from das.plan.work import Work, relative_work

# Bytes of a process with torch and diffusers, and of Snakemake's two beside it in a job of a cluster.
PROCESS = 900e6
MEMORY_MARGIN, TIME_MARGIN = 1.3, 2.0
# Seconds until a process works: on a cluster's file system, imports alone can take a minute.
START = 300
# FLOPs of a pass in those of a forward pass, with the overhead that was measured (`das.cost.estimate`), and
# how much of the numbers in all maps it holds at once (the most that `das.cost.counting` finds, rounded up).
FORWARD, TRAINING, GRADIENTS = (1.0, 0.4), (3.6, 1.9), (3.9, 1.8)
# Images that generation and the autoencoder work on at once, and whose gradients are summed up.
GENERATED, ENCODED, SUMMED = 64, 8, 16
# Bytes that comparing patches holds at once: blocks of `das.jobs.blocks`, of distances, logs and patches.
COMPARED = 4 * 2**27
# Stable Diffusion 1 beside its UNet, in float32; its autoencoder's FLOPs for a picture, in those of its UNet;
# trained parameters of an adapter, for each rank; bytes of a picture.
SD_BYTES, SD_ENCODER, SD_ADAPTER, SD_PICTURE = 4 * 207e6, 10, 0.2e6, 3 * 512**2


class Needs(NamedTuple):
    """What one job needs: memory and disk in MB, run time in minutes."""

    mem_mb: int
    runtime: int
    disk_mb: int


class JobNeeds:
    """The needs of a data set's jobs.

    Args:
        settings: of the data set, checked and with defaults.
        execution: that section of config/config.yaml.
    """

    def __init__(self, settings: Mapping[str, Any], execution: Mapping[str, Any]) -> None:
        self._settings, self._execution = settings, execution
        self._gpu = settings["jobs"]["gpus"] > 0
        self._batch = int(settings["jobs"]["rows_per_batch"])
        model = settings["model"]
        self._size = unet_size(model["unet"])
        self._latent = FAMILIES[model["family"]].latent
        self._trained = SD_ADAPTER * model["rank"] if self._latent else self._size.parameters
        self._work = Work(settings)

    def train(self, images: int, models: int = 1, saved: int = 1) -> Needs:
        """Training that many models, each on so many images, and saving so many states of each."""
        train = self._settings["train"]
        processes = train["processes"]
        return self._model_job(
            TRAINING,
            models * self._work.training(images) / processes,
            self._work.batch(images),
            train["precision"],
            # Of every process gradients, two moments and a copy to save; of all but one, everything.
            memory=16 * self._trained * processes + (processes - 1) * PROCESS,
            disk=4 * self._trained * (models * saved + 3),
        )

    def generate(self, images: int) -> Needs:
        """Generating so many of the query images."""
        rows = images * self._work.sampling
        return self._model_job(FORWARD, rows, GENERATED, {}, disk=2 * self._images("gen"))

    def errors(self, images: int) -> Needs:
        """Measuring the errors of so many images."""
        rows, precision = images * self._work.errors, self._settings["errors"]["precision"]
        return self._model_job(FORWARD, rows, self._batch, precision, disk=8 * rows)

    def evaluate(self, models: int = 1) -> Needs:
        """Measuring the losses of so many retrained models."""
        rows, precision = models * self._work.queries * self._work.losses, self._settings["lds"]["precision"]
        return self._model_job(FORWARD, rows, self._batch, precision, disk=8 * rows)

    def pilot(self) -> Needs:
        """Measuring where a few retrained models differ."""
        rows, precision = self._work.pilot, self._settings["lds"]["precision"]
        return self._model_job(FORWARD, rows, self._batch, precision, disk=8 * rows)

    def hours_of_losses(self, rows: int) -> float:
        """Of measuring losses by so many rows, as assumed and without a margin."""
        return rows * self._size.flops / self._speed(self._settings["lds"]["precision"]["cuda"]) / 3600

    def regenerate(self, models: int = 1) -> Needs:
        """Generating a query anew by each of so many models, and measuring its loss by new and old."""
        rows, precision = models * self._work.regeneration, self._settings["lds"]["precision"]
        # Two models at once.
        memory = 4 * self._size.parameters
        return self._model_job(
            FORWARD, rows, self._batch, precision, memory=memory, disk=models * self._size.input
        )

    def gradients(self, images: int, *features: Mapping[str, Any]) -> Needs:
        """Projecting the gradients of so many images in one pass, with the settings of its features."""
        first = features[0]
        rows = images * self._work.gradients(first) * relative_work(each["output"] for each in features)
        size = sum(self._work.kept(each) for each in features) * self._dimension(first)
        rotated = "preconditioner" in first
        return self._gradient_job(
            first,
            rows,
            self._size.rotating * rotated,
            sums=8 * SUMMED * size + 4 * self._size.factors * rotated,
            disk=8 * images * size,
        )

    def journeys(self, images: int, features: Mapping[str, Any]) -> Needs:
        """Projecting the gradients of so many generated images along their sampling."""
        rows = images * self._work.journey
        return self._gradient_job(features, rows, disk=8 * images * self._dimension(features))

    def kernel(self, images: int, settings: Mapping[str, Any]) -> Needs:
        """Summing up a Gauss-Newton kernel over so many images."""
        k = self._dimension(settings)
        rows, size = images * self._work.gradients(settings), 8 * k**2
        return self._gradient_job(settings, rows, 2 * k**2, host=2 * size, disk=2 * size)

    def preconditioner(self, settings: Mapping[str, Any]) -> Needs:
        """Estimating a preconditioner, in two passes over the training images."""
        rows = 2 * self._work.images["train"] * self._work.gradients(settings)
        flops, size = (self._size.factoring + self._size.rotating) / 2, 8 * self._size.factors
        # Nothing is projected. Unfinished work is sums, and then eigenvectors.
        alone = {**settings, "dimension": 1}
        return self._gradient_job(alone, rows, flops, sums=size, host=size, disk=2 * size)

    def join_kernel(self, settings: Mapping[str, Any]) -> Needs:
        """Adding up the shards of a kernel."""
        size = 8 * self._dimension(settings) ** 2
        return _needs(600, PROCESS + 3 * size, size)

    def gram(self, features: Mapping[str, Any]) -> Needs:
        """Summing up the Gram matrix of the training images' features."""
        k = self._dimension(features)
        seconds = 2 * self._work.images["train"] * k**2 / self._speed("cpu")
        return _needs(seconds + 600, PROCESS + 8 * 2 * k**2 + 1e9, 8 * k**2)

    def encode(self, images: int) -> Needs:
        """Encoding so many images and their mirror images to latents."""
        return self._model_job(FORWARD, 2 * images * SD_ENCODER, ENCODED, {}, disk=self._images("train"))

    def patches(self, images: int, settings: Mapping[str, Any]) -> Needs:
        """Comparing the patches of so many queries with those of the training images."""
        work = images * self._work.comparison(settings, self._size.channels, self._size.side)
        memory = PROCESS + self._inputs() + COMPARED
        return _needs(work / self._speed("fp32"), memory, 8 * images * self._work.images["train"])

    def score(self, dimension: int) -> Needs:
        """Scores, or what they predict, from features of so many numbers; none for other inputs."""
        images = self._work.images
        side, queries = min(dimension, images["train"]), max(images["val"], images["gen"])
        # An eigendecomposition and its copies in float64, blocks of features and scores.
        held = 8 * (6 * side**2 + queries * dimension) + 1e9
        return _needs(30 * side**3 / self._speed("cpu") + 600, PROCESS + held, 0)

    def _dimension(self, features: Mapping[str, Any]) -> int:
        return int(self._trained if features["projection"] == "none" else features["dimension"])

    def _gradient_job(
        self,
        features: Mapping[str, Any],
        rows: float,
        flops: float = 0,
        *,
        sums: float = 0,
        host: float = 0,
        disk: float,
    ) -> Needs:
        # The sketch's signs, gradients of a layer and what they are formed of; sketches of a batch.
        memory = 12 * self._trained + 8 * self._batch * self._dimension(features) + sums
        precision = features["precision"]
        return self._model_job(
            GRADIENTS, rows, self._batch, precision, flops, memory=memory, host=host, disk=disk
        )

    def _model_job(
        self,
        kind: tuple[float, float],
        rows: float,
        batch: int,
        precision: Mapping[str, str],
        flops: float = 0,
        *,
        memory: float = 0,
        host: float = 0,
        disk: float,
    ) -> Needs:
        """A job that runs so many rows through the model, a batch at a time; more FLOPs of each on top.

        `memory` is on the device, `host` in main memory whatever the device.
        """
        passes, held = kind
        seconds = rows * (passes * self._size.flops + flops) / self._speed(precision.get("cuda", "fp32"))
        needed = PROCESS + 4 * self._size.parameters + self._inputs()
        needed += SD_BYTES if self._latent else 0
        needed += host
        if not self._gpu:
            needed += memory + held * batch * 4 * self._size.numbers
        elif kind is TRAINING:
            needed += 12 * self._trained  # unfinished work on its way to the disk
        return _needs(seconds, needed, disk)

    def _speed(self, precision: str) -> float:
        """FLOP/s that are assumed."""
        on_gpu = self._gpu and precision != "cpu"
        tflops = self._execution["gpu_tflops"][precision] if on_gpu else self._execution["cpu_tflops"]
        return float(tflops) * 1e12

    def _inputs(self) -> float:
        """Bytes of what the model sees of the training images: latents are two, mirrored too."""
        return float(self._work.images["train"] * self._size.input * (16 if self._latent else 1))

    def _images(self, split: str) -> float:
        """Bytes of the images of a split."""
        return float(self._work.images[split] * (SD_PICTURE if self._latent else self._size.input))


def _needs(seconds: float, memory: float, disk: float) -> Needs:
    """In the units of a scheduler, with the margins."""
    return Needs(
        mem_mb=math.ceil(MEMORY_MARGIN * memory / 1e6),
        runtime=math.ceil((START + TIME_MARGIN * seconds) / 60),
        disk_mb=math.ceil(disk / 1e6) + 1,
    )
