"""What methods can score from: every input is declared here, once.

A declaration says where the files of an input lie, what opens them, and which fields of a block it gives.
Rules ask for those files, scripts are given them by name, and scoring opens them, all by the declaration. A
file that the configuration lists under `method_modules` can declare further inputs, see docs/add-a-method.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from string import Formatter
from typing import Any

from das.errors import UserError

PLACEHOLDERS = (
    *("split", "space", "features", "gram", "kernel", "preconditioner", "patches"),
    *("variant", "journey", "shard", "model"),
)


@dataclass(frozen=True)
class Files:
    """Files of one kind.

    Attributes:
        where: their path within the results of a data set, with placeholders: {split} is that of the queries,
            {space} is "images" or, of latent models, "latents", {features}, {kernel} and {patches} are what
            the method names, {gram} is {features} where their Gram matrix is kept, {preconditioner} what its
            features name, {variant} is each of the models that its scores are averaged over, {journey} is
            where queries are taken along their sampling, {shard} is every shard of a split, and {model} every
            model that methods learn from. A path with something that a method does not name is left out.
        step: what they were computed in, for tables of what a method costs; None if not for its sake.
    """

    where: str
    step: str | None = None


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        name: by which methods ask for it.
        gives: fields of `das.methods.Block`, each with what it holds.
        files: by the names under which scripts are given them.
        opens: a subclass of `das.scoring.inputs.OpenInput`, or the module and name of one in this library,
            which the job imports.
        of_queries: whether it differs from query to query.
        damped: whether it depends on a damping; then it opens as a `das.scoring.inputs.DampedInput`.
        missing: of the configuration and the settings of a data set, what these lack for it; None if nothing.
    """

    name: str
    gives: Mapping[str, str]
    files: Mapping[str, Files]
    opens: str | Callable[..., Any]
    of_queries: bool = True
    damped: bool = False
    missing: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None] = lambda config, settings: None

    @property
    def of_models(self) -> bool:
        """Whether each of the models that scores are averaged over has its own."""
        return any("{variant}" in files.where for files in self.files.values())

    @property
    def of_features(self) -> bool:
        """Whether it is of gradients' features."""
        return any("{features}" in files.where for files in self.files.values())

    @property
    def opener(self) -> Callable[..., Any]:
        """What opens it."""
        if not isinstance(self.opens, str):
            return self.opens
        module, _, name = self.opens.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found


INPUTS: dict[str, Input] = {}
"""All inputs by name, in the order in which they are opened."""


def declare(new: Input) -> Input:
    """Enter an input.

    Raises:
        UserError: its name is taken, or its files cannot be named so; with what is allowed.
    """
    if new.name in INPUTS:
        raise UserError(f"there is an input {new.name} already, choose another name")
    known = {name: files.where for each in INPUTS.values() for name, files in each.files.items()}
    for name, files in new.files.items():
        where = f"input {new.name}: {name}"
        if not isinstance(files, Files):
            raise UserError(f"{where}: found {files!r}, expected Files with a path")
        if known.get(name, files.where) != files.where:
            raise UserError(
                f"{where}: found {files.where!r}, but {name} is {known[name]!r}; choose another name"
            )
        _require_path(where, files.where)
    INPUTS[new.name] = new
    return new


def _require_path(where: str, path: str) -> None:
    """Refuse a path of which a placeholder is unknown, or not where its files can be told."""
    try:
        fields = [field[1:] for field in Formatter().parse(path) if field[1] is not None]
    except ValueError as error:
        raise UserError(f"{where}: {path!r} is no path with placeholders ({error})") from error
    for name, form, conversion in fields:
        if name not in PLACEHOLDERS or form or conversion:
            raise UserError(
                f"{where}: {path!r} has the placeholder {name!r}, allowed are {', '.join(PLACEHOLDERS)}, "
                "in braces and nothing beside them"
            )
    if "{shard}" in path and not path.endswith(("/train/{shard}.h5", "/{split}/{shard}.h5")):
        raise UserError(
            f"{where}: {path!r}: shards are files named /train/{{shard}}.h5 or /{{split}}/{{shard}}.h5"
        )


def _lacks_clip(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    if config["clip"]["model"] is not None:
        return None
    return (
        "clip.model: not set; name a folder with a CLIP model, or one on the hub such as "
        "openai/clip-vit-base-patch32"
    )


def _lacks_models(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    found = settings["retrain"]["subsets"]
    if found >= 8:
        return None
    return f"retrain.subsets: found {found}, needed are 8 or more models besides those of the evaluation"


_FEATURES = {
    "train_features": Files(
        "gradients/{features}{variant}/train/{shard}.h5", "gradients of the training images"
    ),
    "query_features": Files(
        "gradients/{features}{variant}{journey}/{split}/{shard}.h5", "gradients of the pictures"
    ),
    # Read by nobody here, but it is part of what the features took.
    "preconditioner": Files("preconditioners/{preconditioner}{variant}.h5", "preconditioner"),
}
_KERNEL = _FEATURES | {
    "grams": Files("grams/{gram}{variant}.h5", "Gram matrix of the gradients"),
    "kernels": Files("kernels/{kernel}{variant}.h5", "Gauss-Newton kernel"),
}
_IMAGES = {"train_images": Files("{space}/train.h5"), "query_images": Files("{space}/{split}.h5")}

for _declared in (
    Input(
        "kernel",
        {"inner": "g_qᵀ K g_i, [Q, n]", "product": "the same as a `das.methods.Product`"},
        _KERNEL,
        "das.scoring.inputs:KernelInput",
        damped=True,
    ),
    Input(
        "leverage",
        {"one_minus_leverage": "1 - h_i, [n], in (0, 1]; of the features' own kernel alone"},
        _KERNEL,
        "das.scoring.inputs:KernelInput",
        of_queries=False,
        damped=True,
    ),
    Input(
        "norms",
        {"kernel_norm": "‖K g_i‖, [n]", "feature_norm": "‖g_i‖, [n]"},
        _KERNEL,
        "das.scoring.inputs:KernelInput",
        of_queries=False,
        damped=True,
    ),
    Input(
        "features",
        {"query_features": "g_q, [Q, k]", "train_features": "g_i, [n, k]"},
        _FEATURES,
        "das.scoring.inputs:FeatureInput",
    ),
    Input(
        "errors",
        {"errors": "error[i, t], [n, T]"},
        {"train_errors": Files("errors{variant}/train.h5", "errors of the training images")},
        "das.scoring.inputs:ErrorInput",
        of_queries=False,
    ),
    Input(
        "images",
        {
            "query_pixels": "pixels in [-1, 1], or latents of a latent model, [Q, d]",
            "train_pixels": "likewise, [n, d]",
        },
        _IMAGES,
        "das.scoring.inputs:ImageInput",
    ),
    Input(
        "image_kernel",
        {"image_inner": "x_qᵀ (XᵀX + λI)⁻¹ x_i, [Q, n], of the same less their mean over training images"},
        _IMAGES,
        "das.scoring.inputs:ImageKernelInput",
        damped=True,
    ),
    Input(
        "embeddings",
        {"query_embeddings": "CLIP's image embeddings, [Q, e]", "train_embeddings": "likewise, [n, e]"},
        {
            "train_embeddings": Files("embeddings/clip/train.h5", "embeddings"),
            "query_embeddings": Files("embeddings/clip/{split}.h5", "embeddings"),
        },
        "das.scoring.inputs:EmbeddingInput",
        missing=_lacks_clip,
    ),
    Input(
        "patches",
        {"patch_weights": "posterior weights of the image's patches for those of the noised query, [Q, n]"},
        {"patch_weights": Files("patches/{patches}/{split}.h5", "comparison of patches")},
        "das.scoring.inputs:PatchInput",
    ),
    Input(
        "retraining",
        {
            "retrained_on": "1 where model m was trained on image i, else 0, [M, n]",
            "retrained_losses": "loss of model m on the query, mean over seeds, [M, Q]",
        },
        {
            "retrained_subsets": Files("retrain/subsets.h5"),
            "retrained_losses": Files("retrain/losses/{model}.h5", "losses of further models"),
        },
        "das.scoring.inputs:RetrainingInput",
        missing=_lacks_models,
    ),
):
    declare(_declared)
