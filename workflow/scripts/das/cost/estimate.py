"""What the workflow will cost on a data set, from its configuration alone: nothing is computed or downloaded.

Hours are rows * FLOPs per row * overhead / speed. FLOPs are counted (`das.cost.counting`), the overheads
measured (`OVERHEADS`); the speed is an assumption of the user, execution.gpu_tflops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from das import features, generation, latents
from das.cost.architecture import (
    build_architecture,
    forward_bytes,
    gradient_bytes,
    training_bytes,
)
from das.gradients import CPU_BYTES, GPU_BYTES
from das.methods import METHODS
from das.noise import BLOCK
from das.paths import base_model_folder
from das.projection import projection_dimension
from das.shards import BLOCK_BYTES
from das.sources.published import published_files

# Seconds per FLOP relative to those of a forward pass, by kind of pass. Medians of five interleaved passes of
# tests/benchmarks/bench_cost.py on the CIFAR UNet in float32, one thread of an AMD EPYC (Zen 3), lay in three
# runs at 1.13 to 1.22 for training and at 1.23 to 1.32 for gradients.
OVERHEADS = {
    "training": 1.2,  # forward, backward, clipping and AdamW
    "gradients": 1.3,  # hooked forward and backward with norms and count sketch
}
# Memory of a process that runs a network of next to no size: the line digits, forward there.
PROCESS_BYTES = 0.55e9
SPLITS = ("train", "val", "gen")
# Blocks of `das.shards.BLOCK_BYTES` that scoring holds at once: features, coordinates, squares and scores.
SCORING_BLOCKS = 4
# Matrices of the kernel's size that solving it takes; `das.kernel.build_kernel` refuses to start without.
KERNEL_MATRICES = 4

COLUMNS = [
    "dataset",
    "parameters",
    "images",
    "models",
    "rule",
    "jobs",
    "rows",
    "gflop_per_row",
    "tflops",
    "gpu_hours",
    "gpu_hours_per_job",
    "gpu_memory_gb",
    "memory_gb",
    "disk_gb",
]


@dataclass(frozen=True)
class RuleCost:
    """What the jobs of one rule cost. A rule that runs no model has no rows."""

    rule: str
    jobs: int
    rows: int = 0
    """Rows through the network, in all jobs."""
    longest: int = 0
    """Rows of the longest job."""
    flops: float = 0
    """Per row, times the overhead of the kind of pass."""
    tflops: float = math.nan
    """Assumed speed."""
    device: float = 0
    """Bytes on the device, per job."""
    memory: float = PROCESS_BYTES
    """Bytes of main memory, per job."""
    disk: float = 0
    """Bytes of what all jobs leave."""

    def hours(self, rows: int) -> float:
        """GPU hours of that many rows."""
        return rows * self.flops / (self.tflops * 1e12) / 3600 if rows else 0.0


class Estimator:
    """The costs of a data set, rule by rule.

    Args:
        settings: of the data set, checked and with defaults.
        config: `features`, `methods` and `evaluation` of config/config.yaml.
        tflops: sustained TFLOP/s by precision.
    """

    def __init__(
        self, settings: Mapping[str, Any], config: Mapping[str, Any], tflops: Mapping[str, float]
    ) -> None:
        self._settings, self._config, self._tflops = settings, config, tflops
        self.architecture = build_architecture(settings["model"])
        self._network, self._latent = self.architecture.network, self.architecture.latent
        split, lds = settings["split"], settings["lds"]
        self._counts = {"train": split["train"], "val": split["val"], "gen": settings["generate"]["count"]}
        self._queries = self._counts["val"] + self._counts["gen"]
        self.models = lds["subsets"] * len(lds["train_seeds"])
        self._methods = {name: METHODS[method["score"]] for name, method in config["methods"].items()}
        self._features = {m["features"] for m in config["methods"].values() if "features" in m}
        self._k = projection_dimension(
            settings["gradients"]["projection"], settings["gradients"]["dimension"], self._network.tensors
        )

    def rules(self) -> list[RuleCost]:
        """All rules that make results/{dataset}/lds.csv, in the order of the workflow."""
        costs = [
            self._fetch_file(),
            self._fetch_base_model(),
            RuleCost("prepare_images", 1, disk=self._image_bytes()),
            RuleCost("draw_subsets", 1, disk=self._settings["lds"]["subsets"] * self._counts["train"]),
            self._encode_latents(),
            self._train_model(),
            self._generate_images(),
            self._measure_errors(),
            self._join_errors(),
            self._project_gradients(),
            self._train_subset_models(),
            self._evaluate_subset_models(),
            self._predict_losses(),
            RuleCost("measure_lds", len(self._methods), memory=PROCESS_BYTES + 2 * self._prediction_bytes()),
            RuleCost("summarise_lds", 1),
        ]
        return [cost for cost in costs if cost.jobs]

    # Images and what the model sees of them.

    def _image_bytes(self, *splits: str) -> int:
        return math.prod(self.architecture.image) * sum(self._counts[s] for s in splits or ("train", "val"))

    def _latent_bytes(self, split: str) -> int:
        """Mean and standard deviation."""
        if self._latent is None:
            return 0
        return 4 * 2 * self._encoded(split) * math.prod(self._latent.shape)

    def _encoded(self, split: str) -> int:
        """Images that the autoencoder sees: mirror images too where training flips."""
        return self._counts[split] * (2 if split == "train" and self._settings["train"]["flip"] else 1)

    def _input_bytes(self, *splits: str) -> int:
        if self._latent is None:
            return self._image_bytes(*splits)
        return sum(self._latent_bytes(split) for split in splits)

    def _fetch_file(self) -> RuleCost:
        source = self._settings["source"]
        if "path" in source:
            return RuleCost("fetch_file", 0)
        files = published_files(source["kind"], source.get("files", {})).values()
        return RuleCost("fetch_file", len(files), disk=sum(file.size or 0 for file in files))

    def _fetch_base_model(self) -> RuleCost:
        base = self._settings["model"].get("base", "")
        parameters = self._network.parameters - self._network.trained + self._beside()
        return RuleCost("fetch_base_model", int(base_model_folder(base) != base), disk=4 * parameters)

    def _beside(self) -> int:
        return self._latent.parameters if self._latent else 0

    def _encode_latents(self) -> RuleCost:
        if self._latent is None:
            return RuleCost("encode_latents", 0)
        rows = {split: self._encoded(split) for split in SPLITS}
        played = self._latent.encoder.forward(latents.IMAGES_PER_BLOCK)
        return self._on_device(
            "encode_latents",
            len(rows),
            sum(rows.values()),
            max(rows.values()),
            played.flops / latents.IMAGES_PER_BLOCK,
            "fp32",
            4 * self._latent.parameters + played.bytes,
            disk=sum(self._latent_bytes(split) for split in SPLITS),
        )

    # The model, what it generates and where it errs.

    def _train_model(self) -> RuleCost:
        return self._training("train_model", 1, 1, 1, self._counts["train"])

    def _train_subset_models(self) -> RuleCost:
        members = int(self._settings["lds"]["fraction"] * self._counts["train"])
        return self._training(
            "train_subset_models", self._model_jobs(), self.models, self._models_of_longest_job(), members
        )

    def _training(self, rule: str, jobs: int, models: int, longest: int, images: int) -> RuleCost:
        """A rule that trains `models` on that many images each, `longest` of them in the longest job."""
        train = self._settings["train"]
        share = math.ceil(min(train["batch_size"], images) / train["processes"])
        return self._on_device(
            rule,
            jobs,
            models * train["epochs"] * images,
            longest * train["epochs"] * images,
            self._network.training(share).flops / share * OVERHEADS["training"],
            train["precision"]["cuda"],
            training_bytes(self._network, share),
            # Saving unfinished work copies weights and moments.
            data=self._input_bytes("train") + 12 * self._network.trained,
            disk=models * 4 * self._network.trained,
        )

    def _generate_images(self) -> RuleCost:
        generate = self._settings["generate"]
        per_image = generate["steps"] * (2 if "guidance" in generate else 1)
        images = min(generation.IMAGES_PER_BATCH, self._counts["gen"])
        batch = images * per_image // generate["steps"]
        flops = self._network.forward(batch).flops / batch
        memory = forward_bytes(self._network, batch)
        if self._latent:
            played = self._latent.decoder.forward(images)
            flops += played.flops / images / per_image
            weights = 4 * (self._network.parameters + self._latent.parameters)
            memory = max(memory + 4 * self._latent.parameters, weights + played.bytes)
        rows, size = self._counts["gen"] * per_image, self._image_bytes("gen")
        return self._on_device("generate_images", 1, rows, rows, flops, "fp32", memory, data=size, disk=size)

    def _measure_errors(self) -> RuleCost:
        errors = self._settings["errors"]
        return self._denoising(
            "measure_errors",
            self._shards("train") if self._needs_errors() else 0,
            self._counts["train"] * errors["timesteps"] * errors["draws"],
            self._longest_shard("train") * errors["timesteps"] * errors["draws"],
            errors["precision"]["cuda"],
            data=self._input_bytes("train"),
            disk=self._error_bytes(),
        )

    def _join_errors(self) -> RuleCost:
        size = self._error_bytes()
        return RuleCost("join_errors", int(self._needs_errors()), memory=PROCESS_BYTES + 2 * size, disk=size)

    def _needs_errors(self) -> bool:
        return any("errors" in method.inputs for method in self._methods.values())

    def _error_bytes(self) -> int:
        return 4 * self._counts["train"] * self._settings["errors"]["timesteps"]

    def _evaluate_subset_models(self) -> RuleCost:
        lds, jobs = self._settings["lds"], self._model_jobs()
        rows = self._queries * lds["timesteps"] * lds["draws"]
        return self._denoising(
            "evaluate_subset_models",
            jobs,
            self.models * rows,
            self._models_of_longest_job() * rows,
            lds["precision"]["cuda"],
            data=self._input_bytes("val", "gen"),
            disk=4 * self.models * self._queries * lds["draws"],
        )

    def _denoising(
        self, rule: str, jobs: int, rows: int, longest: int, precision: str, *, data: int, disk: int
    ) -> RuleCost:
        # Whole blocks of images at as many timesteps as fit; at least one.
        batch = max(1, self._settings["jobs"]["rows_per_batch"] // BLOCK) * BLOCK
        flops, memory = self._network.forward(batch).flops / batch, forward_bytes(self._network, batch)
        return self._on_device(rule, jobs, rows, longest, flops, precision, memory, data=data, disk=disk)

    def _model_jobs(self) -> int:
        return math.ceil(self.models / self._settings["jobs"]["models_per_job"])

    def _models_of_longest_job(self) -> int:
        return min(self.models, int(self._settings["jobs"]["models_per_job"]))

    # Features and scores.

    def _project_gradients(self) -> RuleCost:
        gradients, kinds = self._settings["gradients"], len(self._features)
        per_image = gradients["timesteps"] * gradients["draws"]
        batch = min(
            self._settings["jobs"]["rows_per_batch"], features.IMAGES_PER_BLOCK * gradients["timesteps"]
        )
        flops = self._network.gradients(batch).flops / batch * OVERHEADS["gradients"]
        if gradients["projection"] == "dense":
            flops += 2 * self._network.trained * self._k
        on_gpu = self._settings["jobs"]["gpus"] > 0
        return self._on_device(
            "project_gradients",
            kinds * sum(self._shards(split) for split in SPLITS),
            kinds * sum(self._counts.values()) * per_image,
            max(self._longest_shard(split) for split in SPLITS) * per_image,
            flops,
            gradients["precision"]["cuda"],
            gradient_bytes(
                self._network, batch, self._k, gradients["projection"], GPU_BYTES if on_gpu else CPU_BYTES
            ),
            data=self._input_bytes("train"),
            disk=4 * kinds * sum(self._counts.values()) * self._k,
        )

    def _shards(self, split: str) -> int:
        return math.ceil(self._counts[split] / self._settings["jobs"]["images_per_shard"])

    def _longest_shard(self, split: str) -> int:
        return min(self._counts[split], self._settings["jobs"]["images_per_shard"])

    def _predict_losses(self) -> RuleCost:
        n, queries = self._counts["train"], max(self._counts["val"], self._counts["gen"])
        size, held = min(n, self._k), 0
        for method in self._methods.values():
            if "features" in method.inputs:
                held = max(held, 8 * (KERNEL_MATRICES * size**2 + queries * size))
            if "images" in method.inputs:
                shape = self._latent.shape if self._latent else self.architecture.image
                held = max(held, 4 * queries * math.prod(shape))
        memory = PROCESS_BYTES + held + SCORING_BLOCKS * BLOCK_BYTES + self._prediction_bytes()
        disk = sum(self._prediction_bytes(method.damped) for method in self._methods.values())
        return RuleCost("predict_losses", 2 * len(self._methods), memory=memory, disk=disk)

    def _prediction_bytes(self, damped: bool = True) -> int:
        """Of one method for both splits."""
        dampings = len(self._config["evaluation"]["dampings"]) if damped else 1
        return 8 * dampings * self._settings["lds"]["subsets"] * self._queries

    def _on_device(
        self,
        rule: str,
        jobs: int,
        rows: int,
        longest: int,
        flops: float,
        precision: str,
        device: float,
        *,
        data: int = 0,
        disk: int = 0,
    ) -> RuleCost:
        """A rule that runs a model; `device` bytes lie in main memory where jobs ask for no GPU."""
        memory = PROCESS_BYTES + data
        if self._settings["jobs"]["gpus"]:
            # Weights are read into main memory first.
            memory += 4 * self._network.parameters
        else:
            memory, device = memory + device, 0
        speed = self._tflops[precision]
        return (
            RuleCost(rule, jobs, rows, longest, flops, speed, device, memory, disk)
            if jobs
            else RuleCost(rule, 0)
        )


def estimate_costs(
    name: str, settings: Mapping[str, Any], config: Mapping[str, Any], tflops: Mapping[str, float]
) -> pd.DataFrame:
    """The costs of a data set with the columns `COLUMNS`: a row per rule, and "total".

    Args:
        settings: of the data set, checked and with defaults.
        config: `features`, `methods` and `evaluation` of config/config.yaml.
        tflops: sustained TFLOP/s of the GPU for "fp32", "fp16" and "bf16".

    Returns:
        `parameters` that are trained, training `images` and retrained `models` are those of the data set.
        Of each rule: its jobs; rows through the network in all, FLOPs per row times the overhead, the assumed
        speed, and the hours that follow; memory of one job on the GPU and in main memory; disk of what it
        leaves. The total is the sum of jobs, hours and disk, and the largest job in everything else. GB are
        10^9 bytes.

    Raises:
        UserError: the UNet's configuration cannot be read.
    """
    estimator = Estimator(settings, config, tflops)
    of_dataset = {
        "dataset": name,
        "parameters": estimator.architecture.network.trained,
        "images": settings["split"]["train"],
        "models": estimator.models,
    }
    rows = [
        of_dataset
        | {
            "rule": cost.rule,
            "jobs": cost.jobs,
            "rows": cost.rows,
            "gflop_per_row": cost.flops / 1e9 if cost.rows else math.nan,
            "tflops": cost.tflops,
            "gpu_hours": cost.hours(cost.rows),
            "gpu_hours_per_job": cost.hours(cost.longest),
            "gpu_memory_gb": cost.device / 1e9,
            "memory_gb": cost.memory / 1e9,
            "disk_gb": cost.disk / 1e9,
        }
        for cost in estimator.rules()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    total = of_dataset | {"rule": "total", "gflop_per_row": math.nan, "tflops": math.nan}
    total |= {column: table[column].sum() for column in ("jobs", "rows", "gpu_hours", "disk_gb")}
    total |= {column: table[column].max() for column in ("gpu_hours_per_job", "gpu_memory_gb", "memory_gb")}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)
