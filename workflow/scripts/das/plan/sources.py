"""Where the images of a data set come from, and under which names they are prepared."""

from __future__ import annotations

import hashlib
import json
import shlex
from functools import cache
from typing import Any

from das.data import content
from das.data.sources.locate import locate
from das.data.sources.published import published_files
from das.errors import UserError
from das.pipelines.families import FAMILIES
from das.pipelines.pipeline import read_network
from das.plan.paths import nameable
from das.plan.plan import Plan, Wildcards, section

# Within one plan, files are looked at once.
hash_images, hash_files = cache(content.hash_images), cache(content.hash_files)


def content_of(*files: str) -> str:
    """A hash of what files hold.

    Parameters of a rule that take `input` are no reason for Snakemake to run a job again, so that this asks
    for the files by wildcards alone.
    """
    return hash_files(files)


def request(*asked: Any) -> str:
    """A hash of what is asked for, in the names of files that are prepared."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _located(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files that a data set's images are read from, besides those in a folder of images."""
    source = plan.dataset(wildcards)["source"]
    try:
        published_files(source["kind"], source.get("files", {}))  # refuses names that do not exist
        return locate(source["kind"], source.get("path"), source.get("table"))
    except UserError as error:
        raise UserError(f"{wildcards.dataset}: {error}") from error


def source_files(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The same, as Snakemake takes them for inputs."""
    return [nameable(file) for file in _located(plan, wildcards)]


def source_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of what a data set is read from where that is the user's; empty where published or embedded."""
    source = plan.dataset(wildcards)["source"]
    if source["kind"] == "folder":
        return hash_images(source["path"], source.get("table"))
    return content_of(*_located(plan, wildcards)) if "path" in source else ""


def source_settings(plan: Plan, wildcards: Wildcards) -> str:
    """How the images are read, as JSON; where they lie are options of their own."""
    return section(plan, wildcards, "source", "path")


def source_options(plan: Plan, wildcards: Wildcards) -> str:
    """Command line options for the files, the folder, and the side of the images that a model works on."""
    settings = plan.dataset(wildcards)
    source, model = settings["source"], settings["model"]
    # A path that begins with a dash would be an option.
    files = [f"./{file}" if file.startswith("-") else file for file in _located(plan, wildcards)]
    options = [f"--files {shlex.join(files)}"] if files else []
    if source["kind"] == "folder":
        options.append(f"--folder={shlex.quote(source['path'])}")
    if "path" in model and not FAMILIES[model["family"]].latent:
        options.append(f"--side {read_network(model['path'])['sample_size']}")
    return " ".join(options)


def prepared_images(plan: Plan, wildcards: Wildcards, split: str) -> str:
    """Images of the source before they take their place."""
    asked = request(
        source_settings(plan, wildcards),
        section(plan, wildcards, "split"),
        source_content(plan, wildcards),
    )
    return f"results/{wildcards.dataset}/images/{split}.{asked}.h5"


def published_overrides(plan: Plan, wildcards: Wildcards) -> str:
    """What data sets say of a published file in place of what is published, as JSON."""
    found: dict[str, Any] = {}
    for name, settings in plan.datasets.items():
        override = settings["source"].get("files", {}).get(wildcards.name)
        if override is not None and found.setdefault(wildcards.name, override) != override:
            raise UserError(
                f"{name}: source.files.{wildcards.name}: another data set says otherwise; set source.path"
            )
    return json.dumps(found)


def picture_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of the pictures of the user's own."""
    return hash_images(plan.dataset(wildcards)["queries"]["folder"])


def taken_pictures(plan: Plan, wildcards: Wildcards, suffix: str) -> str:
    """The same pictures before they take their place, or their contact sheet."""
    asked = request(plan.dataset(wildcards)["queries"]["folder"], picture_content(plan, wildcards))
    return f"results/{wildcards.dataset}/images/gen.{asked}.{suffix}"
