"""What the model sees of images, and the shards in which they are worked on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from das.errors import UserError
from das.pipelines.families import FAMILIES
from das.plan.plan import Plan, Settings, Wildcards
from das.plan.work import Work


def inputs(plan: Plan, wildcards: Wildcards, split: str) -> str:
    """What the model sees of a split: the images themselves, or their latents."""
    folder = FAMILIES[plan.dataset(wildcards)["model"]["family"]].space
    return f"results/{wildcards.dataset}/{folder}/{split.format(**wildcards)}.h5"


def train_images(plan: Plan, wildcards: Wildcards, section: str, key: str) -> str:
    """The training images, no fewer than a setting lists for each query."""
    found, most = plan.config[section][key], plan.dataset(wildcards)["split"]["train"]
    if found > most:
        raise UserError(
            f"{section}.{key}: found {found}, allowed is at most {most}, the training images of "
            f"{wildcards.dataset}"
        )
    return f"results/{wildcards.dataset}/images/train.h5"


def shards(plan: Plan, wildcards: Wildcards, folder: str, split: str) -> list[str]:
    """The shards of a split in a folder."""
    where, chosen = folder.format(**wildcards), split.format(**wildcards)
    number = Work(plan.dataset(wildcards)).shards(chosen)
    return _files(f"results/{wildcards.dataset}/{where}/{chosen}", number)


def generated_shards(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files in which the query images are generated."""
    number = Work(plan.dataset(wildcards)).generation_jobs
    return _files(f"results/{wildcards.dataset}/images/gen", number)


def gram_shards(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The features whose Gram matrix a path names: those of the training images."""
    gradient_settings(plan, wildcards)  # refuses names that do not exist
    return shards(plan, wildcards, "gradients/{features}{variant}", "train")


def kernel_shards(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The shards of the kernel that a path names, in its folder: only training images have one."""
    number = Work(plan.dataset(wildcards)).shards("train")
    return _files("results/{dataset}/kernels/{kernel}{variant}".format(**wildcards), number)


def _files(folder: str, number: int) -> list[str]:
    return [f"{folder}/shard-{shard:03d}.h5" for shard in range(number)]


# Sections of the configuration with settings of gradients, by the wildcard that names one of their entries.
SECTIONS = {"features": "features", "kernel": "kernels", "preconditioner": "preconditioners"}
# Settings of gradients that are not projected would be of no use to them.
PROJECTION = ("projection", "dimension", "projection_seed")


def gradient_settings(plan: Plan, wildcards: Wildcards) -> Settings:
    """What makes the gradients of the entry that a path names: timesteps, noise and projection."""
    named = next(wildcard for wildcard in SECTIONS if wildcard in wildcards.keys())  # noqa: SIM118
    section, name = SECTIONS[named], wildcards.get(named)
    if name not in plan.extended[section]:
        raise UserError(f"{section}: no {name!r}, known are {', '.join(plan.config[section])}")
    return gradients_of(plan.dataset(wildcards), plan.extended[section][name])


def gradients_of(settings: Mapping[str, Any], entry: Mapping[str, Any]) -> Settings:
    """Settings of a data set's gradients, with what an entry of `features` or `kernels` changes."""
    return {**settings["gradients"], **entry}


def preconditioner_json(plan: Plan, wildcards: Wildcards) -> str:
    """What makes the preconditioner that a path names, as JSON."""
    found = gradient_settings(plan, wildcards)
    return json.dumps({key: value for key, value in found.items() if key not in PROJECTION})


def gradient_settings_json(plan: Plan, wildcards: Wildcards) -> str:
    """The same as JSON."""
    return json.dumps(gradient_settings(plan, wildcards))


def patch_settings(plan: Plan, wildcards: Wildcards) -> Settings:
    """How the patches that a path names are compared."""
    if wildcards.patches not in plan.config["patches"]:
        raise UserError(f"patches: no {wildcards.patches!r}, known are {', '.join(plan.config['patches'])}")
    found: Settings = plan.config["patches"][wildcards.patches]
    return found


def patch_settings_json(plan: Plan, wildcards: Wildcards) -> str:
    """The same as JSON."""
    return json.dumps(patch_settings(plan, wildcards))
