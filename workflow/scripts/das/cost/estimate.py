"""What the workflow will cost on a data set, from its configuration alone: nothing is computed or downloaded.

Hours are rows * FLOPs per row * overhead / speed. FLOPs are counted (`das.cost.counting`), the overheads
measured (`OVERHEADS`); the speed is an assumption of the user, execution.gpu_tflops or cpu_tflops.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from das.cost.architecture import build_architecture, forward_bytes, gradient_bytes, training_bytes
from das.data.sources.published import published_files
from das.diffusion import latents, sampling
from das.gradients import features
from das.gradients.hooks import CPU_BYTES, GPU_BYTES
from das.gradients.projection import projection_dimension
from das.jobs.blocks import BLOCK_BYTES
from das.noise import BLOCK
from das.pipelines.families import base_model_folder
from das.plan.methods import SPLITS as QUERIES
from das.plan.methods import ConfiguredMethod, configured_methods, evaluated_methods
from das.plan.needs import COMPARED
from das.plan.passes import same_rows
from das.plan.shards import gradients_of
from das.plan.unet_size import unet_size
from das.plan.work import SPLITS, Work

# Seconds per FLOP relative to those of a forward pass, by kind of pass. Medians of five interleaved passes of
# tests/benchmarks/bench_cost.py on the CIFAR UNet in float32, one thread of an AMD EPYC (Zen 3), lay in three
# runs at 1.13 to 1.22 for training and at 1.23 to 1.32 for gradients.
OVERHEADS = {
    "training": 1.2,  # forward, backward, clipping and AdamW
    "gradients": 1.3,  # hooked forward and backward with norms and count sketch
}
# Memory of a process that runs a network of next to no size: the line digits, forward there.
PROCESS_BYTES = 0.55e9
# Blocks of `BLOCK_BYTES` that scoring holds at once: features, coordinates, squares and scores.
SCORING_BLOCKS = 4
# Matrices of the kernel's size that solving it takes; `build_kernel` refuses to start without.
KERNEL_MATRICES = 4
# Of CLIP's ViT-B/32, which the benchmark uses: weights of its image encoder, and numbers of an embedding.
CLIP_BYTES, CLIP_DIMENSION = 4 * 88e6, 512

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
    "hours",
    "hours_per_job",
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
    """Rows through the network, in all jobs; where patches are compared, queries."""
    longest: float = 0
    """Rows of the longest job; where jobs differ in what a row takes, average ones that take as long."""
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

    def hours(self, rows: float) -> float:
        """GPU hours of that many rows."""
        return rows * self.flops / (self.tflops * 1e12) / 3600 if rows else 0.0


class Estimator:
    """The costs of a data set, rule by rule.

    Args:
        settings: of the data set, checked and with defaults.
        config: of config/config.yaml, at least `features`, `kernels`, `preconditioners`, `patches`, `clip`,
            `methods`, `attributions`, `evaluation`.
        tflops: sustained TFLOP/s by precision.
    """

    def __init__(
        self, settings: Mapping[str, Any], config: Mapping[str, Any], tflops: Mapping[str, float]
    ) -> None:
        self._settings, self._config, self._tflops = settings, config, tflops
        self.architecture = build_architecture(settings["model"])
        self._network, self._latent = self.architecture.network, self.architecture.latent
        self._size = unet_size(settings["model"]["unet"])
        self._work = Work(settings)
        self._counts, self._queries = self._work.images, self._work.queries
        self.models = self._work.models("lds")
        self._judged = self.models > 0
        known = configured_methods(config)
        names = evaluated_methods(config, settings) if self._judged else [config["attributions"]["method"]]
        methods = [known[name] for name in names]
        self._methods = [method for method in methods if method.missing(config, settings) is None]
        self._splits = sum(len(method.splits) for method in self._methods)

    def rules(self) -> list[RuleCost]:
        """All rules that make results/{dataset}/lds.csv, in the order of the workflow.

        Of a data set without retrained models, those that make attributions.csv.
        """
        costs = [
            self._fetch_file(),
            self._fetch_base_model(),
            RuleCost("prepare_images", 1),
            RuleCost("place_images", 1, disk=self._image_bytes()),
            RuleCost(
                "draw_subsets",
                int(self._judged),
                disk=self._settings["lds"]["subsets"] * self._counts["train"],
            ),
            self._encode_latents(),
            *self._train_model(),
            self._train_ensemble(),
            *self._generate_images(),
            *self._embed_images(),
            self._compare_patches(),
            self._measure_errors(),
            self._join_errors(),
            self._estimate_preconditioner(),
            *self._project_gradients(),
            self._project_journeys(),
            *self._kernels(),
            self._train_models("train_subset_models", "lds"),
            *self._by_importance(),
            self._evaluate_models("evaluate_subset_models", "lds"),
            *self._retrain(),
            *(self._judging() if self._judged else self._attributing()),
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

    def _train_model(self) -> list[RuleCost]:
        if "path" in self._settings["model"]:
            kind = "adapters" if "base" in self._settings["model"] else "model"
            return [RuleCost(f"take_{kind}", 1), RuleCost(f"place_{kind}", 1, disk=4 * self._network.trained)]
        checkpoints = len(self._settings["train"]["checkpoints"])
        return [self._training("train_model", 1, 1, 1, self._counts["train"], saved=1 + checkpoints)]

    def _train_ensemble(self) -> RuleCost:
        members = len(
            {v for method in self._methods for v in method.variants(self._settings) if "@seed" in v}
        )
        return self._training("train_ensemble", members, members, 1, self._counts["train"], saved=members)

    def _train_models(self, rule: str, pool: str) -> RuleCost:
        """A rule that trains a pool of models on subsets."""
        work, models = self._work, self._work.models(pool)
        return self._training(
            rule,
            work.model_jobs(pool),
            models,
            work.longest_model_job(pool),
            work.members(pool),
            saved=models,
        )

    def _training(
        self, rule: str, jobs: int, models: int, longest: int, images: int, *, saved: int
    ) -> RuleCost:
        """A rule that trains `models` on that many images each, `longest` of them in the longest job."""
        train = self._settings["train"]
        if not jobs:
            return RuleCost(rule, 0)
        share = self._work.batch(images)
        return self._on_device(
            rule,
            jobs,
            models * self._work.training(images),
            longest * self._work.training(images),
            self._network.training(share).flops / share * OVERHEADS["training"],
            train["precision"]["cuda"],
            training_bytes(self._network, share),
            # Saving unfinished work copies weights and moments.
            data=self._input_bytes("train") + 12 * self._network.trained,
            disk=saved * 4 * self._network.trained,
        )

    def _generate_images(self) -> list[RuleCost]:
        if "folder" in self._settings["queries"]:
            disk = self._image_bytes("gen")
            return [RuleCost("take_queries", 1), RuleCost("place_queries", 1, disk=disk)]
        generate, per_image = self._settings["generate"], self._work.sampling
        longest = self._work.longest_generation
        images = min(sampling.IMAGES_PER_BATCH, longest)
        batch = images * per_image // generate["steps"]
        flops = self._network.forward(batch).flops / batch
        memory = forward_bytes(self._network, batch)
        if self._latent:
            played = self._latent.decoder.forward(images)
            flops += played.flops / images / per_image
            weights = 4 * (self._network.parameters + self._latent.parameters)
            memory = max(memory + 4 * self._latent.parameters, weights + played.bytes)
        jobs = self._work.generation_jobs
        rows, size = self._counts["gen"] * per_image, self._image_bytes("gen")
        generated = self._on_device(
            "generate_images",
            jobs,
            rows,
            longest * per_image,
            flops,
            "fp32",
            memory,
            data=math.ceil(size / jobs),
            disk=size,
        )
        return [generated, RuleCost("join_images", 1, memory=PROCESS_BYTES + 2 * size, disk=size)]

    def _measure_errors(self) -> RuleCost:
        errors, models = self._settings["errors"], self._models_with_errors()
        return self._denoising(
            "measure_errors",
            models * self._work.shards("train"),
            models * self._counts["train"] * self._work.errors,
            self._work.longest_shard("train") * self._work.errors,
            errors["precision"]["cuda"],
            data=self._input_bytes("train"),
            disk=self._error_bytes(),
        )

    def _join_errors(self) -> RuleCost:
        models, size = self._models_with_errors(), self._error_bytes()
        memory = PROCESS_BYTES + (2 * size / models if models else 0)
        return RuleCost("join_errors", models, memory=memory, disk=size)

    def _models_with_errors(self) -> int:
        """Number of models whose errors some method needs."""
        needed = [method for method in self._methods if "errors" in method.inputs]
        return len({variant for method in needed for variant in method.variants(self._settings)})

    def _error_bytes(self) -> int:
        """Of all models."""
        timesteps = self._settings["errors"]["timesteps"]
        return 4 * self._models_with_errors() * self._counts["train"] * timesteps

    def _by_importance(self) -> list[RuleCost]:
        """The pilot, and the choice of timesteps by it."""
        rows, precision = self._work.pilot, self._settings["lds"]["precision"]["cuda"]
        if not rows:
            return []
        data = self._input_bytes("val", "gen")
        measured = self._denoising("measure_pilot", 1, rows, rows, precision, data=data, disk=4 * rows)
        return [measured, RuleCost("choose_timesteps", 1)]

    def _evaluate_models(self, rule: str, pool: str) -> RuleCost:
        lds, models = self._settings["lds"], self._work.models(pool)
        rows = self._queries * self._work.losses
        return self._denoising(
            rule,
            self._work.model_jobs(pool),
            models * rows,
            self._work.longest_model_job(pool) * rows,
            lds["precision"]["cuda"],
            data=self._input_bytes("val", "gen"),
            disk=4 * models * self._queries * lds["draws"],
        )

    def _retrain(self) -> list[RuleCost]:
        """The second pool of models, from which methods learn."""
        if not self._uses("retraining"):
            return []
        subsets = self._settings["retrain"]["subsets"]
        return [
            RuleCost("draw_retrain_subsets", 1, disk=subsets * self._counts["train"]),
            self._train_models("train_retrain_models", "retrain"),
            self._evaluate_models("evaluate_retrain_models", "retrain"),
        ]

    def _scored(self, method: ConfiguredMethod) -> tuple[str, ...]:
        """The splits of queries that are scored by a method."""
        return method.splits if self._judged else ("gen",)

    def _uses(self, *inputs: str) -> bool:
        """Whether some method has one of the inputs."""
        return any(set(inputs) & method.inputs for method in self._methods)

    def _denoising(
        self, rule: str, jobs: int, rows: int, longest: int, precision: str, *, data: int, disk: int
    ) -> RuleCost:
        # Whole blocks of images at as many timesteps as fit; at least one.
        batch = max(1, self._settings["jobs"]["rows_per_batch"] // BLOCK) * BLOCK
        flops, memory = self._network.forward(batch).flops / batch, forward_bytes(self._network, batch)
        return self._on_device(rule, jobs, rows, longest, flops, precision, memory, data=data, disk=disk)

    # Features and scores.

    def _project_gradients(self) -> list[RuleCost]:
        """Passes that features share, as when all is made at once, and the features of each put in place."""
        asked = {
            (variant, split, method.features)
            for method in self._methods
            if method.features is not None
            for variant in method.variants(self._settings)
            for split in ("train", *(() if method.queries else self._scored(method)))
        }
        together: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for variant, split, name in asked:
            together.setdefault((variant, split), {})[name] = self._gradients("features", name)
        found = [
            ([made[name] for name in group], split)
            for (_, split), made in together.items()
            for group in same_rows(made)
        ]
        projected = self._gradient_passes("project_gradients", found)
        placed = sum(self._work.shards(split) for _, split, _ in asked)
        return [
            dataclasses.replace(projected, disk=0),
            RuleCost("place_gradients", placed, disk=projected.disk),
        ]

    def _estimate_preconditioner(self) -> RuleCost:
        """Of each model that some method's features need one of, in two passes over the training images."""
        made = {
            (chosen["name"], variant)
            for method in self._methods
            if method.features is not None
            and (chosen := self._gradients("features", method.features).get("preconditioner"))
            for variant in method.variants(self._settings)
        }
        if not made:
            return RuleCost("estimate_preconditioner", 0)
        most = max(self._work.gradients(self._gradients("preconditioners", name)) for name, _ in made)
        passed = [
            ([self._gradients("preconditioners", name) | {"dimension": 1}], "train") for name, _ in made
        ]
        one = self._gradient_passes("estimate_preconditioner", passed)
        added = (self._size.factoring + self._size.rotating) / 2
        largest = max(math.prod(shape[1:]) + 1 for shape in self._network.tensors.values())
        size = 8 * self._size.factors
        return dataclasses.replace(
            one,
            jobs=len(made),
            rows=2 * one.rows,
            longest=2 * self._counts["train"] * most,
            flops=one.flops + added,
            device=one.device and one.device + size + 32 * largest**2,
            memory=one.memory + size + (0 if one.device else size + 32 * largest**2),
            disk=len(made) * (size / 2 + 4 * self._network.trained),
        )

    def _project_journeys(self) -> RuleCost:
        along = {m.features for m in self._methods if m.features is not None and m.queries == "journey"}
        steps = {"timesteps": self._work.journey}
        found = [([self._gradients("features", name) | steps], "gen") for name in along]
        return self._gradient_passes("project_journeys", found)

    def _kernels(self) -> list[RuleCost]:
        """Gram matrices, and kernels that are not the features' own, in shards and joined."""
        made = {
            (method.kernel, variant)
            for method in self._methods
            if method.kernel is not None
            for variant in method.variants(self._settings)
        }
        found = [([self._gradients("kernels", kernel)], "train") for kernel, _ in made]
        sketched = self._gradient_passes("sketch_kernel", found, kernels=True)
        size = sum(8 * self._dimension(gradients) ** 2 for [gradients], _ in found)
        joined = RuleCost("join_kernel", len(made), memory=PROCESS_BYTES + 2 * size, disk=size)
        return [self._sum_grams(), sketched, joined]

    def _sum_grams(self) -> RuleCost:
        """Gram matrices of features that methods share."""
        sizes = {
            (name, variant): 8 * self._dimension(self._gradients("features", name)) ** 2
            for method in self._methods
            if (name := method.gram(self._config, self._settings)) is not None
            for variant in method.variants(self._settings)
        }
        memory = PROCESS_BYTES + BLOCK_BYTES + 2 * max(sizes.values(), default=0)
        return RuleCost("sum_gram", len(sizes), memory=memory, disk=sum(sizes.values()))

    def _gradients(self, section: str, name: str) -> dict[str, Any]:
        """Settings of gradients, with what an entry of the configuration changes."""
        return gradients_of(self._settings, self._config[section][name])

    def _dimension(self, gradients: Mapping[str, Any]) -> int:
        """k of features or of a kernel."""
        pattern = gradients.get("parameters", "")
        covered = {name: shape for name, shape in self._network.tensors.items() if re.search(pattern, name)}
        return projection_dimension(gradients["projection"], gradients["dimension"], covered)

    def _gradient_passes(
        self, rule: str, passes: list[tuple[list[dict[str, Any]], str]], *, kernels: bool = False
    ) -> RuleCost:
        """A rule that passes over splits with gradients of some settings; all parameters count as covered.

        Each pass makes all of its features.
        """
        cpu_or_gpu = GPU_BYTES if self._settings["jobs"]["gpus"] > 0 else CPU_BYTES
        jobs, rows, longest, disk, memory, work = 0, 0, 0.0, 0, 0.0, 0.0
        for made, split in passes:
            gradients, outputs = made[0], len({each.get("output") for each in made})
            k, per_image = self._dimension(gradients), self._work.gradients(gradients)
            batch = min(
                self._settings["jobs"]["rows_per_batch"], features.IMAGES_PER_BLOCK * gradients["timesteps"]
            )
            forward, both = self._network.forward(batch).flops, self._network.gradients(batch).flops
            flops = (forward + outputs * (both - forward)) / batch * OVERHEADS["gradients"]
            if "preconditioner" in gradients:
                flops += outputs * self._size.rotating
            if gradients["projection"] == "dense":
                flops += 2 * outputs * self._network.trained * k
            needed = gradient_bytes(self._network, batch, k, gradients["projection"], cpu_or_gpu)
            if kernels:
                flops, needed = flops + 2 * k**2, needed + 8 * k * (k + 2 * batch)
                disk += self._work.shards(split) * 8 * k**2
            else:
                size = sum(map(self._work.kept, made)) * k
                needed += 8 * features.IMAGES_PER_BLOCK * size
                needed += 4 * self._size.factors * ("preconditioner" in gradients)
                disk += 4 * self._counts[split] * size
            here = self._counts[split] * per_image
            jobs, rows, work = jobs + self._work.shards(split), rows + here, work + here * flops
            longest = max(longest, self._work.longest_shard(split) * per_image * flops)
            memory = max(memory, needed)
        return self._on_device(
            rule,
            jobs,
            rows,
            longest * rows / work if rows else 0.0,
            work / rows if rows else 0.0,
            self._settings["gradients"]["precision"]["cuda"],
            memory,
            data=self._input_bytes("train"),
            disk=disk,
        )

    def _embed_images(self) -> list[RuleCost]:
        """CLIP's embeddings; its model is small beside the others, and its hours are not counted."""
        model = self._config["clip"]["model"]
        if not self._uses("embeddings"):
            return []
        size = 4 * CLIP_DIMENSION * sum(self._counts.values())
        fetched = RuleCost("fetch_clip_model", int(base_model_folder(model) != model), disk=CLIP_BYTES)
        return [fetched, RuleCost("embed_images", len(SPLITS), memory=PROCESS_BYTES + CLIP_BYTES, disk=size)]

    def _compare_patches(self) -> RuleCost:
        """Comparisons of patches, of which a query is a row."""
        asked = {(method.patches, split) for method in self._methods for split in self._scored(method)}
        jobs = [
            (
                self._counts[split],
                self._work.comparison(self._config["patches"][name], self._size.channels, self._size.side),
            )
            for name, split in asked
            if name is not None
        ]
        if not jobs:
            return RuleCost("compare_patches", 0)
        rows, work = sum(count for count, _ in jobs), sum(count * flops for count, flops in jobs)
        gpu = self._settings["jobs"]["gpus"] > 0
        return RuleCost(
            "compare_patches",
            len(jobs),
            rows,
            max(count * flops for count, flops in jobs) * rows / work,
            work / rows,
            self._tflops["fp32"],
            COMPARED * gpu,
            PROCESS_BYTES + self._input_bytes(*SPLITS) + COMPARED * (not gpu),
            4 * rows * self._counts["train"],
        )

    def _judging(self) -> list[RuleCost]:
        disk = sum(self._prediction_bytes(method.rule.damped, method.splits) for method in self._methods)
        memory = self._scoring_bytes() + self._prediction_bytes()
        return [
            RuleCost("predict_losses", self._splits, memory=memory, disk=disk),
            RuleCost("measure_lds", len(self._methods), memory=PROCESS_BYTES + 2 * self._prediction_bytes()),
            RuleCost("summarise_lds", 1),
        ]

    def _attributing(self) -> list[RuleCost]:
        """Of one method, for the generated queries alone."""
        disk = 4 * self._counts["gen"] * self._counts["train"]
        return [
            RuleCost("score_images", 1, memory=self._scoring_bytes(), disk=disk),
            RuleCost("tabulate_attributions", 1),
        ]

    def _scoring_bytes(self) -> float:
        """Of a process that scores, or predicts losses, by the method that takes the most."""
        n, queries = self._counts["train"], max(self._counts["val"], self._counts["gen"])
        held = 0
        for method in self._methods:
            if method.features is not None:
                k = method.dimension or self._dimension(self._gradients("features", method.features))
                size = k if method.kernel else min(n, k)
                held = max(held, 8 * (KERNEL_MATRICES * size**2 + queries * size))
            if {"images", "image_kernel"} & method.inputs:
                width = math.prod(self._latent.shape if self._latent else self.architecture.image)
                size = min(n, width) if "image_kernel" in method.inputs else 0
                held = max(held, 4 * queries * width + 8 * (KERNEL_MATRICES * size**2 + queries * size))
        return PROCESS_BYTES + held + SCORING_BLOCKS * BLOCK_BYTES

    def _prediction_bytes(self, damped: bool = True, splits: Sequence[str] = QUERIES) -> int:
        """Of one method for some splits."""
        dampings = len(self._config["evaluation"]["dampings"]) if damped else 1
        queries = sum(self._counts[split] for split in splits)
        return int(8 * dampings * self._settings["lds"]["subsets"] * queries)

    def _on_device(
        self,
        rule: str,
        jobs: int,
        rows: int,
        longest: float,
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
        config: of config/config.yaml, at least `features`, `kernels`, `preconditioners`, `patches`, `clip`,
            `methods`, `attributions`, `evaluation`.
        tflops: sustained TFLOP/s of the device for "fp32", "fp16" and "bf16".

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
            "hours": cost.hours(cost.rows),
            "hours_per_job": cost.hours(cost.longest),
            "gpu_memory_gb": cost.device / 1e9,
            "memory_gb": cost.memory / 1e9,
            "disk_gb": cost.disk / 1e9,
        }
        for cost in estimator.rules()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    total = of_dataset | {"rule": "total", "gflop_per_row": math.nan, "tflops": math.nan}
    total |= {column: table[column].sum() for column in ("jobs", "rows", "hours", "disk_gb")}
    total |= {column: table[column].max() for column in ("hours_per_job", "gpu_memory_gb", "memory_gb")}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)
