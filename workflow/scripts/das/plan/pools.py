"""Models that are retrained on subsets: which there are, in which jobs, and what comes of them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from das.errors import UserError
from das.plan.configuration import require_counterfactual
from das.plan.paths import RANDOM, REMOVE, TESTS, model_name, model_paths
from das.plan.plan import Plan, Settings, Wildcards


@dataclass(frozen=True)
class Pool:
    """Models retrained on subsets.

    Attributes:
        name: that of the section of a data set's settings, or of a counterfactual test.
        models: what rules that train and evaluate call them.
        folder: where they lie in that of the data set.
        subsets: the file of the subsets.
        draw: name of the rule that draws the subsets at random; empty where scores choose them.
    """

    name: str
    models: str
    folder: str
    subsets: str
    draw: str = ""


# Models that judge attributions, and models that some methods learn from, which must be others.
DRAWN = (
    Pool("lds", "subset_models", "lds", "results/{dataset}/subsets.h5", "draw_subsets"),
    Pool(
        "retrain",
        "retrain_models",
        "retrain",
        "results/{dataset}/retrain/subsets.h5",
        "draw_retrain_subsets",
    ),
)
# By the test, for each query a model without the images that a method names, or with them alone.
CHOSEN = tuple(
    Pool(
        test,
        f"counterfactual_{test}",
        f"counterfactual/{test}/{{method}}",
        f"results/{{dataset}}/counterfactual/{test}/{{method}}/subsets.h5",
    )
    for test in TESTS
)
# A model of which a path names subset and seed.
ANY_MODEL = "subset-{subset}_seed-{seed}"


@dataclass(frozen=True)
class PoolJob:
    """A rule that trains, or evaluates, models of a pool: of one job, or of all jobs with one model each.

    The outputs of a job depend on its models, their family and whether they are kept, which no wildcard
    expresses.

    Attributes:
        suffix: of the rule's name.
        datasets: which have it, as a regular expression.
        models: their names, or a pattern of them.
        kept: whether they stay once they are evaluated.
    """

    pool: Pool
    suffix: str
    datasets: str
    family: str
    models: tuple[str, ...]
    kept: bool

    @property
    def name(self) -> str:
        """What rules are called behind their verb."""
        return f"{self.pool.models}_{self.suffix}"

    @property
    def log(self) -> str:
        """Without the suffix, in a folder of the verb; where methods have their own, within that of one."""
        within = "{method}/" if self.pool.name in TESTS else ""
        return f"{self.pool.models}/{within}{self.models[0]}"

    @property
    def files(self) -> list[str]:
        """Those of the models."""
        folder = f"results/{{dataset}}/{self.pool.folder}/models"
        return [file for model in self.models for file in model_paths(f"{folder}/{model}", self.family)]

    @property
    def losses(self) -> list[str]:
        """What is measured of them."""
        return [f"results/{{dataset}}/{self.pool.name}/losses/{model}.h5" for model in self.models]

    @property
    def priority(self) -> int:
        """Before all jobs that wait for none of them, lest one trains alone at the end; longest first."""
        return 2 if self.pool.name == REMOVE else 1


def pool_jobs(plan: Plan, pools: Iterable[Pool]) -> Iterator[PoolJob]:
    """Rules for all jobs on models of the pools."""
    single: dict[tuple[Pool, str, bool], list[str]] = {}
    for pool, (name, settings) in itertools.product(pools, plan.datasets.items()):
        family, jobs = settings["model"]["family"], settings["jobs"]
        models = pool_models(settings, pool.name)
        if models and jobs["models_per_job"] == 1:
            single.setdefault((pool, family, jobs["keep_models"]), []).append(name)
            continue
        size = jobs["models_per_job"]
        for number, first in enumerate(range(0, len(models), size)):
            chosen = tuple(models[first : first + size])
            yield PoolJob(pool, f"{name}_{number}", name, family, chosen, jobs["keep_models"])
    for (pool, family, kept), names in single.items():
        suffix = family if kept else f"{family}_temporary"
        yield PoolJob(pool, suffix, "|".join(names), family, (ANY_MODEL,), kept)


def pool_models(settings: Settings, pool: str) -> list[str]:
    """Names of all models of a data set in a pool."""
    if pool in TESTS:  # with the seed of the model itself
        return [
            model_name(query, settings["train"]["seed"])
            for query in range(settings["counterfactual"]["queries"])
        ]
    return [
        model_name(subset, seed)
        for seed in settings[pool]["train_seeds"]
        for subset in range(settings[pool]["subsets"])
    ]


def pool_folders(plan: Plan, wildcards: Wildcards, keep: bool) -> list[str]:
    """Folders of the retrained models of data sets that keep them, or do not."""
    return [
        str(folder)
        for pool, (name, settings) in itertools.product((*DRAWN, *CHOSEN), plan.datasets.items())
        if settings["jobs"]["keep_models"] == keep
        for folder in sorted(Path("results", name).glob(re.sub("{.*?}", "*", pool.folder)))
    ]


def stratify_option(plan: Plan, wildcards: Wildcards) -> str:
    """Command line option for subsets that are drawn from all images alike."""
    return "" if plan.dataset(wildcards)["split"]["stratify"] else "--no-stratify"


def published_indices(plan: Plan, wildcards: Wildcards, pool: str) -> str:
    """Files with the published subsets of a pool, as JSON."""
    return json.dumps(plan.dataset(wildcards)[pool].get("published_indices") or {})


def losses(plan: Plan, wildcards: Wildcards, pool: str = "lds") -> list[str]:
    """The losses of all retrained models of a pool."""
    settings = plan.dataset(wildcards)
    if not settings[pool]["subsets"]:
        raise UserError(
            f"{wildcards.dataset}: {pool}.subsets: not set; an LDS needs 8 or more subsets to retrain on"
        )
    return [f"results/{wildcards.dataset}/{pool}/losses/{model}.h5" for model in pool_models(settings, pool)]


def loss_settings(plan: Plan, wildcards: Wildcards) -> str:
    """How the loss of a query is measured, as JSON: at so many timesteps, or by a budget of them."""
    lds, keys = (
        plan.dataset(wildcards)["lds"],
        ("timesteps", "budget", "reliability", "draws", "noise", "precision"),
    )
    return json.dumps({key: lds[key] for key in keys if key in lds})


def counterfactual(plan: Plan, wildcards: Wildcards) -> Settings:
    """The section of that name of a data set's settings, which has to ask for something that can be made."""
    return require_counterfactual(plan.dataset(wildcards), wildcards.dataset)


def counterfactual_json(plan: Plan, wildcards: Wildcards) -> str:
    """The same as JSON."""
    return json.dumps(counterfactual(plan, wildcards))


def removal_scores(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The scores by which images are removed, or kept; none where they are drawn at random."""
    if wildcards.method == RANDOM:
        return []
    plan.method(wildcards)  # refuses names that do not exist
    return [f"results/{wildcards.dataset}/scores/{wildcards.method}/gen.h5"]


def counterfactual_models(plan: Plan, wildcards: Wildcards) -> list[str]:
    """The files of the models of all queries that a test and a method have."""
    counterfactual(plan, wildcards)
    settings = plan.dataset(wildcards)
    folder = f"results/{wildcards.dataset}/counterfactual/{wildcards.test}/{wildcards.method}/models"
    return [
        file
        for model in pool_models(settings, wildcards.test)
        for file in model_paths(f"{folder}/{model}", settings["model"]["family"])
    ]


def outcomes(plan: Plan, wildcards: Wildcards) -> list[str]:
    """What was measured in a counterfactual evaluation, a file for every test and method."""
    counterfactual(plan, wildcards)
    methods = (*plan.config["counterfactual"]["methods"], RANDOM)
    return [
        f"results/{wildcards.dataset}/counterfactual/{test}/{method}/outcomes.h5"
        for test, method in itertools.product(TESTS, methods)
    ]
