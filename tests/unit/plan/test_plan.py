"""What rules decide: files, jobs and options, and a line for each mistake; without starting Snakemake."""

import copy
import json
from pathlib import Path

import pytest
from snakemake.iocontainers import Wildcards

from das.errors import UserError
from das.methods import METHODS
from das.methods.inputs import INPUTS
from das.plan import evaluation, importance, models, passes, pools, resources, shards, sources
from das.plan.configuration import load_yaml, merge
from das.plan.paths import model_paths
from das.plan.plan import Plan, section, setting
from das.plan.work import Work
from workflow.running import TINY, UNET

ROOT = Path(__file__).parents[3]


def at(**values):
    """Wildcards, as Snakemake gives them to functions."""
    return Wildcards(fromdict=values)


@pytest.fixture
def planning(tmp_path, monkeypatch):
    """A function that loads the plan of the workflow with the tiny data set and some changes."""
    monkeypatch.chdir(tmp_path)
    Path("unet.json").write_text(json.dumps(UNET))
    tiny = copy.deepcopy(TINY)
    tiny["model"]["unet"] = str(tmp_path / "unet.json")

    def plan(change=None):
        config = merge(load_yaml(ROOT / "config/config.yaml"), {"datasets": {"tiny": tiny}})
        return Plan.load(str(ROOT), merge(config, change or {}), {})

    return plan


def dataset(plan, name="tiny"):
    return plan.dataset(at(dataset=name))


def method(plan, name, dataset="tiny", **more):
    return plan.method(at(dataset=dataset, method=name, **more))


def of_losses(**changes):
    """A change of the tiny data set's losses."""
    return {"datasets": {"tiny": {"lds": changes}}}


def network(plan, name):
    return models.network_file(plan, at(dataset=name))


MISTAKES = {
    "unknown data set": (
        {},
        lambda plan: dataset(plan, "nothing"),
        "results/nothing: no data set 'nothing', known are",
    ),
    "unknown method": ({}, lambda plan: method(plan, "magic"), "methods: no 'magic', known are raw_dot"),
    "unknown features": (
        {},
        lambda plan: shards.gradient_settings(plan, at(dataset="tiny", features="magic")),
        "features: no 'magic', known are loss",
    ),
    "unknown kernel": (
        {},
        lambda plan: shards.gradient_settings(plan, at(dataset="tiny", kernel="magic")),
        "kernels: no 'magic', known are gauss_newton",
    ),
    "unknown patches": (
        {},
        lambda plan: shards.patch_settings(plan, at(patches="magic")),
        "patches: no 'magic', known are one_scale, two_scales",
    ),
    "patches that cannot be halved": (
        {"patches": {"two_scales": {"halved": 7}}},
        dataset,
        "config/config.yaml: patches.two_scales.halved: found 7, allowed is",
    ),
    "unknown preconditioner": (
        {},
        lambda plan: shards.preconditioner_json(plan, at(dataset="tiny", preconditioner="magic")),
        "preconditioners: no 'magic', known are ekfac",
    ),
    "preconditioner without a name": (
        {"features": {"mine": {"output": "loss", "preconditioner": {"damping": 1.0}}}},
        dataset,
        "config/config.yaml: features.mine.preconditioner: required key 'name' is missing",
    ),
    "preconditioner without damping": (
        {"features": {"mine": {"output": "loss", "preconditioner": {"name": "ekfac", "damping": 0}}}},
        dataset,
        "config/config.yaml: features.mine.preconditioner.damping: found 0, allowed is more than 0",
    ),
    "expression that is not valid": (
        {"features": {"mine": {"output": "loss", "parameters": "("}}},
        dataset,
        "config/config.yaml: features.mine.parameters: found '(', allowed is a regular expression",
    ),
    "noise of no kind": (
        {"features": {"mine": {"output": "loss", "noise": "common"}}},
        dataset,
        "config/config.yaml: features.mine.noise: found 'common', allowed is own, shared",
    ),
    "checkpoints that are not saved": (
        {"datasets": {"digits": {"train": {"checkpoints": []}}}},
        lambda plan: method(plan, "tracin", "digits"),
        "digits: tracin needs train.checkpoints: none are saved; list percentages",
    ),
    "checkpoint that is not saved": (
        {},
        lambda plan: models.variant_files(plan, at(dataset="tiny", variant="@checkpoint-10")),
        "tiny: train.checkpoints: no 10, known are 25, 50, 75",
    ),
    "journey of held-out images": (
        {},
        lambda plan: method(plan, "journey_trak", split="val"),
        "tiny: journey_trak scores generated queries alone",
    ),
    "scores of held-out images where there are none": (
        {"datasets": {"tiny": {"split": {"val": 0}, "lds": {"subsets": 0}}}},
        lambda plan: method(plan, "raw_cos", split="val"),
        "tiny: split.val: found 0: there are no held-out images to score",
    ),
    "CLIP without a model": (
        {},
        lambda plan: method(plan, "clip_cos"),
        "tiny: clip_cos needs clip.model: not set; name a folder with a CLIP model, or one on the hub",
    ),
    "CLIP that is not there": (
        {"clip": {"model": "nowhere/at/all"}},
        lambda plan: models.clip_model(plan, at(dataset="tiny")),
        "clip.model: no file 'nowhere/at/all/config.json', expected a folder with config.json",
    ),
    "ensemble of one": (
        {},
        lambda plan: method(plan, "das_ensemble"),
        "tiny: das_ensemble needs ensemble.seeds: no further models are trained; list their seeds",
    ),
    "models that are not retrained": (
        {},
        lambda plan: method(plan, "datamodel"),
        "tiny: datamodel needs retrain.subsets: found 0, needed are 8 or more",
    ),
    "LDS without retrained models": (
        {"datasets": {"tiny": {"lds": {"subsets": 0}}}},
        lambda plan: pools.losses(plan, at(dataset="tiny")),
        "tiny: lds.subsets: not set; an LDS needs 8 or more subsets to retrain on",
    ),
    "timesteps and a budget of them": (
        of_losses(budget=4),
        dataset,
        "datasets.tiny: lds.timesteps: lds.budget takes its place, remove it or make it null",
    ),
    "neither timesteps nor a budget": (
        of_losses(timesteps=None),
        dataset,
        "lds.timesteps: found None, allowed without lds.budget is 1 to 1000",
    ),
    "budget of no number": (
        of_losses(timesteps=None, budget=0),
        dataset,
        "lds.budget: found 0, allowed is 1 to 1000 timesteps in the place of evenly spread ones",
    ),
    "budget auto without a reliability": (
        of_losses(timesteps=None, budget="auto"),
        dataset,
        "lds.reliability: not set, budget auto needs it, such as 0.95",
    ),
    "reliability of a fixed budget": (
        of_losses(timesteps=None, budget=4, reliability=0.9),
        dataset,
        "lds.reliability: found 0.9, but only budget auto has a use for it, remove it",
    ),
    "budget without retrained models": (
        of_losses(timesteps=None, budget=4, subsets=0),
        dataset,
        "lds.budget: lds.subsets is 0, but only retrained models say which timesteps matter",
    ),
    "pilot of uniform timesteps": (
        {},
        lambda plan: importance.pilot_files(plan, at(dataset="tiny")),
        "tiny: lds.budget: not set; losses are measured at uniform timesteps",
    ),
    "timesteps without errors": (
        {"datasets": {"digits": {"errors": {"timesteps": 30}}}},
        lambda plan: method(plan, "das_per_timestep", "digits"),
        "das_per_timestep needs errors.timesteps: found 30, needed is a multiple of the gradients' 25",
    ),
    "module that is not there": (
        {"method_modules": ["nowhere.py"]},
        dataset,
        "method_modules: no file",
    ),
    "member of no ensemble": (
        {},
        lambda plan: models.training_seed(plan, at(dataset="tiny", seed="5")),
        "tiny: ensemble.seeds: no 5, known are none",
    ),
    "unknown key": (
        {"datasets": {"digits": {"trane": {}}}},
        lambda plan: dataset(plan, "digits"),
        "(changed by datasets.digits): top level: found unknown key 'trane'",
    ),
    "text for a number": (
        {"datasets": {"digits": {"train": {"learning_rate": "1e-4"}}}},
        lambda plan: dataset(plan, "digits"),
        "train.learning_rate: found the text '1e-4', expected a number",
    ),
    "out of range": (
        {"evaluation": {"bootstrap": 3}},
        dataset,
        "bootstrap: found 3, allowed is at least 100",
    ),
    "unknown scoring rule": (
        {"methods": {"mine": {"score": "magic"}}},
        dataset,
        "methods.mine.score: found 'magic', allowed are clip_cos",
    ),
    "method of the table that does not exist": (
        {"evaluation": {"methods": ["magic"]}},
        dataset,
        "evaluation.methods: found 'magic', allowed are raw_dot",
    ),
    "method called random": (
        {"methods": {"random": {"score": "raw_dot"}}},
        dataset,
        "methods.random: the name is that of random images, choose another",
    ),
    "UNet that is not there": (
        {"datasets": {"digits": {"model": {"unet": "config/models/nowhere.json"}}}},
        lambda plan: network(plan, "digits"),
        "digits: model.unet: no file",
    ),
    "base model that is not there": (
        {"datasets": {"artbench2": {"model": {"base": "/nowhere/model"}}}},
        lambda plan: models.base_model(plan, at(dataset="artbench2")),
        "artbench2: model.base: no file '/nowhere/model/model_index.json', expected a Stable",
    ),
    "no base model": (
        {"datasets": {"digits": {"model": {"family": "lora"}}}},
        lambda plan: dataset(plan, "digits"),
        "model.base: not set, model.family lora needs it",
    ),
    "base model of a model on pixels": (
        {"datasets": {"digits": {"model": {"base": "somewhere"}}}},
        lambda plan: dataset(plan, "digits"),
        "model.base: model.family unet has no use for it",
    ),
    "prompts of another number": (
        {"datasets": {"artbench2": {"generate": {"count": 999}}}},
        lambda plan: dataset(plan, "artbench2"),
        "generate.count: found 999, but the prompts make 1000",
    ),
    "folder without a path": (
        {"datasets": {"digits": {"source": {"kind": "folder"}}}},
        lambda plan: dataset(plan, "digits"),
        "source.path: not set, source.kind folder needs it",
    ),
    "folder that is not there": (
        {"datasets": {"digits": {"source": {"kind": "folder", "path": "nowhere"}}}},
        lambda plan: dataset(plan, "digits"),
        "digits: source.path: no file or folder 'nowhere', expected a folder of images",
    ),
    "published file of another source": (
        {"datasets": {"celeba": {"source": {"files": {"celeba.zip": {"size": 1}}}}}},
        lambda plan: sources.source_files(plan, at(dataset="celeba")),
        "celeba: source.files: unknown file 'celeba.zip', allowed are img_align_celeba.zip",
    ),
    "archive that is not there": (
        {"datasets": {"cifar2": {"source": {"path": "nowhere.tar.gz"}}}},
        lambda plan: sources.source_files(plan, at(dataset="cifar2")),
        "cifar2: source.path: no file or folder 'nowhere.tar.gz'",
    ),
    "two data sets that disagree on a published file": (
        {
            "datasets": {
                "cifar2": {"source": {"files": {"cifar-10-binary.tar.gz": {"size": 1}}}},
                "cifar10": {"source": {"files": {"cifar-10-binary.tar.gz": {"size": 2}}}},
            }
        },
        lambda plan: sources.published_overrides(plan, at(name="cifar-10-binary.tar.gz")),
        "source.files.cifar-10-binary.tar.gz: another data set says otherwise; set source.path",
    ),
    "damping that nothing chooses": (
        {"methods": {"mine": {"score": "trak", "features": "loss"}}, "scores": {"damping": "gcv"}},
        lambda plan: evaluation.score_damping(plan, at(dataset="tiny", method="mine")),
        "methods.mine.damping: not set, and gcv needs residuals and the features' own kernel, which trak",
    ),
    "more rows than images": (
        {"attributions": {"count": 61}},
        lambda plan: shards.train_images(plan, at(dataset="tiny"), "attributions", "count"),
        "attributions.count: found 61, allowed is at most 60, the training images of tiny",
    ),
    "counterfactual without its section": (
        {},
        lambda plan: pools.outcomes(plan, at(dataset="tiny")),
        "tiny: counterfactual.queries: not set",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(planning, mistake):
    change, decide, message = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        decide(planning(change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_one_data_set_stops_no_other(planning):
    plan = planning({"datasets": {"odd": {"source": {"kind": "digits"}, "surprise": 1}}})
    assert dataset(plan)["split"]["train"] == 60
    for stop in (lambda: dataset(plan, "odd"), lambda: plan.require_targets(["results/odd/anything"])):
        with pytest.raises(UserError, match=r"datasets\.odd: top level: found unknown key 'surprise'"):
            stop()
    with pytest.raises(UserError, match="results/tyni: no data set 'tyni', known are"):
        plan.require_targets(["results/tyni/images/gen.png"])
    plan.require_targets(["results/tiny/lds.csv", "--dry-run"])


def test_values_and_sections_are_those_of_the_data_set(planning):
    plan, tiny = planning(), at(dataset="tiny")
    assert setting(plan, tiny, "train", "epochs") == 3
    trained = json.loads(section(plan, tiny, "train", "seed", "checkpoints"))
    assert trained["batch_size"] == 16
    assert not {"seed", "checkpoints"} & trained.keys()


def test_shards_of_a_split_cover_its_images(planning):
    """60 and 12 images in shards of 25."""
    plan = planning({"datasets": {"tiny": {"jobs": {"images_per_shard": 25, "generated_per_job": 5}}}})
    tiny = at(dataset="tiny", kernel="gauss_newton", variant="@seed-5", split="val")
    folder = "results/tiny"
    assert shards.shards(plan, tiny, "errors{variant}", "train") == [
        f"{folder}/errors@seed-5/train/shard-00{shard}.h5" for shard in range(3)
    ]
    assert shards.shards(plan, tiny, "gradients/mean", "{split}") == [
        f"{folder}/gradients/mean/val/shard-000.h5"
    ]
    assert len(shards.kernel_shards(plan, tiny)) == len(shards.generated_shards(plan, tiny)) == 3
    assert shards.inputs(plan, tiny, "{split}") == f"{folder}/images/val.h5"
    assert shards.inputs(plan, at(dataset="artbench2"), "gen") == "results/artbench2/latents/gen.h5"


PUBLISHED = ("cifar2", "cifar10", "celeba", "artbench2", "artbench5", "artbench10")


def jobs_of(plan, name, *chosen):
    """Models of each job that trains those of a data set in some pools, by the rule's name."""
    found = {}
    for job in pools.pool_jobs(plan, chosen):
        if name in job.datasets.split("|"):
            found[job.name] = job.models
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_models_of_a_published_data_set_are_those_of_the_protocol(planning, name):
    """64 subsets x 3 seeds, each in a job of its own; one rule for all of them."""
    plan, family = planning(), "lora" if name.startswith("artbench") else "unet"
    assert jobs_of(plan, name, pools.DRAWN[0]) == {
        f"subset_models_{family}": ("subset-{subset}_seed-{seed}",)
    }
    losses = pools.losses(plan, at(dataset=name))
    assert len(losses) == 64 * 3
    assert losses[1] == f"results/{name}/lds/losses/subset-01_seed-0.h5"


def test_jobs_of_several_models_have_a_rule_each(planning):
    """8 subsets x 2 seeds, 5 to a job; the counterfactual ones beside them, with the seed of the model."""
    change = {"jobs": {"models_per_job": 5}, "counterfactual": {"queries": 6, "images": 10}}
    plan = planning({"datasets": {"tiny": change}})
    found = jobs_of(plan, "tiny", pools.DRAWN[0])
    assert [len(models) for models in found.values()] == [5, 5, 5, 1]
    assert list(found) == [f"subset_models_tiny_{number}" for number in range(4)]
    assert [model for models in found.values() for model in models] == [
        f"subset-{subset:02d}_seed-{seed}" for seed in (0, 1) for subset in range(8)
    ]
    removed, kept = pools.CHOSEN
    assert jobs_of(plan, "tiny", removed)["counterfactual_remove_tiny_1"] == ("subset-05_seed-1",)
    first = next(job for job in pools.pool_jobs(plan, [kept]) if job.datasets == "tiny")
    assert first.log == "counterfactual_keep/{method}/subset-00_seed-1"
    assert first.files[:5] == model_paths(
        "results/{dataset}/counterfactual/keep/{method}/models/subset-00_seed-1", "unet"
    )


def test_models_that_are_not_kept_have_rules_of_their_own(planning):
    change = {"datasets": {"cifar2": {"jobs": {"keep_models": False}}}}
    jobs = list(pools.pool_jobs(planning(change), pools.DRAWN[:1]))
    [own] = (job for job in jobs if "cifar2" in job.datasets.split("|"))
    [others] = (job for job in jobs if "celeba" in job.datasets.split("|"))
    assert (own.datasets, own.kept, own.name) == ("cifar2", False, "subset_models_unet_temporary")
    assert "cifar10" in others.datasets.split("|")
    assert (others.kept, others.name) == (True, "subset_models_unet")


def test_trainings_are_by_family_and_checkpoints(planning):
    plan = planning({"datasets": {"tiny": {"train": {"checkpoints": [50]}}}})
    found = {training.rule: training for training in models.trainings(plan)}
    tiny = found["train_model_unet_50"]
    assert tiny.datasets == "tiny"
    assert "results/{dataset}/model/checkpoints/50/unet/config.json" in tiny.files
    assert len(tiny.files) == 2 * 5
    assert "artbench2" in found["train_ensemble_lora"].datasets.split("|")
    assert found["train_ensemble_unet"].files[0] == "results/{dataset}/model/seeds/{seed}/model_index.json"


def test_a_method_is_scored_from_its_own_files(planning):
    """das over seeds: features and errors of both models, the main one last."""
    plan = planning({"datasets": {"tiny": {"ensemble": {"seeds": [5]}}}})
    wildcards = at(dataset="tiny", method="das_ensemble", split="gen")
    found = evaluation.scoring_files(plan, wildcards)
    assert found.keys() == {"train_features", "query_features", "train_errors"}
    assert found["train_features"] == [
        f"results/tiny/gradients/mean{variant}/train/shard-00{shard}.h5"
        for variant in ("@seed-5", "")
        for shard in (0, 1)
    ]
    assert found["train_errors"] == [
        "results/tiny/errors@seed-5/train.h5",
        "results/tiny/errors/train.h5",
    ]
    options = evaluation.scoring_options(plan, wildcards)
    assert options.count("--read train_features ") == 2
    assert evaluation.method_options(plan, wildcards) == "--score das --split gen"


@pytest.mark.parametrize(
    ("subsets", "damping", "expected"),
    [(8, "auto", "held_out"), (0, "auto", 0.01), (8, "gcv", "gcv"), (8, 0.1, 0.1)],
)
def test_dampings_are_chosen_by_retrained_models_where_there_are_any(planning, subsets, damping, expected):
    plan = planning({"datasets": {"tiny": {"lds": {"subsets": subsets}}}, "scores": {"damping": damping}})
    wildcards = at(dataset="tiny", method="das", split="gen")
    assert evaluation.score_damping(plan, wildcards) == expected
    table = evaluation.damping_table(plan, wildcards)
    assert table == (["results/tiny/lds_das.csv"] if expected == "held_out" else [])
    assert bool(evaluation.score_dampings(plan, wildcards)) == (expected == "gcv")


def test_a_budget_of_timesteps_takes_the_place_of_uniform_ones(planning):
    """Chosen by the first four models; what is published has uniform ones, and noise that seeds share."""
    tiny, plan = at(dataset="tiny"), planning(of_losses(timesteps=None, budget="auto", reliability=0.9))
    assert importance.timesteps(plan, tiny) == ["results/tiny/lds/timesteps.h5"]
    assert importance.timesteps_option(plan, tiny) == "--timesteps results/tiny/lds/timesteps.h5"
    assert importance.pilot_models(plan, tiny) == [f"subset-0{subset}_seed-0" for subset in range(4)]
    assert json.loads(pools.loss_settings(plan, tiny)).keys() == {
        *("budget", "reliability", "draws", "noise", "precision")
    }
    for name in PUBLISHED:
        there = at(dataset=name)
        assert (importance.timesteps(plan, there), importance.timesteps_option(plan, there)) == ([], "")
        assert json.loads(pools.loss_settings(plan, there)) == {
            "timesteps": 1000,
            "draws": 3,
            "noise": "shared",
            "precision": plan.datasets[name]["lds"]["precision"],
        }


def test_a_budget_that_is_chosen_later_is_planned_with_the_most(planning):
    """16 models, 24 queries and two draws, 1000 timesteps or 50; the pilot has all 24 queries of 4 models."""
    auto = planning(of_losses(timesteps=None, budget="auto", reliability=0.9))
    fixed = planning(of_losses(timesteps=None, budget=50))
    tiny = at(dataset="tiny")
    works = [Work(dataset(plan)) for plan in (planning(), fixed, auto)]
    assert [work.losses for work in works] == [4 * 2, 50 * 2, 1000 * 2]
    assert [work.pilot for work in works] == [0, *[4 * 24 * 100 * 2] * 2]
    assert importance.costs(fixed, tiny).startswith(f"--rows {16 * 24 * 2} --hours ")
    asked = [resources.needs(plan, tiny, "evaluate", 1000).disk_mb for plan in (fixed, auto)]
    assert asked[1] > 15 * asked[0]


@pytest.mark.parametrize(
    ("dimension", "name", "grams"),
    [
        (50, "das", ["mean"]),
        (50, "journey_trak", ["loss"]),
        (50, "das_ensemble", ["mean@seed-5", "mean"]),
        (60, "das", None),  # the kernel of as many images
        (50, "folded", None),
        (50, "das_per_timestep", None),
        (50, "das_gn", None),  # of another kernel
        (50, "grad_dot", None),  # of none
    ],
)
def test_methods_share_the_gram_matrix_of_more_images_than_numbers(planning, dimension, name, grams):
    change = {"gradients": {"dimension": dimension}, "ensemble": {"seeds": [5]}}
    folded = {"score": "trak", "features": "mean", "dimension": 10}
    plan = planning({"datasets": {"tiny": change}, "methods": {"folded": folded}})
    found = evaluation.scoring_files(plan, at(dataset="tiny", method=name, split="gen"))
    assert found.get("grams") == (grams and [f"results/tiny/grams/{gram}.h5" for gram in grams])


def test_more_work_asks_for_more(planning):
    plan = planning({"datasets": {"tiny": {"counterfactual": {"queries": 2, "images": 10}}}})
    tiny = at(dataset="tiny", method="das", features="mean", split="train")
    for kind in (
        *("train", "pilot", "evaluate", "generate", "regenerate", "encode", "errors", "gradients"),
        *("journeys", "kernel", "join_kernel", "gram", "lds", "retrain", "remove", "keep"),
    ):
        needed = resources.needs(plan, tiny, kind)
        assert min(needed) > 0, kind
    one, many = (resources.needs(plan, tiny, "lds", models).disk_mb for models in (1, 1000))
    assert many > 50 * one


def test_preconditioned_features_wait_for_their_preconditioner_and_a_method_pays_for_it(planning):
    """Of the model that they are of; its settings are those of gradients, but for the projection."""
    plan = planning({"datasets": {"tiny": {"train": {"checkpoints": [50]}}}})
    where = {"dataset": "tiny", "variant": "@checkpoint-50", "split": "val"}
    file = "results/tiny/preconditioners/ekfac@checkpoint-50.h5"
    assert passes.preconditioner(plan, at(features="loss_ekfac", **where)) == [file]
    assert passes.preconditioner(plan, at(**where), ["loss_ekfac"]) == [file]
    assert passes.preconditioner(plan, at(features="loss", **where)) == []
    read = evaluation.scoring_files(plan, at(dataset="tiny", method="ekfac", split="gen"))
    assert read["preconditioner"] == ["results/tiny/preconditioners/ekfac.h5"]
    assert "preconditioner" not in evaluation.scoring_files(
        plan, at(dataset="tiny", method="trak", split="gen")
    )
    given = json.loads(shards.preconditioner_json(plan, at(dataset="tiny", preconditioner="ekfac")))
    assert set(given) == {"timesteps", "strategy", "draws", "seed", "noise", "precision", "parameters"}
    needed = resources.needs(plan, at(dataset="tiny", preconditioner="ekfac"), "preconditioner")
    assert min(needed) > 0


def test_scores_follow_the_code_of_a_method_and_of_its_inputs(planning, tmp_path):
    """Both of the user's own, in two files; an edit of either is another code."""
    (tmp_path / "given.py").write_text(
        "from das.methods import Files, Input, declare\n"
        "def opened(files, scene): ...\n"
        "declare(Input('mine', {}, {'mine': Files('mine.h5')}, opened))\n"
    )
    (tmp_path / "scored.py").write_text(
        "from das.methods import method\n@method(inputs=('mine',))\ndef by_mine(block): ...\n"
    )
    change = {"method_modules": ["given.py", "scored.py"], "methods": {"m": {"score": "by_mine"}}}
    wildcards = at(dataset="tiny", method="m", split="val")
    try:
        found = {evaluation.rule_code(planning(change), wildcards)}
        for name in ("given.py", "scored.py"):
            with open(tmp_path / name, "a") as file:
                file.write("# An edit.\n")
            sources.hash_files.cache_clear()
            found.add(evaluation.rule_code(planning(change), wildcards))
        assert len(found) == 3
        assert evaluation.scoring_files(planning(change), wildcards) == {"mine": ["results/tiny/mine.h5"]}
    finally:
        INPUTS.pop("mine", None)
        METHODS.pop("by_mine", None)
