"""Names of files and folders that both rules and scripts build. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

from das.errors import UserError
from das.pipelines.families import FAMILIES

# Tests of a counterfactual evaluation, and what stands in the place of a method where images are random.
REMOVE, KEEP = TESTS = ("remove", "keep")
RANDOM = "random"


def variant_folder(variant: str) -> str:
    """Folder of the model that a suffix of features, kernels or errors names, seen from the data set's.

    "" is the model itself, "@checkpoint-25" the model after 25 % of its training, "@seed-43" one trained
    with another seed.
    """
    kind, _, number = variant.removeprefix("@").partition("-")
    return f"model/{kind}s/{number}" if number else "model"


def is_member(folder: Path) -> bool:
    """Whether a model's folder is that of a member of an ensemble, besides the model itself."""
    return folder.parent.name == "seeds"


def checkpoint_folder(model: str, percent: int) -> str:
    """Where the model in the folder `model` lies as it was after that percent of its training."""
    return f"{model}/checkpoints/{percent}"


# Snakemake fills in {this} and <this> wherever they stand in the path of an input, and knows no way to say
# that they are meant as they are. A path that begins with a dash is an option to those who read it.
_FILLED_IN = re.compile(r"[{}<>]|^-")


@cache
def nameable(path: str) -> str:
    """The path as Snakemake takes it for an input: itself, or one through a link where it holds {} or <>.

    The link lies in `.snakemake/` of the working folder. It stands for the path up to its last such part, and
    counts as old as can be, lest what is made of a file seems older than it.
    """
    parts = path.split("/")
    odd = [index for index, part in enumerate(parts) if _FILLED_IN.search(part)]
    if not odd:
        return path
    target, rest = "/".join(parts[: odd[-1] + 1]), parts[odd[-1] + 1 :]
    link = f".snakemake/das/{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}"
    wanted = os.path.abspath(target)
    if not (os.path.islink(link) and os.readlink(link) == wanted):
        os.makedirs(os.path.dirname(link), exist_ok=True)
        beside = f"{link}.{os.getpid()}"
        os.symlink(wanted, beside)
        os.utime(beside, (0, 0), follow_symlinks=False)
        os.replace(beside, link)
    return "/".join([link, *rest])


def model_paths(folder: str, family: str, checkpoints: Collection[int] = ()) -> list[str]:
    """The files of a saved model, and of its checkpoints."""
    folders = [folder, *(checkpoint_folder(folder, percent) for percent in checkpoints)]
    return [f"{saved}/{name}" for saved in folders for name in FAMILIES[family].files]


def model_name(subset: int, seed: int) -> str:
    """Name of the model that is trained on a subset with a seed, for example subset-07_seed-1."""
    return f"subset-{subset:02d}_seed-{seed}"


def parse_model_name(name: str) -> tuple[int, int]:
    """(subset, seed) of a name made by `model_name`."""
    match = re.fullmatch(r"subset-(\d+)_seed-(\d+)", name)
    if not match:
        raise UserError(f"{name}: not the name of a subset model; expected one like {model_name(7, 1)}")
    return int(match[1]), int(match[2])
