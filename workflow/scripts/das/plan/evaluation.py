"""What methods score from, how their dampings are chosen, and the tables that compare them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from das.errors import UserError
from das.jobs.code import SCRIPTS, code_of
from das.plan.methods import JOURNEY, evaluated
from das.plan.paths import nameable
from das.plan.plan import Plan, Wildcards
from das.plan.pools import counterfactual, losses, outcomes
from das.plan.shards import inputs, shards
from das.plan.sources import content_of


def scoring_files(plan: Plan, wildcards: Wildcards) -> dict[str, list[str]]:
    """Files that a method's scores are computed from, by name; of several parts, one part after another."""
    method, settings = plan.method(wildcards), plan.dataset(wildcards)
    folder, split = f"results/{wildcards.dataset}", wildcards.split
    variants = method.variants(settings)
    files: dict[str, list[str]] = {}
    if method.features:
        journey = JOURNEY if method.queries == "journey" else ""
        for name, chosen, suffix in (("train", "train", ""), ("query", split, journey)):
            files[f"{name}_features"] = [
                file
                for variant in variants
                for file in shards(plan, wildcards, f"gradients/{method.features}{variant}{suffix}", chosen)
            ]
    if method.kernel:
        files["kernels"] = [f"{folder}/kernels/{method.kernel}{variant}.h5" for variant in variants]
    if "errors" in method.inputs:
        files["train_errors"] = [f"{folder}/errors{variant}/train.h5" for variant in variants]
    if {"images", "image_kernel"} & method.inputs:
        files["train_images"] = [inputs(plan, wildcards, "train")]
        files["query_images"] = [inputs(plan, wildcards, split)]
    if "embeddings" in method.inputs:
        files["train_embeddings"] = [f"{folder}/embeddings/clip/train.h5"]
        files["query_embeddings"] = [f"{folder}/embeddings/clip/{split}.h5"]
    if "retraining" in method.inputs:
        files["retrained_subsets"] = [f"{folder}/retrain/subsets.h5"]
        files["retrained_losses"] = losses(plan, wildcards, "retrain")
    return files


def rule_files(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files that define a method's scoring rule, and that by which its candidates are chosen."""
    method = plan.method(wildcards)
    rules = [method.rule, *([method.candidates.rule] if method.candidates else [])]
    names = dict.fromkeys(os.path.relpath(rule.score.__code__.co_filename, SCRIPTS) for rule in rules)
    ours = code_of(*(name for name in names if not name.startswith("..")))
    scripts = os.path.relpath(SCRIPTS)
    of_users = [os.path.normpath(f"{scripts}/{name}") for name in names if name.startswith("..")]
    return [nameable(file) for file in (*(f"{scripts}/{name}" for name in ours), *of_users)]


def rule_content(plan: Plan, wildcards: Wildcards) -> str:
    """A hash of those files."""
    return content_of(*rule_files(plan, wildcards))


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
    parts = len(plan.method(wildcards).variants(plan.dataset(wildcards)))
    options = [module_options(plan, wildcards)]
    for name, files in scoring_files(plan, wildcards).items():
        flag = f"--{name.replace('_', '-')}"
        size = len(files) // parts if name in ("train_features", "query_features") else len(files)
        options += [f"{flag} {' '.join(files[first : first + size])}" for first in range(0, len(files), size)]
    return " ".join(options)


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
    """A file of each method of the table of the LDS; see `das.plan.methods.evaluated`."""
    return _files(wildcards, pattern, evaluated(plan.config, plan.dataset(wildcards)))


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
