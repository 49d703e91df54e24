"""The models of a data set: their files, what they are trained from, and which jobs make them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from das.errors import UserError
from das.pipelines import families, pipeline
from das.plan.paths import model_paths, nameable, variant_folder
from das.plan.plan import Plan, Settings, Wildcards
from das.plan.sources import content_of, request

MODEL, MEMBER = "results/{dataset}/model", "results/{dataset}/model/seeds/{seed}"


@dataclass(frozen=True)
class Training:
    """A rule that trains on all images: the model with its checkpoints, or members of an ensemble with none.

    The files of a model depend on its family and its checkpoints, which no wildcard expresses.

    Attributes:
        rule: its name.
        log: without the suffix, within the logs of the data set.
        datasets: which have it, as a regular expression.
        folder: of the model.
    """

    rule: str
    log: str
    datasets: str
    family: str
    checkpoints: tuple[int, ...]
    folder: str

    @property
    def files(self) -> list[str]:
        """What it makes."""
        return model_paths(self.folder, self.family, self.checkpoints)


def trainings(plan: Plan) -> Iterator[Training]:
    """All such rules."""
    saved: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    members: dict[str, list[str]] = {}
    for name, settings in plan.datasets.items():
        if "path" in settings["model"]:
            continue
        family, checkpoints = settings["model"]["family"], tuple(settings["train"]["checkpoints"])
        saved.setdefault((family, checkpoints), []).append(name)
        members.setdefault(family, []).append(name)
    for (family, checkpoints), names in saved.items():
        rule = "_".join(["train_model", family, *map(str, checkpoints)])
        yield Training(rule, "train_model", "|".join(names), family, checkpoints, MODEL)
    for family, names in members.items():
        yield Training(
            f"train_ensemble_{family}", "train_ensemble/{seed}", "|".join(names), family, (), MEMBER
        )


def training_seed(plan: Plan, wildcards: Wildcards) -> int:
    """The seed of the model, or of the member of its ensemble, that a path names."""
    settings = plan.dataset(wildcards)
    if "seed" not in wildcards.keys():  # noqa: SIM118 -- Snakemake's wildcards are a list as well
        return int(settings["train"]["seed"])
    seeds = settings["ensemble"]["seeds"]
    if wildcards.seed not in map(str, seeds):
        known = ", ".join(map(str, seeds)) or "none"
        raise UserError(f"{wildcards.dataset}: ensemble.seeds: no {wildcards.seed}, known are {known}")
    return int(wildcards.seed)


def training_threads(plan: Plan, wildcards: Wildcards) -> int:
    """Of all processes that train one model together."""
    settings = plan.dataset(wildcards)
    return int(settings["jobs"]["threads"] * settings["train"]["processes"])


def model_files(plan: Plan, wildcards: Wildcards, folder: str = MODEL) -> list[str]:
    """The files of a saved model, which its family decides."""
    return model_paths(folder.format(**wildcards), plan.dataset(wildcards)["model"]["family"])


def variant_files(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files of the model that the variant of features or errors names."""
    kind, _, number = wildcards.variant.removeprefix("@").partition("-")
    saved = plan.dataset(wildcards)["train"]["checkpoints"]
    if kind == "checkpoint" and int(number) not in saved:
        known = ", ".join(map(str, saved)) or "none"
        raise UserError(f"{wildcards.dataset}: train.checkpoints: no {number}, known are {known}")
    return model_files(plan, wildcards, f"results/{{dataset}}/{variant_folder(wildcards.variant)}")


def network_file(plan: Plan, wildcards: Wildcards) -> str:
    """The file that describes a data set's UNet."""
    return nameable(str(plan.dataset(wildcards)["model"]["unet"]))


def network_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of that file."""
    return content_of(network_file(plan, wildcards))


def own_schedule(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The noise schedule of the user's own by which models are retrained; none where it is the workflow's."""
    model = plan.dataset(wildcards)["model"]
    if "path" not in model or families.FAMILIES[model["family"]].latent:
        return []
    return [nameable(str(pipeline.schedule_file(model["path"])))]


def retraining_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of the files by which models are retrained."""
    return content_of(network_file(plan, wildcards), *own_schedule(plan, wildcards))


def base_model(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The file that stands for the base model of a data set; none where there is no base model."""
    base = plan.dataset(wildcards)["model"].get("base")
    if base is None:
        return []
    folder = families.base_model_folder(base)
    index = f"{folder}/model_index.json"
    if folder == base and not os.path.exists(index):
        raise UserError(
            f"{wildcards.dataset}: model.base: no file {index!r}, expected a Stable Diffusion 1 model in "
            "diffusers' format, or the name of one on the Hugging Face hub"
        )
    return [nameable(index)]


def base_model_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of the files of a base model, which may have been downloaded when the job starts."""
    base_model(plan, wildcards)  # refuses one that is not there
    return content_of(*pipeline.base_model_files(plan.dataset(wildcards)["model"]))


def flip_option(plan: Plan, wildcards: Wildcards) -> str:
    """Command line option for latents of mirror images, which training alone may see."""
    return "--flip" if wildcards.split == "train" and plan.dataset(wildcards)["train"]["flip"] else ""


def clip_folder(plan: Plan, wildcards: Wildcards) -> str:
    """The folder of the CLIP model; of one on the hub, where it is downloaded to."""
    return families.base_model_folder(plan.config["clip"]["model"])


def clip_model(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files of the CLIP model, if there is one; of one on the hub, the one that stands for them."""
    if not plan.config["clip"]["model"]:
        return []
    folder = clip_folder(plan, wildcards)
    if folder != plan.config["clip"]["model"]:
        return [f"{folder}/{families.CLIP_FILES[0]}"]
    for name in families.CLIP_FILES:
        if not os.path.exists(f"{folder}/{name}"):
            raise UserError(
                f"clip.model: no file {f'{folder}/{name}'!r}, expected a folder with "
                f"{', '.join(families.CLIP_FILES)}, or the name of a CLIP model on the Hugging Face hub"
            )
    return [nameable(f"{folder}/{name}") for name in families.CLIP_FILES]


def clip_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of the files of the CLIP model, as far as they are there."""
    files = (f"{clip_folder(plan, wildcards)}/{name}" for name in families.CLIP_FILES)
    return content_of(*filter(os.path.exists, files))


def clip_option(plan: Plan, wildcards: Wildcards) -> str:
    """Command line option for the CLIP model, where there is one."""
    return f"--clip={shlex.quote(clip_folder(plan, wildcards))}" if plan.config["clip"]["model"] else ""


@dataclass(frozen=True)
class Taking:
    """Two rules that take models of the user's own: they prepare one beside, and put it in its place."""

    kind: str
    family: str
    datasets: str

    def files(self, folder: str) -> list[str]:
        """A model in a folder."""
        return model_paths(folder, self.family)


def takings(plan: Plan) -> Iterator[Taking]:
    """The rules of families of which some data set has a model of the user's own."""
    for family, kind in (("unet", "model"), ("lora", "adapters")):
        names = [
            name
            for name, settings in plan.datasets.items()
            if "path" in settings["model"] and settings["model"]["family"] == family
        ]
        if names:
            yield Taking(kind, family, "|".join(names))


def own_model(plan: Plan, wildcards: Wildcards) -> str:
    """The folder of a model of the user's own, or the file of its adapters."""
    model = plan.dataset(wildcards)["model"]
    return str(pipeline.adapter_file(model["path"])) if "base" in model else str(model["path"])


def own_model_files(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files of a model of the user's own that are read."""
    return [nameable(file) for file in pipeline.model_files(plan.dataset(wildcards)["model"])]


def own_model_base(plan: Plan, wildcards: Wildcards) -> str:
    """Command line option for the base model of adapters of the user's own."""
    base = plan.dataset(wildcards)["model"].get("base")
    return f"--base={shlex.quote(base)}" if base else ""


def taken_model(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files of a model of the user's own before they take their place."""
    model: Settings = plan.dataset(wildcards)["model"]
    # Another model may come with older files, for example by another link.
    content = content_of(*own_model_files(plan, wildcards))
    asked = request(own_model(plan, wildcards), model.get("base"), content)
    return model_paths(f"results/{wildcards.dataset}/model.{asked}", model["family"])
