"""How much work the rules of a data set do: images, shards, jobs, and rows through the network.

A row is an image at a timestep with one draw of noise. Rules list their shards, jobs ask a scheduler, and
cost.csv estimates hours by these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from das.plan.paths import KEEP, REMOVE

SPLITS = ("train", "val", "gen")
# Settings that features may have of their own; those that agree on all others see the same rows.
OWN = ("output", "normalise", "by_timestep", "timestep_weights")


def relative_work(outputs: Iterable[str]) -> float:
    """FLOPs of a gradient pass for some output functions, in those of a pass for one.

    Each backward pass takes two of the one forward pass: gradients of the activations, and those of the rows.
    """
    return (1 + 2 * len(set(outputs))) / 3


# FLOPs in float32 that a pair of patches takes besides its products, in float64, of which each counts as two:
# the exponential. Measured on a CPU.
PAIR = 200


def pairs(side: int, size: int) -> int:
    """Pairs of places along a side that are compared: those at the border with themselves alone."""
    inner = max(0, side - size + 1)
    return inner**2 + side - (size + 1) % 2 - inner


# The pilot that says at which timesteps retrained models differ. Over models and queries a spread is a mean
# of hundreds of squares, so that four models will do; it changes slowly from one timestep to the next; and
# what two draws of noise have in common is no noise.
PILOT_MODELS = 4
PILOT = {"queries": 50, "timesteps": 100, "draws": 2}
# Those that a budget which is chosen later may have, which jobs and costs are planned with until then.
MOST_TIMESTEPS = 1000


class Work:
    """The work on one data set.

    Args:
        settings: of the data set, checked and with defaults.

    Attributes:
        images: number of images by split.
        queries: those that losses are measured on.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings, self._jobs = settings, settings["jobs"]
        self.images: dict[str, int] = {
            "train": settings["split"]["train"],
            "val": settings["split"]["val"],
            "gen": settings["generate"]["count"],
        }
        self.queries = self.images["val"] + self.images["gen"]

    # Shards, and jobs of several images or models.

    def shards(self, split: str) -> int:
        """In which a split is worked on."""
        return math.ceil(self.images[split] / self._jobs["images_per_shard"])

    def longest_shard(self, split: str) -> int:
        """Images in the largest shard of a split."""
        return int(min(self.images[split], self._jobs["images_per_shard"]))

    @property
    def generation_jobs(self) -> int:
        """In which query images are generated."""
        return math.ceil(self.images["gen"] / self._jobs["generated_per_job"])

    @property
    def longest_generation(self) -> int:
        """Images of the largest such job."""
        return int(min(self.images["gen"], self._jobs["generated_per_job"]))

    def models(self, pool: str) -> int:
        """Retrained models of a pool, "lds" or "retrain"."""
        return int(self._settings[pool]["subsets"] * len(self._settings[pool]["train_seeds"]))

    def model_jobs(self, pool: str) -> int:
        """In which models of a pool are trained, or evaluated."""
        return math.ceil(self.models(pool) / self._jobs["models_per_job"])

    def longest_model_job(self, pool: str) -> int:
        """Models of the largest such job."""
        return int(min(self.models(pool), self._jobs["models_per_job"]))

    def members(self, pool: str = "lds") -> int:
        """Images that each model of a pool, or of a counterfactual test, is trained on."""
        images, removed = self.images["train"], self._settings["counterfactual"].get("images", 0)
        counterfactual = {REMOVE: images - removed, KEEP: removed}
        return int(counterfactual.get(pool, int(self._settings["lds"]["fraction"] * images)))

    def batch(self, images: int) -> int:
        """Rows of a training step on so many images that one process holds at once."""
        train = self._settings["train"]
        return math.ceil(min(train["batch_size"], images) / train["processes"] / train["accumulation"])

    # Rows.

    def training(self, images: int) -> int:
        """Of training one model on so many images."""
        return int(self._settings["train"]["epochs"] * images)

    @property
    def sampling(self) -> int:
        """Of generating one image: two for each step with guidance."""
        generate = self._settings["generate"]
        return int(generate["steps"] * (2 if "guidance" in generate else 1))

    @property
    def errors(self) -> int:
        """Of measuring the errors of one image."""
        return int(self._settings["errors"]["timesteps"] * self._settings["errors"]["draws"])

    @property
    def losses(self) -> int:
        """Of measuring the loss of one query."""
        lds = self._settings["lds"]
        timesteps = lds["budget"] if "budget" in lds else lds["timesteps"]
        return int((MOST_TIMESTEPS if timesteps == "auto" else timesteps) * lds["draws"])

    @property
    def pilot(self) -> int:
        """Of the pilot; none where timesteps are uniform."""
        queries = sum(min(self.images[split], PILOT["queries"]) for split in ("val", "gen"))
        rows = PILOT_MODELS * queries * PILOT["timesteps"] * PILOT["draws"]
        return rows if "budget" in self._settings["lds"] else 0

    @property
    def regeneration(self) -> int:
        """Of generating a query anew and measuring its loss by the new model and the old."""
        return self.sampling + 2 * self.losses

    @staticmethod
    def gradients(settings: Mapping[str, Any]) -> int:
        """Of the gradients of one image, with the settings of features or of a kernel."""
        return int(settings["timesteps"] * settings["draws"])

    @staticmethod
    def kept(settings: Mapping[str, Any]) -> int:
        """Features of one image that are stored."""
        return int(settings["timesteps"]) if settings.get("by_timestep") else 1

    def comparison(self, settings: Mapping[str, Any], channels: int, side: int) -> float:
        """FLOPs of comparing the patches of a query of that shape with those of all training images.

        Args:
            settings: an entry of `patches`.
        """
        scales = [(settings["size"], channels * settings["size"] ** 2)]
        if settings["halved"] is not None:
            scales.append((settings["halved"], channels * settings["halved"] ** 2 // 4))
        work = sum(pairs(side, size) ** 2 * (2 * 2 * numbers + PAIR) for size, numbers in scales)
        return float(len(settings["timesteps"]) * self.images["train"] * work)

    @property
    def journey(self) -> int:
        """Of the gradients of one generated image along its sampling."""
        return int(self._settings["generate"]["steps"])
