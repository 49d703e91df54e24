"""What methods score from, how their dampings are chosen, and the tables that compare them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from das.errors import UserError
from das.jobs.code import SCRIPTS
from das.methods.inputs import INPUTS
from das.pipelines.families import FAMILIES
from das.plan.code import module_code
from das.plan.methods import JOURNEY, evaluated_methods
from das.plan.plan import Plan, Wildcards
from das.plan.pools import counterfactual, losses, outcomes, pool_models
from das.plan.shards import shards
from das.plan.sources import content_of


def scoring_parts(plan: Plan, wildcards: Wildcards) -> dict[str, list[list[str]]]:
    """Files that a method's scores are computed from, by name: of each part, or of all parts at once."""
    method, settings = plan.method(wildcards), plan.dataset(wildcards)
    features = plan.extended["features"].get(method.features, {})
    named = {
        "split": wildcards.split,
        "space": FAMILIES[settings["model"]["family"]].space,
        "features": method.features,
        "gram": method.gram(plan.extended, settings),
        "kernel": method.kernel,
        "patches": method.patches,
        "preconditioner": features.get("preconditioner", {}).get("name"),
        "journey": JOURNEY if method.queries == "journey" else "",
    }
    declared = {
        name: files.where
        for each in INPUTS.values()
        if each.name in method.inputs
        for name, files in each.files.items()
    }
    found = {}
    for name, where in declared.items():
        placeholders = set(re.findall(r"{(\w+)}", where))
        if any(named.get(placeholder, "") is None for placeholder in placeholders):
            continue  # such as the kernel of a method that uses its features' own
        variants = method.variants(settings) if "variant" in placeholders else [""]
        found[name] = [_expanded(plan, wildcards, where, named | {"variant": v}) for v in variants]
    return found


def _expanded(plan: Plan, wildcards: Wildcards, where: str, named: Mapping[str, str | None]) -> list[str]:
    """The files that a path of `das.methods.inputs.Files` stands for, of one part."""
    if "{model}" in where:
        losses(plan, wildcards, "retrain")  # refuses a pool without models
        models = pool_models(plan.dataset(wildcards), "retrain")
        return [f"results/{wildcards.dataset}/{where.format(model=model, **named)}" for model in models]
    path = where.format(shard="{shard}", **named)
    if not path.endswith("/{shard}.h5"):
        return [f"results/{wildcards.dataset}/{path}"]
    folder, split, _ = path.rsplit("/", 2)
    return shards(plan, wildcards, folder, split)


def scoring_files(plan: Plan, wildcards: Wildcards) -> dict[str, list[str]]:
    """These files without their parts, for Snakemake."""
    return {
        name: [file for part in parts for file in part]
        for name, parts in scoring_parts(plan, wildcards).items()
    }


def rule_code(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of the code of a method's scoring rule, and of that by which its candidates are chosen.

    Inputs that a file of the user's declares are part of it; those of the library are code of the scripts.
    """
    method = plan.method(wildcards)
    rules = [method.rule, *([method.candidates.rule] if method.candidates else [])]
    named = [rule.score.__module__ for rule in rules]
    named += [opens.__module__ for name in method.inputs if callable(opens := INPUTS[name].opens)]
    files = {Path(str(sys.modules[name].__file__)).resolve() for name in named}
    ours = sorted(file.relative_to(SCRIPTS).as_posix() for file in files if file.is_relative_to(SCRIPTS))
    of_users = sorted(os.path.relpath(file) for file in files if not file.is_relative_to(SCRIPTS))
    return " ".join([module_code(*ours), *([content_of(*of_users)] if of_users else [])])


def method_options(plan: Plan, wildcards: Wildcards) -> str:
    """Command line options for how a method scores, which decide its result whatever files it reads."""
    method = plan.method(wildcards)
    options = [f"--score {method.rule.name} --split {wildcards.split}"]
    if method.over == "timesteps":
        options.append("--by-timestep")
    if method.dimension:
        options.append(f"--dimension {method.dimension}")
    if method.candidates:
        options.append(f"--candidates-by {method.candidates.by} --candidates {method.candidates.count}")
    return " ".join(options)


def module_options(plan: Plan, wildcards: Wildcards) -> str:
    """Command line option for the files with further scoring rules."""
    files = " ".join(map(shlex.quote, plan.config["method_modules"]))
    return f"--modules {files}" if files else ""


def scoring_options(plan: Plan, wildcards: Wildcards) -> str:
    """Command line options for the files that a method scores from."""
    files = [
        f"--read {name} {' '.join(part)}"
        for name, parts in scoring_parts(plan, wildcards).items()
        for part in parts
    ]
    return " ".join(files)


def dampings(plan: Plan, wildcards: Wildcards) -> list[float]:
    """Those for which a method predicts losses."""
    return plan.config["evaluation"]["dampings"] if plan.method(wildcards).rule.damped else []


def score_damping(plan: Plan, wildcards: Wildcards) -> str | float:
    """How the damping of scores is chosen: held_out, gcv or a number."""
    setting, method = plan.config["scores"]["damping"], plan.method(wildcards)
    if setting == "auto":
        setting = "held_out" if plan.dataset(wildcards)["lds"]["subsets"] else method.damping or "gcv"
    if setting == "gcv" and method.rule.damped and ("errors" not in method.inputs or method.kernel):
        raise UserError(
            f"methods.{method.name}.damping: not set, and gcv needs residuals and the features' own kernel, "
            f"which {method.rule.name} lacks; name a damping, such as 0.1, there or as scores.damping"
        )
    return setting


def score_dampings(plan: Plan, wildcards: Wildcards) -> list[float]:
    """Those that gcv chooses from; none where it does not choose."""
    return dampings(plan, wildcards) if score_damping(plan, wildcards) == "gcv" else []


def damping_table(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The table that says which damping was chosen on held-out subsets; none where it is chosen otherwise."""
    if score_damping(plan, wildcards) != "held_out" or not plan.method(wildcards).rule.damped:
        return []
    return [f"results/{wildcards.dataset}/lds_{wildcards.method}.csv"]


def predictions(plan: Plan, wildcards: Wildcards) -> dict[str, str]:
    """Predictions of a method, by split."""
    folder = f"results/{wildcards.dataset}/predictions/{wildcards.method}"
    return {split: f"{folder}/{split}.h5" for split in plan.method(wildcards).splits}


def _files(wildcards: Wildcards, pattern: str, methods: Sequence[str]) -> list[str]:
    return [f"results/{wildcards.dataset}/{pattern.format(method=method)}" for method in methods]


def of_evaluated(plan: Plan, wildcards: Wildcards, pattern: str) -> list[str]:
    """A file of each method of the table of the LDS; see `das.plan.methods.evaluated_methods`."""
    return _files(wildcards, pattern, evaluated_methods(plan.config, plan.dataset(wildcards)))


def ablation_changes(plan: Plan, wildcards: Wildcards) -> str:
    """The changes of the ablation as JSON."""
    return json.dumps([vars(change) for change in plan.changes])


def of_ablation(plan: Plan, wildcards: Wildcards, pattern: str) -> list[str]:
    """A file of the base method of the ablation and of each of its changes."""
    names = [plan.config["ablation"]["base"], *(change.method for change in plan.changes)]
    return _files(wildcards, pattern, names)


def of_report(plan: Plan, wildcards: Wildcards, pattern: str) -> list[str]:
    """A file on the LDS of each of the page's methods; none where no models are retrained."""
    if not plan.dataset(wildcards)["lds"]["subsets"]:
        return []
    return _files(wildcards, pattern, plan.config["report"]["methods"])


def report_counterfactual(plan: Plan, wildcards: Wildcards) -> list[str]:
    """Table and plot of the counterfactual evaluation, where the page shows it."""
    if not plan.config["report"]["counterfactual"]:
        return []
    counterfactual(plan, wildcards)
    return [f"results/{wildcards.dataset}/counterfactual.{suffix}" for suffix in ("csv", "png")]


def report_outcomes(plan: Plan, wildcards: Wildcards) -> list[str]:
    """What was generated in the counterfactual evaluation, where the page shows it."""
    return outcomes(plan, wildcards) if plan.config["report"]["counterfactual"] else []
