"""Configured attribution methods: which scoring rule, on what, and what that takes of a data set.

Rules and cost estimates ask here; imports nothing heavy, since the workflow reads it whenever it is parsed.

A method is computed from one part, the main model's features, or as the mean of the scores of several parts:

    over checkpoints   the models at points of the one training run, the final one last
    over seeds         the main model and models of other seeds: an ensemble
    over timesteps     the main model's features of each timestep, with their own kernels and residuals
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from das.errors import UserError
from das.methods import METHODS, Method
from das.methods.inputs import INPUTS

OVER = ("checkpoints", "seeds", "timesteps")
SPLITS = ("val", "gen")
JOURNEY = "@journey"
# Settings that a kernel shares with the features that it is used with.
KERNEL_AGREES = ("projection", "dimension", "projection_seed", "parameters")


@dataclass(frozen=True)
class Candidates:
    """Score only the `count` training images nearest to a query, by the cosine of pixels or embeddings."""

    by: str
    count: int

    @property
    def rule(self) -> Method:
        """The scoring rule that says how near an image is."""
        return METHODS[f"{self.by}_cos"]


@dataclass(frozen=True)
class ConfiguredMethod:
    """An entry of `methods` in the configuration.

    Attributes:
        name: of the entry.
        rule: the scoring rule.
        features, kernel, patches: entries of `features`, `kernels` and `patches` that it uses; without a
            kernel, the features' own.
        over: what its scores are averaged over, one of `OVER`, or None.
        queries: "journey" for queries along their sampling steps, else None.
        dimension: to which features are folded, None for all of them.
        candidates: None to score all images.
        damping: relative, for scores where no retrained models choose it; None for "gcv".
    """

    name: str
    rule: Method
    features: str | None = None
    kernel: str | None = None
    patches: str | None = None
    over: str | None = None
    queries: str | None = None
    dimension: int | None = None
    candidates: Candidates | None = None
    damping: float | None = None

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any], config: Mapping[str, Any]) -> ConfiguredMethod:
        """The method of a configuration entry.

        Raises:
            UserError: it names what does not exist, or what does not go together; with the key and what is
                allowed.
        """
        key = f"methods.{name}"
        if entry["score"] not in METHODS:
            raise UserError(
                f"{key}.score: found {entry['score']!r}, allowed are {', '.join(sorted(METHODS))}"
            )
        candidates = Candidates(**entry["candidates"]) if "candidates" in entry else None
        settings = {k: v for k, v in entry.items() if k not in ("score", "candidates")}
        found = cls(name, METHODS[entry["score"]], **settings, candidates=candidates)
        found._check(key, config)
        return found

    def _check(self, key: str, config: Mapping[str, Any]) -> None:
        rule, known = self.rule, ", ".join(config["features"])
        if self.damping is not None and not rule.damped:
            raise UserError(f"{key}.damping: {rule.name} has no damping; remove it")
        if "patches" in rule.inputs and self.patches not in config["patches"]:
            compared = ", ".join(config["patches"])
            raise UserError(f"{key}.patches: found {self.patches!r}, {rule.name} needs one of {compared}")
        if "patches" not in rule.inputs and self.patches is not None:
            raise UserError(f"{key}.patches: {rule.name} compares no patches and has no use for it")
        if rule.needs_features and self.features is None:
            raise UserError(f"{key}.features: {rule.name} needs one of {known}")
        if self.features is not None and self.features not in config["features"]:
            raise UserError(f"{key}.features: found {self.features!r}, allowed are {known}")
        if not rule.needs_features:
            for option in ("features", "kernel", "over", "queries", "dimension"):
                if getattr(self, option) is not None:
                    raise UserError(f"{key}.{option}: {rule.name} works on no features and has no use for it")
            return
        features = config["features"][self.features]
        if rule.preconditioned and "preconditioner" not in features:
            raise UserError(
                f"{key}.features: found {self.features}, which have no preconditioner; {rule.name} needs one"
            )
        if "preconditioner" in features:
            self._check_preconditioned(key, features["preconditioner"]["name"], config)
        kept = features.get("by_timestep", False)
        if kept != (self.over == "timesteps"):
            if kept:
                raise UserError(
                    f"{key}: the features {self.features} keep their timesteps (by_timestep); add over: "
                    "timesteps, or take other features"
                )
            raise UserError(
                f"{key}.over: found timesteps, but the features {self.features} do not keep their timesteps; "
                "remove it, or take features with by_timestep: true"
            )
        if kept and features.get("timestep_weights", "uniform") != "uniform":
            raise UserError(
                f"features.{self.features}.timestep_weights: found "
                f"{features['timestep_weights']!r}, allowed is 'uniform' where by_timestep keeps them apart"
            )
        if self.kernel is not None:
            if self.kernel not in config["kernels"]:
                allowed = ", ".join(config["kernels"])
                raise UserError(f"{key}.kernel: found {self.kernel!r}, allowed are {allowed}")
            if "kernel" not in rule.inputs or "leverage" in rule.inputs:
                raise UserError(
                    f"{key}.kernel: found {self.kernel!r}, but {rule.name} needs the kernel of its own "
                    "features; remove it"
                )
            if self.dimension is not None:
                raise UserError(f"{key}.dimension: the kernel {self.kernel} is not folded; remove it")
            if self.over == "timesteps":
                raise UserError(f"{key}.kernel: methods over timesteps have kernels of their own; remove it")
        if self.queries is not None and self.over is not None:
            raise UserError(f"{key}.queries: {self.queries} goes with the final model alone, remove over")

    def _check_preconditioned(self, key: str, preconditioner: str, config: Mapping[str, Any]) -> None:
        allowed = config["preconditioners"]
        if preconditioner not in allowed:
            raise UserError(
                f"features.{self.features}.preconditioner.name: found {preconditioner!r}, allowed are "
                f"{', '.join(allowed)}"
            )
        for option in ("kernel", "queries"):
            if (found := getattr(self, option)) is not None:
                raise UserError(
                    f"{key}.{option}: found {found!r}, but the features {self.features} have a "
                    "preconditioner; remove it, or take features without one"
                )

    @property
    def inputs(self) -> set[str]:
        """What it reads, of `das.methods.inputs`: what its rule does, and its candidates' rule."""
        return {*self.rule.inputs, *(self.candidates.rule.inputs if self.candidates else ())}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of queries that it can score."""
        return ("gen",) if self.queries == "journey" else SPLITS

    def variants(self, settings: Mapping[str, Any]) -> list[str]:
        """Suffixes of the folders of each part's features, for a data set; the main model's is the last."""
        if self.over == "checkpoints":
            return [*(f"@checkpoint-{percent}" for percent in settings["train"]["checkpoints"]), ""]
        if self.over == "seeds":
            return [*(f"@seed-{seed}" for seed in settings["ensemble"]["seeds"]), ""]
        return [""]

    def gram(self, config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
        """The features whose Gram matrix GᵀG is summed once for all that score from them; None without one.

        Of no more images than a feature has numbers the kernel is GGᵀ, and folded features and single
        timesteps have Gram matrices of their own: these are summed where they are used.
        """
        if not self.rule.needs_kernel or self.kernel or self.dimension or self.over == "timesteps":
            return None
        gradients = settings["gradients"] | config["features"][self.features]
        known = gradients["projection"] != "none"
        return self.features if known and gradients["dimension"] < settings["split"]["train"] else None

    def missing(self, config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
        """The setting that a data set lacks for this method, and how to get it; None if there is none."""
        if self.queries == "journey" and "folder" in settings["queries"]:
            return "queries.folder: pictures of your own have no sampling trajectory; take another method"
        if self.over in ("checkpoints", "seeds") and "path" in settings["model"]:
            return f"models besides that of model.path, over {self.over}; take another method"
        if self.over == "checkpoints" and not settings["train"]["checkpoints"]:
            return "train.checkpoints: none are saved; list percentages of the training, such as [25, 50, 75]"
        if self.over == "seeds" and not settings["ensemble"]["seeds"]:
            return "ensemble.seeds: no further models are trained; list their seeds, such as [1, 2]"
        if self.features is not None:
            problem = self._missing_of_features(config, settings)
            if problem is not None:
                return problem
        lacking = (INPUTS[name].missing(config, settings) for name in INPUTS if name in self.inputs)
        return next((problem for problem in lacking if problem is not None), None)

    def _missing_of_features(self, config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
        """The same, of what the features must be for this method."""
        gradients = settings["gradients"] | config["features"][self.features]
        if self.over == "timesteps" and "errors" in self.inputs:
            errors, needed = settings["errors"]["timesteps"], gradients["timesteps"]
            if gradients["strategy"] != "uniform" or errors % needed:
                return (
                    f"errors.timesteps: found {errors}, needed is a multiple of the gradients' {needed} "
                    "uniform timesteps, so that there is a residual at each"
                )
        if self.dimension is not None:
            stored = gradients["dimension"]
            if gradients["projection"] == "none" or stored % self.dimension:
                return (
                    f"dimension: found {self.dimension}, allowed are divisors of {stored} with projection "
                    f"count-sketch or dense; the projection of {self.features} is {gradients['projection']}"
                )
        if self.kernel is not None:
            own = settings["gradients"] | config["kernels"][self.kernel]
            for name in KERNEL_AGREES:
                if own.get(name, "") != gradients.get(name, ""):
                    return (
                        f"kernels.{self.kernel}.{name}: found {own.get(name, '')!r}, needed is that of the "
                        f"features {self.features}, {gradients.get(name, '')!r}"
                    )
        return None


def configured_methods(config: Mapping[str, Any]) -> dict[str, ConfiguredMethod]:
    """All configured methods, by name."""
    return {name: ConfiguredMethod.of(name, entry, config) for name, entry in config["methods"].items()}


def evaluated_methods(config: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Names of the methods of lds.csv: those of `evaluation.methods`, or all that a data set allows."""
    listed: list[str] = config["evaluation"]["methods"]
    everything = configured_methods(config).items()
    return listed or [name for name, method in everything if method.missing(config, settings) is None]
