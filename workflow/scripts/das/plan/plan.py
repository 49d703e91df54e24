"""One run of the workflow: its settings, its data sets, and the methods that they are asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from das import methods
from das.errors import UserError
from das.plan import ablation, configuration, own
from das.plan.methods import ConfiguredMethod, configured_methods
from das.plan.paths import RANDOM

# What Snakemake gives to functions of rules: values by name, as attributes and as a mapping.
Wildcards = Any
Settings = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """What rules are made from.

    Attributes:
        config: the configuration, checked and with defaults.
        extended: the same with the features and methods of its ablation.
        datasets: settings of data sets by name, checked and with defaults.
        mistakes: in those of other data sets, which stop only what needs these.
        methods: all configured methods, those of the ablation last.
    """

    config: Settings
    extended: Settings
    datasets: dict[str, Settings]
    mistakes: dict[str, UserError]
    methods: dict[str, ConfiguredMethod]

    @classmethod
    def load(cls, home: str, config: Settings, given: Mapping[str, Any]) -> Plan:
        """The plan of a configuration.

        Args:
            home: the folder of the workflow.
            config: what files and the command line say, as Snakemake reads it.
            given: the part of it that `--config` says.

        Raises:
            UserError: a mistake outside the settings of data sets; one line with key and what is allowed.
        """
        schemas, folder = Path(home, "workflow/schemas"), Path(home, "config/datasets")
        config = configuration.mark_texts(config, dict(given))
        config = configuration.validate(config, schemas / "config.schema.yaml", "config/config.yaml")
        for module in config["method_modules"]:
            methods.load(module)
        _require_methods(config)
        datasets, mistakes = {}, {}
        for name in configuration.dataset_names(folder, config["datasets"]):
            try:
                schema = schemas / "dataset.schema.yaml"
                settings = configuration.load_dataset(name, folder, config["datasets"], schema)
            except UserError as error:
                mistakes[name] = error
                continue
            datasets[name] = settings
            unet = settings["model"]["unet"]
            if not os.path.isabs(unet) and ("path" not in settings["model"] or unet == own.STABLE_DIFFUSION):
                settings["model"]["unet"] = os.path.relpath(Path(home, unet))
        extended = ablation.extended(config)
        return cls(config, extended, datasets, mistakes, configured_methods(extended))

    @cached_property
    def changes(self) -> list[ablation.Change]:
        """Those of the ablation."""
        return ablation.changes(self.config)

    def require_targets(self, arguments: Sequence[str]) -> None:
        """Refuse targets of unknown data sets, and of those with a mistake, even if no rule makes them.

        Raises:
            UserError: the mistake, or the names that are known.
        """
        for argument in arguments:
            if named := re.match("results/([^/]+)/", argument):
                self._require_known(named[1])

    def dataset(self, wildcards: Wildcards) -> Settings:
        """The settings of the data set that a path names.

        Raises:
            UserError: there is none, its settings have a mistake, or files that they name cannot be used.
        """
        name = wildcards.dataset
        self._require_known(name)
        self._require_usable(name)
        return self.datasets[name]

    def _require_known(self, name: str) -> None:
        if name in self.mistakes:
            raise self.mistakes[name]
        if name not in self.datasets:
            raise UserError(f"results/{name}: no data set {name!r}, known are {', '.join(self.datasets)}")

    def _require_usable(self, name: str) -> None:
        """Refuse files that settings name where they are missing or not supported; looks at them once."""
        if name in self._usable:
            return
        settings = self.datasets[name]
        try:
            own.require(settings)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        unet = settings["model"]["unet"]
        if not os.path.exists(unet):
            raise UserError(f"{name}: model.unet: no file {unet!r}, expected a UNet's configuration in JSON")
        self._usable.add(name)

    @cached_property
    def _usable(self) -> set[str]:
        return set()

    def method(self, wildcards: Wildcards) -> ConfiguredMethod:
        """The configured method that a path names, if it can score the split of the path.

        Raises:
            UserError: there is none, or the data set lacks what it needs.
        """
        if wildcards.method not in self.methods:
            raise UserError(
                f"methods: no {wildcards.method!r}, known are {', '.join(self.config['methods'])}"
            )
        found, settings = self.methods[wildcards.method], self.dataset(wildcards)
        missing = found.missing(self.extended, settings)
        if missing:
            raise UserError(f"{wildcards.dataset}: {found.name} needs {missing}")
        split = wildcards.get("split")
        if split not in (None, *found.splits):
            raise UserError(
                f"{wildcards.dataset}: {found.name} scores generated queries alone, for only they have a "
                f"sampling trajectory; found split {split}, allowed is {', '.join(found.splits)}"
            )
        if split == "val" and not settings["split"]["val"]:
            raise UserError(
                f"{wildcards.dataset}: split.val: found 0: there are no held-out images to score; the scores "
                "of pictures are in gen.h5"
            )
        return found

    def named(self, wanted: bool, section: str, key: str) -> str:
        """Names of the data sets that have a key, or that have it not, as a regular expression."""
        return "|".join(name for name, found in self.datasets.items() if (key in found[section]) == wanted)


def setting(plan: Plan, wildcards: Wildcards, *keys: str) -> Any:
    """One value of a data set's settings."""
    found: Any = plan.dataset(wildcards)
    for key in keys:
        found = found[key]
    return found


def section(plan: Plan, wildcards: Wildcards, name: str, *without: str) -> str:
    """One section of a data set's settings as JSON, `without` some keys."""
    found = plan.dataset(wildcards)[name]
    return json.dumps({key: value for key, value in found.items() if key not in without})


def _require_methods(config: Settings) -> None:
    """Refuse names of methods that do not exist, or that mean something else.

    Raises:
        UserError: one line with the key, what was found and what is allowed.
    """
    known = configured_methods(config)
    if RANDOM in known:
        raise UserError(f"methods.{RANDOM}: the name is that of random images, choose another")
    for key, name in (
        ("attributions.method", config["attributions"]["method"]),
        *(("evaluation.methods", name) for name in config["evaluation"]["methods"]),
        *(("report.methods", name) for name in config["report"]["methods"]),
        *(("counterfactual.methods", name) for name in config["counterfactual"]["methods"]),
    ):
        if name not in known:
            raise UserError(f"{key}: found {name!r}, allowed are {', '.join(known)}")
