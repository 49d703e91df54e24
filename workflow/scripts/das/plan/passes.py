"""Gradient passes that several features share: one job makes all features of a shard that a command asks for.

Snakemake wants to know the outputs of a rule before it looks at what is missing. So this follows the targets
of the command to the shards of features, as the rules do. Those that do not stand and see the same rows get a
rule of their own. What is not found here is left to the rule of one feature: right, only slower.

Within a job on a cluster, Snakemake reads the workflow again, and its arguments name a rule and wildcards in
place of targets. So the name of such a rule says the features, by their positions in the configuration.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from das.errors import UserError
from das.plan import evaluation
from das.plan.plan import Plan, Settings, Wildcards
from das.plan.shards import gradient_settings, gradients_of, gram_shards
from das.plan.sources import request
from das.plan.work import OWN

RULE = "project_gradients"
# A shard of features, and the same before it takes its place. The request is a hash of what decides it beside
# model and images. As parameters, Snakemake would note it for all files of a job at once, and make a feature
# again in other company.
SHARD = "results/{dataset}/gradients/{features}{variant}/{split}/shard-{shard}.h5"
UNPLACED = SHARD.replace(".h5", ".{request}.h5")
# Wildcards of a shard, but for the features.
WHERE = ("dataset", "variant", "split", "shard")


@dataclass(frozen=True)
class Pass:
    """A rule that projects gradients: of the feature that a path names, or of several in one pass.

    Attributes:
        rule: its name.
        log: without the suffix, in the logs of the data set.
        files: what it makes, before they take their place.
        features: names of the several; none for the one.
        only: the wildcards that it is for, as regular expressions; all without it.
    """

    rule: str
    log: str
    files: tuple[str, ...]
    features: tuple[str, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)


class _Named(dict[str, str]):
    """Values by name, as Snakemake gives them to functions."""

    __getattr__ = dict.__getitem__


def passes(plan: Plan, arguments: Sequence[str]) -> Iterator[Pass]:
    """All such rules, that of one feature first.

    Args:
        arguments: of Snakemake's command line.
    """
    log = f"{RULE}/{{features}}{{variant}}_{{split}}_{{shard}}"
    yield Pass(RULE, f"{log}.{{request}}", (UNPLACED,))
    order, shards = list(plan.extended["features"]), dict[tuple[str, ...], list[str]]()
    for (*where, shard), names in _missing(plan, arguments).items():
        settings = {
            name: gradients_of(plan.datasets[where[0]], plan.extended["features"][name])
            for name in sorted(names, key=order.index)
        }
        for together in same_rows(settings):
            if len(together) > 1:
                shards.setdefault((*where, *together), []).append(shard)
    for (dataset, variant, split, *group), numbers in shards.items():
        positions = "_".join(str(order.index(name)) for name in group)
        model = re.sub(r"\W", "_", variant)
        yield Pass(
            f"{RULE}_{dataset}{model}_{split}_{positions}",
            log.replace("{features}", positions),
            tuple(_unplaced(plan, dataset, name) for name in group),
            tuple(group),
            {
                "dataset": dataset,
                "variant": f"({re.escape(variant)})",
                "split": split,
                "shard": "|".join(sorted(numbers)),
            },
        )


def same_rows(settings: Mapping[str, Settings]) -> list[tuple[str, ...]]:
    """Names of features that can share a pass, by settings of theirs that agree on all but `OWN`."""
    found: dict[str, list[str]] = {}
    for name, each in settings.items():
        rows = {key: value for key, value in each.items() if key not in OWN}
        found.setdefault(json.dumps(rows, sort_keys=True), []).append(name)
    return [tuple(names) for names in found.values()]


def pass_settings(plan: Plan, wildcards: Wildcards, features: Sequence[str]) -> dict[str, Settings]:
    """What makes the features of a pass, by name; of the one that a path names where none are given."""
    names = features or [wildcards.features]
    return {name: gradient_settings(plan, _Named({**wildcards, "features": name})) for name in names}


def pass_json(plan: Plan, wildcards: Wildcards, features: Sequence[str]) -> str:
    """The same as JSON."""
    return json.dumps(pass_settings(plan, wildcards, features))


def preconditioner(plan: Plan, wildcards: Wildcards, features: Sequence[str] = ()) -> list[str]:
    """The file of the preconditioner on which the features of a pass agree; none where they have none."""
    [first, *_] = pass_settings(plan, wildcards, features).values()
    if "preconditioner" not in first:
        return []
    path = "results/{dataset}/preconditioners/{name}{variant}.h5"
    return [path.format(**wildcards, name=first["preconditioner"]["name"])]


def unplaced(plan: Plan, wildcards: Wildcards) -> str:
    """The shard that a path names, before it takes its place."""
    gradient_settings(plan, wildcards)  # refuses names that do not exist
    return _unplaced(plan, wildcards.dataset, wildcards.features).format(**wildcards)


def _unplaced(plan: Plan, dataset: str, features: str) -> str:
    """With the other wildcards left open."""
    settings = plan.datasets[dataset]
    made = gradients_of(settings, plan.extended["features"][features])
    asked = request(made, settings["jobs"]["images_per_shard"])
    return UNPLACED.replace("{features}", features).replace("{request}", asked)


def _missing(plan: Plan, arguments: Sequence[str]) -> dict[tuple[str, ...], set[str]]:
    """Names of the features that a command asks for and that do not stand, by values of `WHERE`."""
    known, shards = list(plan.extended["features"]), []
    for argument in arguments:
        if job := re.fullmatch(rf"{RULE}_\w+_(?:train|val|gen)((?:_\d+)+):(.+)", argument):
            where = dict(pair.split("=", 1) for pair in job[2].split(","))
            shards += [where | {"features": known[int(position)]} for position in job[1].split("_")[1:]]
    for file in _followed(plan, [argument for argument in arguments if argument.startswith("results/")]):
        match = re.fullmatch(_SHARD, file)
        if match and match["features"] in known and not os.path.exists(file):
            shards.append(match.groupdict())
    found: dict[tuple[str, ...], set[str]] = {}
    for shard in shards:
        found.setdefault(tuple(shard[key] for key in WHERE), set()).add(shard["features"])
    return found


def _followed(plan: Plan, targets: Iterable[str]) -> list[str]:
    """Targets and the files that they are made from, as far as `_NEEDS` knows."""
    found = dict.fromkeys(targets)
    ahead = list(found)
    while ahead:
        needed = [file for file in _needed(plan, ahead.pop()) if file not in found]
        found |= dict.fromkeys(needed)
        ahead += needed
    return list(found)


def _needed(plan: Plan, file: str) -> Iterable[str]:
    for pattern, needs in _NEEDS.items():
        if match := re.fullmatch(rf"results/(?P<dataset>\w+)/(?:{pattern})", file):
            try:
                return needs(plan, _Named(match.groupdict()))
            except UserError:  # the rule says it
                return ()
    return ()


def _tables(plan: Plan, wildcards: Wildcards) -> Iterable[str]:
    return evaluation.of_evaluated(plan, wildcards, "lds_{method}.csv")


def _scored(plan: Plan, wildcards: Wildcards) -> Iterable[str]:
    parts = evaluation.scoring_files(plan, wildcards).values()
    return [file for files in parts for file in files]


def _scores(wildcards: Wildcards, methods: Iterable[str]) -> list[str]:
    return [f"results/{wildcards.dataset}/scores/{method}/gen.h5" for method in methods]


_SHARD = (
    r"results/(?P<dataset>\w+)/gradients/(?P<features>\w+)(?P<variant>(?:@(?:checkpoint|seed)-\d+)?)"
    r"/(?P<split>train|val|gen)/shard-(?P<shard>\d{3})\.h5"
)
# What files of a data set are made from, as rules/*.smk say; the first pattern that fits.
_NEEDS: dict[str, Callable[[Plan, Wildcards], Iterable[str]]] = {
    r"lds\.(csv|png)|lds_(pairs|queries|subsets)\.csv|lds_subsets\.png": _tables,
    r"(lds_|lds/statistics/)(?P<method>\w+)\.(csv|h5)": lambda plan, wildcards: evaluation.predictions(
        plan, wildcards
    ).values(),
    r"predictions/(?P<method>\w+)/(?P<split>val|gen)\.h5": _scored,
    r"grams/(?P<features>\w+)(?P<variant>(?:@(?:checkpoint|seed)-\d+)?)\.h5": gram_shards,
    r"scores/(?P<method>\w+)/(?P<split>val|gen)\.h5": lambda plan, wildcards: [
        *_scored(plan, wildcards),
        *evaluation.damping_table(plan, wildcards),
    ],
    r"attributions\.csv": lambda plan, wildcards: _scores(wildcards, [plan.config["attributions"]["method"]]),
    r"attributions_(?P<method>\w+)\.csv": lambda plan, wildcards: _scores(wildcards, [wildcards.method]),
    r"report\.html": lambda plan, wildcards: [
        *_scores(wildcards, plan.config["report"]["methods"]),
        *evaluation.of_report(plan, wildcards, "lds_{method}.csv"),
        *evaluation.report_counterfactual(plan, wildcards),
    ],
    r"counterfactual(_queries)?\.(csv|png)": lambda plan, wildcards: _scores(
        wildcards, plan.config["counterfactual"]["methods"]
    ),
    r"ablation\.(csv|png)": lambda plan, wildcards: evaluation.of_ablation(
        plan, wildcards, "lds_{method}.csv"
    ),
}
