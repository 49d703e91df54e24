"""One factor of a method changed at a time: what each of the paper's speed-ups costs and saves.

Every change becomes a method of its own, `ablation_{factor}_{value}`, and where needed features of the same
name. Changes of the dimension share one gradient pass, at the largest of them, whose features are folded.
Imports nothing heavy, since the workflow reads it whenever it is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from das.errors import UserError

PREFIX = "ablation_"
EXACT = "exact"  # in the place of a dimension: no projection
# Which part of a method a factor belongs to.
OF_METHOD = ("score", "candidates")


@dataclass(frozen=True)
class Change:
    """A factor of the base method with another value, and the method that has it."""

    method: str
    factor: str
    value: str


def changes(config: Mapping[str, Any]) -> list[Change]:
    """All changes that the configuration asks for, in its order."""
    found = []
    for factor, values in config["ablation"]["changes"].items():
        for value in values:
            text = " ".join(map(str, value.values())) if isinstance(value, dict) else str(value)
            name = f"{PREFIX}{factor}_" + re.sub(r"\W+", "_", text).strip("_")
            found.append(Change(name, factor, text))
    names = [change.method for change in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"ablation.changes: two changes would be called {name}")
    return found


def extended(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the features and methods of all changes; for errors see `entries`."""
    features, methods = entries(config)
    return {
        **config,
        "features": config["features"] | features,
        "methods": config["methods"] | methods,
    }


def entries(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Entries of `features` and of `methods` that the changes need.

    Raises:
        UserError: the base method does not exist or uses no features, or two changes have one name.
    """
    base_name = config["ablation"]["base"]
    base = config["methods"].get(base_name)
    if base is None or base.get("features") not in config["features"] or "kernel" in base:
        # A kernel's projection and parameters are its own: they would not change with the features'.
        using = [name for name, m in config["methods"].items() if "features" in m and "kernel" not in m]
        raise UserError(f"ablation.base: found {base_name!r}, allowed are {', '.join(using)}")
    own = config["features"][base["features"]]
    sizes = [size for size in config["ablation"]["changes"].get("dimension", ()) if size != EXACT]
    folded = f"{PREFIX}dimension"
    features, methods = {}, {}
    if sizes:
        features[folded] = own | {"dimension": max(sizes)}
    values = [value for each in config["ablation"]["changes"].values() for value in each]
    for change, value in zip(changes(config), values, strict=True):
        if change.factor in OF_METHOD:
            methods[change.method] = base | {change.factor: value}
        elif change.factor == "dimension" and value != EXACT:
            methods[change.method] = base | {"features": folded, "dimension": value}
        else:
            setting = {"projection": "none"} if value == EXACT else {change.factor: value}
            features[change.method] = own | setting
            methods[change.method] = base | {"features": change.method}
    return features, methods
