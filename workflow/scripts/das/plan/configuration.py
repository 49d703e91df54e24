"""Reading and checking the configuration. Imports neither torch nor Snakemake: a dry run must stay fast."""

from __future__ import annotations

import copy
import math
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema.validators
import yaml

from das.data.sources import SOURCES
from das.errors import UserError
from das.pipelines.families import FAMILIES
from das.plan import own


def _is_finite_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# JSON Schema takes 80.0 for an integer and YAML's .nan for a number; neither is of use here.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": _is_finite_number,
        }
    ),
)


# The one in C, where PyYAML has it, takes a tenth of the time; every start reads a dozen files.
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):
    """One that takes no key twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for position, (key, _) in enumerate(node.value):
            if key.value in keys[:position]:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} stands there twice", problem_mark=key.start_mark
                )
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping."""
    try:
        content = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        raise UserError(f"{path}: {line}not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"holds {type(content).__name__}"
        raise UserError(f"{path}: {found}, expected keys and values")
    return content


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `change`; mappings are merged, everything else is replaced."""
    merged = copy.deepcopy(base)
    for key, value in change.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


class Text(str):
    """A value within a value of `--config`, where Snakemake reads numbers and truth values as text too."""

    def meaning(self) -> Any:
        """What YAML takes it for, or the number that it is."""
        try:
            found = yaml.load(str(self), _Loader)
            return float(found) if isinstance(found, str) else found
        except (yaml.YAMLError, ValueError):
            return str(self)


def mark_texts(content: Any, given: Any) -> Any:
    """The content, in which the values within those of `--config` are `Text`, and null is None.

    Args:
        given: what `--config` said, which is part of the content.
    """
    if isinstance(given, dict):
        nested = {key: mark_texts(content[key], given[key]) for key in given if key in content}
        return content | nested
    if isinstance(given, list):
        return [mark_texts(value, value) for value in given]
    if not isinstance(given, str):
        return content
    return None if given in ("null", "~") else Text(given)


def validate(content: dict[str, Any], schema_path: Path, name: str) -> dict[str, Any]:
    """The content with defaults filled in, and with each `Text` that does not fit taken for what it means.

    Raises:
        UserError: one line with the file `name`, the key, the value found and what is allowed.
    """
    schema = _load_schema(schema_path)
    filled = _with_defaults(content, schema, schema.get("$defs", {}))
    validator = _Validator(schema, format_checker=jsonschema.FormatChecker(formats=("regex",)))
    for error in validator.iter_errors(filled):
        if isinstance(error.instance, Text):
            filled = _replace(filled, list(error.path), error.instance.meaning())
    errors = sorted(validator.iter_errors(filled), key=lambda e: list(map(str, e.path)))
    if errors:
        raise UserError(f"{name}: {_describe(errors[0])}")
    return filled


@lru_cache
def _load_schema(path: Path) -> dict[str, Any]:
    """A schema, in which a key `registry` stands for the names that are declared in the library."""
    return _with_names(load_yaml(path), {"families": list(FAMILIES), "sources": list(SOURCES)})


def _with_names(schema: Any, registries: dict[str, list[str]]) -> Any:
    if not isinstance(schema, dict):
        return schema
    filled = {key: _with_names(part, registries) for key, part in schema.items()}
    return filled | ({"enum": registries[schema["registry"]]} if "registry" in schema else {})


def dataset_names(folder: Path, changes: dict[str, Any]) -> list[str]:
    """Names of all data sets: of the files of a folder, and of those that changes alone define."""
    return sorted({*(path.stem for path in folder.glob("*.yaml")), *changes})


def load_dataset(name: str, folder: Path, changes: dict[str, Any], schema_path: Path) -> dict[str, Any]:
    """The settings of a data set: those of its file, with its changes merged in, and defaults.

    Raises:
        UserError: one line with the file, the key, what was found and what is allowed.
    """
    path, change = folder / f"{name}.yaml", changes.get(name)
    listed = os.path.lexists(path)
    source = str(path) if listed else f"datasets.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise UserError(f"{source}: name of a data set, allowed are letters, digits and _")
    base = load_yaml(path) if listed else {}
    if listed and change is not None:
        source += f" (changed by datasets.{name})"
    given = merge(base, change or {})
    settings = validate(given, schema_path, source)
    _require_keys(settings, given, source)
    _settle_budget(settings, given, source)
    own.complete(settings)
    _check_dataset(settings, source)
    return settings


def load_datasets(folder: Path, changes: dict[str, Any], schema_path: Path) -> dict[str, dict[str, Any]]:
    """The settings of all data sets, by name; raises UserError for the first that has a mistake."""
    return {name: load_dataset(name, folder, changes, schema_path) for name in dataset_names(folder, changes)}


def require_counterfactual(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The section `counterfactual`, if what it asks for can be made; looked at when it is asked for.

    Raises:
        UserError: one line with the data set `name` and the key.
    """
    for section, key in (("model", "path"), ("queries", "folder")):
        if key in settings[section]:
            raise UserError(
                f"{name}: counterfactual: not possible with {section}.{key}: only a model that is trained "
                "here, and what it generates, can be made again without some images"
            )
    queries, images = (settings["counterfactual"].get(key) for key in ("queries", "images"))
    if not queries or not images:
        raise UserError(
            f"{name}: counterfactual.{'images' if queries else 'queries'}: not set; say for how many "
            "generated images (queries) models are retrained, and without how many training images (images)"
        )
    for key, found, most in (
        ("queries", queries, settings["generate"]["count"]),
        ("images", images, settings["split"]["train"] - 1),
    ):
        if found > most:
            raise UserError(f"{name}: counterfactual.{key}: found {found}, allowed is at most {most}")
    return dict(settings["counterfactual"])


def _require_keys(settings: dict[str, Any], given: dict[str, Any], name: str) -> None:
    """Refuse keys that are missing, or of no use, because of what the user brings along or leaves out.

    Args:
        given: the settings before defaults were filled in.

    Raises:
        UserError: one line with the file `name` and the key.
    """
    trained, generated = "path" not in settings["model"], "folder" not in settings["queries"]
    retrained = [pool for pool in ("lds", "retrain") if settings[pool]["subsets"]]
    needed = {
        "model": ("family", "unet") * trained,
        "train": ("epochs", "batch_size", "learning_rate") * (trained or bool(retrained)),
        "generate": ("count",) * generated,
        "split": ("train",) * (settings["source"]["kind"] != "folder" or "classes" in settings["source"]),
    }
    for section, keys in needed.items():
        missing = [key for key in keys if key not in settings[section]]
        if missing:
            raise UserError(f"{name}: {section}: required key {', '.join(map(repr, missing))} is missing")
    if retrained and not settings["split"]["val"]:
        raise UserError(
            f"{name}: split.val: found 0, but {retrained[0]} measures losses of held-out images too"
        )
    useless = {
        "model": ("family", "unet", "rank", "dropout") * (not trained),
        "train": ("checkpoints",) * (not trained),
        "generate": ("count", "prompts", "guidance", "steps", "seed") * (not generated),
    }
    for section, keys in useless.items():
        for key in keys:
            if key in given.get(section, {}):
                other = "queries.folder" if section == "generate" else "model.path"
                raise UserError(f"{name}: {section}.{key}: {other} takes its place, remove it")
    if not trained and settings["ensemble"]["seeds"]:
        raise UserError(f"{name}: ensemble.seeds: a model of your own (model.path) has none, remove them")
    if not generated and (settings["model"].get("family") == "lora" or "base" in settings["model"]):
        raise UserError(f"{name}: queries.folder: not supported with low-rank adapters, use generate.prompts")


def _settle_budget(settings: dict[str, Any], given: dict[str, Any], name: str) -> None:
    """Leave one of lds.timesteps and lds.budget.

    Args:
        given: the settings before defaults were filled in.

    Raises:
        UserError: both are there or none is, or what goes with a budget is missing, or is there without.
    """
    lds = settings["lds"]
    if (lds.get("budget") == "auto") != ("reliability" in lds):
        if "reliability" not in lds:
            raise UserError(f"{name}: lds.reliability: not set, budget auto needs it, such as 0.95")
        raise UserError(
            f"{name}: lds.reliability: found {lds['reliability']}, but only budget auto has a use for it, "
            "remove it"
        )
    if "budget" not in lds:
        if lds["timesteps"] is None:
            raise UserError(f"{name}: lds.timesteps: found None, allowed without lds.budget is 1 to 1000")
        return
    if given["lds"].get("timesteps") is not None:
        raise UserError(f"{name}: lds.timesteps: lds.budget takes its place, remove it or make it null")
    if not lds["subsets"]:
        raise UserError(
            f"{name}: lds.budget: lds.subsets is 0, but only retrained models say which timesteps matter"
        )
    del lds["timesteps"]


def _check_dataset(settings: dict[str, Any], name: str) -> None:
    """What the schema cannot say: which keys go together.

    Raises:
        UserError: one line with the file `name` and the key.
    """
    family, source, generate = settings["model"]["family"], settings["source"], settings["generate"]
    conditioned = {
        "model.base": settings["model"].get("base"),
        "model.rank": settings["model"].get("rank"),
        "generate.prompts": generate.get("prompts"),
        "generate.guidance": generate.get("guidance"),
    }
    if FAMILIES[family].latent:
        for key, value in conditioned.items():
            if value is None:
                raise UserError(f"{name}: {key}: not set, model.family lora needs it")
        if "captions" not in source and "table" not in source:
            raise UserError(
                f"{name}: source.captions: not set, model.family lora needs captions; "
                "write a text with {label}, or name a table with a column caption"
            )
        made = sum(part["count"] for part in generate["prompts"])
        if made != generate["count"]:
            raise UserError(f"{name}: generate.count: found {generate['count']}, but the prompts make {made}")
    else:
        given = [key for key, value in conditioned.items() if value is not None]
        if given or "dropout" in settings["model"]:
            key = (given or ["model.dropout"])[0]
            raise UserError(f"{name}: {key}: model.family {family} has no use for it, remove it")
    if settings["train"]["seed"] in settings["ensemble"]["seeds"]:
        raise UserError(
            f"{name}: ensemble.seeds: found {settings['train']['seed']}, which is train.seed; "
            "allowed are other seeds, the model itself is there already"
        )
    judging, learning = (
        {pool["seed"] + pool["seed_step"] * subset for subset in range(pool["subsets"])}
        for pool in (settings["lds"], settings["retrain"])
    )
    if judging & learning:
        raise UserError(
            f"{name}: retrain.seed: random state {min(judging & learning)} also draws a subset of lds; "
            "allowed are seed and seed_step that share none, for methods must not learn from what judges them"
        )
    if source["kind"] == "folder" and "path" not in source:
        raise UserError(f"{name}: source.path: not set, source.kind folder needs it")
    if source["kind"] != "folder" and "table" in source:
        raise UserError(f"{name}: source.table: source.kind {source['kind']} has no use for it, remove it")


def _with_defaults(content: Any, schema: dict[str, Any], shared: dict[str, Any]) -> Any:
    """Content with the schema's defaults for keys that are missing, recursively; `shared` are its $defs."""
    if "$ref" in schema:
        schema = shared[schema["$ref"].removeprefix("#/$defs/")]
    if not isinstance(content, dict):
        return content
    filled = dict(content)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = copy.deepcopy(part["default"])
        if key in filled:
            filled[key] = _with_defaults(filled[key], part, shared)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        named = schema.get("properties", {})
        filled |= {k: _with_defaults(v, others, shared) for k, v in filled.items() if k not in named}
    return filled


def _replace(content: Any, path: list[str | int], value: Any) -> Any:
    """A copy of the content with another value at a path of keys and positions."""
    if not path:
        return value
    copied = content.copy()
    copied[path[0]] = _replace(content[path[0]], path[1:], value)
    return copied


def _describe(error: jsonschema.ValidationError) -> str:
    """One line: key, what was found, what is allowed."""
    key = ".".join(str(part) for part in error.path) or "top level"
    rule, value, limit = error.validator, error.instance, error.validator_value
    if rule == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(value) - set(known))
        return f"{key}: found unknown key {', '.join(map(repr, unknown))}, allowed are {', '.join(known)}"
    if rule == "required":
        missing = [name for name in limit if name not in value]
        return f"{key}: required key {', '.join(map(repr, missing))} is missing"
    if rule == "type" and isinstance(value, str) and _is_number(value):
        wanted = {"integer": "an integer; write digits alone"}.get(
            limit, f"a {limit}; write it with a dot, such as 1.0e-4"
        )
        return f"{key}: found the text {value!r}, expected {wanted}"
    allowed = {
        "type": f"a value of type {limit}",
        "enum": ", ".join(map(str, limit)) if isinstance(limit, list) else "",
        "minimum": f"at least {limit}",
        "maximum": f"at most {limit}",
        "exclusiveMinimum": f"more than {limit}",
        "exclusiveMaximum": f"less than {limit}",
        "minItems": f"at least {limit} entries",
        "uniqueItems": "no entry twice",
        "pattern": f"text that matches {limit}",
        "format": "a regular expression",
        "anyOf": " ".join(error.schema.get("description", "").split()).removesuffix("."),
    }.get(str(rule), f"{rule} {limit}")
    return f"{key}: found {value!r}, allowed is {allowed}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
