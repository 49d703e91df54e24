"""The whole DAG runs from nothing, and a change rebuilds what depends on it and nothing else."""

import copy
import json
import os
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import kendalltau, spearmanr
from sklearn.model_selection import train_test_split

import tiny_sd
from das.diffusion import models
from das.lds import COLUMNS, MAIN_RULES
from workflow.conftest import ALL, METHODS
from workflow.running import ROOT, Workflow, overwrite_one_byte

TARGET = "results/tiny/lds.csv"
SUBSET_MODEL = "lds/models/subset-03_seed-1"


def datasets(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def test_the_whole_dag_makes_a_table_of_all_methods(undisturbed):
    results = undisturbed.folder / "results/tiny"
    table = pd.read_csv(results / "lds.csv")
    assert list(table.columns) == list(COLUMNS)
    assert table.method.nunique() == len(METHODS)
    assert set(table[table.method == "das"].damping_rule) == {"held_out", "gcv", "oracle"}
    assert set(table[table.method == "raw_cos"].damping_rule) == {"none", "oracle"}
    oracle, others = table[table.damping_rule == "oracle"], table[table.damping_rule != "oracle"]
    assert oracle[["boot_mean", "boot_std"]].notna().all(axis=None)
    assert (others.ci_low < others.lds).all()
    assert (others.lds < others.ci_high).all()
    assert table.ceiling.notna().all()  # two seeds
    for picture in ("lds.png", "lds_subsets.png", "images/gen.png"):
        assert (results / picture).read_bytes().startswith(b"\x89PNG")
    assert not (undisturbed.folder / ".resume").exists() or not any(
        (undisturbed.folder / ".resume").iterdir()
    )


def test_snakemakes_own_report_has_the_results_with_captions(undisturbed, tmp_path):
    page = tmp_path / "page.html"
    undisturbed.make(*ALL, "--report", str(page))
    text = page.read_text()
    for name in ("lds.csv", "lds.png", "lds_pairs.csv", "gen.png"):
        assert f"results/tiny/{'images/' * (name == 'gen.png')}{name}" in text
    for caption in ("lds", "lds_pairs", "generated"):
        words = (ROOT / f"workflow/report/{caption}.rst").read_text().split()
        assert " ".join(words[:4]) in text
    assert "How far to trust it" in text
    assert "Which images mattered" in text


def test_the_lds_of_pixels_follows_from_the_files_by_hand(undisturbed):
    """raw_cos needs no kernel: images, subsets and losses alone give its LDS, through scipy."""
    results = undisturbed.folder / "results/tiny"
    train, val = (datasets(results / f"images/{s}.h5")["images"].reshape(-1, 64) for s in ("train", "val"))
    train, val = (x / 127.5 - 1 for x in (train.astype(float), val.astype(float)))
    scores = (val @ train.T) / np.outer(np.linalg.norm(val, axis=1), np.linalg.norm(train, axis=1))
    membership = datasets(results / "subsets.h5")["membership"]
    losses = [
        [datasets(results / f"lds/losses/subset-{s:02d}_seed-{r}.h5")["val"].mean(0) for s in range(8)]
        for r in (0, 1)
    ]
    measured, predicted = np.mean(losses, axis=0), -(membership @ scores.T)
    spearman, kendall = (
        np.mean([correlation(predicted[:, q], measured[:, q])[0] for q in range(12)])
        for correlation in (spearmanr, kendalltau)
    )
    table = pd.read_csv(results / "lds_raw_cos.csv").set_index(["split", "damping_rule"])["lds"]
    assert table["val", "oracle"] == pytest.approx(100 * spearman, abs=1e-3)
    unbiased = (9 * spearman - 3 * kendall) / 6  # Hoeffding's identity for 8 subsets
    assert table["val", "none"] == pytest.approx(100 * unbiased, abs=1e-3)


def test_comparisons_are_of_all_methods_and_agree_with_the_table(undisturbed):
    results = undisturbed.folder / "results/tiny"
    table = pd.read_csv(results / "lds.csv")
    lds = table[table.damping_rule.isin(MAIN_RULES)].set_index(["split", "method"]).lds
    queries = pd.read_csv(results / "lds_queries.csv")
    means = queries.groupby(["split", "method"]).lds.mean()
    np.testing.assert_allclose(means, lds.reindex(means.index), atol=1e-3)
    assert len(means) == 2 * len(METHODS) - 1  # journey_trak scores generated queries alone
    pairs = pd.read_csv(results / "lds_pairs.csv")
    assert len(pairs) == len(METHODS) * (len(METHODS) - 1) / 2 + (len(METHODS) - 1) * (len(METHODS) - 2) / 2
    assert (pairs.difference >= 0).all()
    for row in pairs.itertuples():
        expected = lds[row.split, row.method] - lds[row.split, row.other]
        assert row.difference == pytest.approx(expected, abs=1e-3)
    subsets = pd.read_csv(results / "lds_subsets.csv").set_index(["split", "method"])
    assert set(subsets.n_subsets) == {8}
    np.testing.assert_allclose(subsets.lds_mean, lds.reindex(subsets.index), atol=1e-3)


def test_scores_are_those_of_the_formula(undisturbed):
    """das of the stored features, errors and damping, evaluated densely in float64."""
    results = undisturbed.folder / "results/tiny"
    g, q = (
        np.concatenate([datasets(p)["features"] for p in sorted(results.glob(f"gradients/mean/{s}/*.h5"))])
        for s in ("train", "gen")
    )
    g, q = g.astype(np.float64), q.astype(np.float64)
    with h5py.File(results / "scores/das/gen.h5") as file:
        damping, scores = file.attrs["damping_absolute"], file["scores"][()]
        assert "magnitude" in file.attrs["sign_convention"]
    kernel = np.linalg.inv(g.T @ g + damping * np.eye(g.shape[1]))
    residual = np.sqrt(datasets(results / "errors/train.h5")["error"].astype(np.float64)).mean(1)
    leverage = np.einsum("ik,kl,il->i", g, kernel, g)
    np.testing.assert_allclose(
        scores, (q @ kernel @ g.T * residual / (1 - leverage)) ** 2, rtol=1e-4, atol=1e-12
    )


def test_artifacts_carry_where_they_come_from(undisturbed):
    results = undisturbed.folder / "results/tiny"
    weights = set()
    for name in (
        "images/gen.h5",
        "errors/train.h5",
        "gradients/mean/train/shard-001.h5",
        "predictions/das/val.h5",
    ):
        with h5py.File(results / name) as file:
            assert (file.attrs["schema"], file.attrs["dataset"]) == (1, "tiny")
            assert json.loads(file.attrs["settings"])
            assert file.attrs["das_version"]
            weights.add(file.attrs["weights"])
    assert len(weights) == 1
    provenance = json.loads((results / "model/provenance.json").read_text())
    assert provenance["train"]["learning_rate"] == 1e-3
    assert provenance["seconds"] > 0


def test_the_model_is_also_saved_at_its_checkpoints_and_subset_models_are_not(undisturbed):
    """60 images in batches of 16, 3 epochs: 12 steps."""
    results = undisturbed.folder / "results/tiny"
    hashes = {models.weights_sha256(results / "model")}
    folder = results / "model/checkpoints/50"
    hashes.add(models.weights_sha256(folder))
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["checkpoint"] == {"percent": 50, "step": 6, "steps": 12}
    assert len(hashes) == 2
    assert not (results / SUBSET_MODEL / "checkpoints").exists()


def changed(undisturbed, section, key, value):
    """The undisturbed workflow with one value of its configuration changed; for dry runs only."""
    workflow = Workflow(undisturbed.folder)
    workflow.config = copy.deepcopy(undisturbed.config)
    workflow.config.setdefault(section, {}) if section == "evaluation" else None
    part = (
        workflow.config[section] if section == "evaluation" else workflow.config["datasets"]["tiny"][section]
    )
    part[key] = value
    return workflow


GRADIENTS = {"project_gradients", "place_gradients", "project_journeys", "sketch_kernel", "join_kernel"}
SCORES = {"predict_losses", "measure_lds", "summarise_lds", "compare_methods", "score_images"}


def test_nothing_is_done_twice(undisturbed):
    assert undisturbed.planned(*ALL) == {}


def test_a_changed_learning_rate_rebuilds_everything_but_the_images(undisturbed):
    plan = changed(undisturbed, "train", "learning_rate", 2.0e-3).planned(*ALL)
    assert set(plan) == SCORES | {
        "train_model_unet",
        "generate_images",
        "join_images",
        "measure_errors",
        "join_errors",
        "embed_images",
        "compare_patches",
        *GRADIENTS,
        "train_ensemble_unet",
        "train_subset_models",
        "evaluate_subset_models",
        "train_retrain_models",
        "evaluate_retrain_models",
    }


def test_other_checkpoints_retrain_the_model_and_no_subset_model(undisturbed):
    model, subset_model = (f"results/tiny/{name}/model_index.json" for name in ("model", SUBSET_MODEL))
    for checkpoints in ([10], []):
        workflow = changed(undisturbed, "train", "checkpoints", checkpoints)
        assert workflow.planned(model, subset_model) == {"train_model_unet": 1}


def test_changed_timesteps_of_gradients_rebuild_gradients_and_scores_without_training(undisturbed):
    plan = changed(undisturbed, "gradients", "timesteps", 2).planned(*ALL)
    assert set(plan) == SCORES | GRADIENTS


def test_features_are_made_in_one_job_per_shard(undisturbed):
    """Those of the model itself; its checkpoint and the member of its ensemble have a feature each."""
    benchmarks = sorted((undisturbed.folder / "logs/tiny/project_gradients").glob("*.tsv"))
    shards = ("train_000", "train_001", "val_000", "gen_000")
    jobs = [path.name.split(".")[0] for path in benchmarks]
    assert sorted(jobs) == sorted(
        f"{features}_{shard}"
        for features in ("0_2_3_4_5", "loss@checkpoint-50", "mean@seed-5")
        for shard in shards
    )


def test_a_feature_added_later_or_changed_costs_its_own_passes(undisturbed):
    changes = (
        ("evaluation", {"bootstrap": 100, "methods": [*METHODS, "das_gn"]}),
        ("features", {"mean_weighted": {"timestep_weights": "uniform"}}),
    )
    for section, change in changes:
        workflow = Workflow(undisturbed.folder)
        workflow.config = copy.deepcopy(undisturbed.config) | {section: change}
        plan = workflow.planned(TARGET)
        scored = {"predict_losses": 2, "measure_lds": 1, "summarise_lds": 1}
        assert plan == scored | {"project_gradients": 4, "place_gradients": 4}


def test_a_changed_damping_grid_rebuilds_scores_alone(undisturbed):
    plan = changed(undisturbed, "evaluation", "dampings", [0.01, 0.1]).planned(*ALL)
    assert set(plan) == SCORES


@pytest.mark.parametrize(
    "entry",
    [
        {"score": "das_linear", "features": "mean"},
        {"score": "das", "features": "mean", "dimension": 32},
        {"score": "das", "features": "mean", "candidates": {"by": "raw", "count": 5}},
    ],
    ids=["rule", "dimension", "candidates"],
)
def test_a_changed_method_is_scored_anew_and_no_other(undisturbed, entry):
    workflow = Workflow(undisturbed.folder)
    workflow.config = copy.deepcopy(undisturbed.config)
    workflow.config["methods"] = {"das": entry}
    plan = workflow.planned(*ALL)
    jobs = {"measure_lds": 1, "summarise_lds": 1, "compare_methods": 1, "score_images": 1}
    assert plan == jobs | {"predict_losses": 2}


def test_how_to_run_rebuilds_nothing(undisturbed):
    workflow = changed(undisturbed, "jobs", "rows_per_batch", 7)
    workflow.config["execution"] = {"device": "cpu", "checkpoint_seconds": 1}
    assert workflow.planned(*ALL) == {}


def test_another_clip_model_of_the_same_size_and_date_is_noticed(undisturbed, tmp_path):
    workflow = undisturbed.copy(tmp_path)
    overwrite_one_byte(tmp_path / "clip/model.safetensors")
    assert workflow.planned("results/tiny/lds_clip_cos.csv")["embed_images"] == 3


def test_other_sizes_of_jobs_train_nothing(undisturbed):
    plan = changed(undisturbed, "jobs", "images_per_shard", 20).planned(*ALL)
    assert set(plan) == SCORES | GRADIENTS | {"measure_errors", "join_errors"}
    assert plan["measure_errors"] == 2 * 3  # of the model and the member of its ensemble
    # Of the generated images follow their losses and features.
    plan = changed(undisturbed, "jobs", "generated_per_job", 5).planned(*ALL)
    assert plan["generate_images"] == 3
    assert not {rule for rule in plan if rule.startswith(("train", "measure_errors", "sketch"))}
    for size in (1, 3, 8):
        plan = changed(undisturbed, "jobs", "models_per_job", size).planned(*ALL)
        assert not {rule for rule in plan if rule.startswith(("train", "project", "sketch"))}


def test_images_generated_in_several_jobs_are_those_of_one(undisturbed, tmp_path):
    workflow = undisturbed.copy(tmp_path)
    workflow.config["datasets"]["tiny"]["jobs"]["generated_per_job"] = 5
    workflow.make("results/tiny/images/gen.png")
    one, several = (datasets(w.folder / "results/tiny/images/gen.h5") for w in (undisturbed, workflow))
    assert len(list((tmp_path / "results/tiny/images/gen").iterdir())) == 3
    np.testing.assert_array_equal(one["seeds"], several["seeds"])
    difference = several["images"].astype(int) - one["images"]
    assert several["images"].std() > 1
    assert abs(difference).max() <= 1  # rounding, of batches of another size


def test_members_of_the_ensemble_are_the_model_with_other_seeds(undisturbed):
    results = undisturbed.folder / "results/tiny"
    folders = [results / "model", results / "model/seeds/5"]
    said = [json.loads((folder / "provenance.json").read_text()) for folder in folders]
    assert [provenance.pop("seed") for provenance in said] == [1, 5]
    assert all(provenance.pop("seconds") > 0 for provenance in said)
    assert said[0] == said[1]
    assert len({models.weights_sha256(folder) for folder in folders}) == 2
    assert not (folders[1] / "checkpoints").exists()


def test_models_that_methods_learn_from_are_others_than_those_that_judge(undisturbed):
    """Subsets by scikit-learn, the recipe and the measurement those of the models that judge."""
    results = undisturbed.folder / "results/tiny"
    labels = datasets(results / "images/train.h5")["labels"]
    membership = datasets(results / "retrain/subsets.h5")["membership"]
    for subset, drawn in enumerate(membership):
        state = 1042 + 2 * subset
        members, _ = train_test_split(np.arange(60), train_size=0.5, random_state=state, stratify=labels)
        assert np.flatnonzero(drawn).tolist() == sorted(members)
    judging = json.loads((results / SUBSET_MODEL / "provenance.json").read_text())
    for name in (f"subset-{subset:02d}_seed-7" for subset in range(8)):
        said = json.loads((results / f"retrain/models/{name}/provenance.json").read_text())
        assert said["seed"] == 7
        assert {k: v for k, v in said.items() if k not in ("seed", "seconds")} == {
            k: v for k, v in judging.items() if k not in ("seed", "seconds")
        }
        with (
            h5py.File(results / f"retrain/losses/{name}.h5") as file,
            h5py.File(results / "lds/losses/subset-03_seed-1.h5") as other,
        ):
            assert file.attrs["settings"] == other.attrs["settings"]
            assert file["val"].shape == file["gen"].shape == (2, 12)


def test_every_row_of_the_table_says_what_its_method_costs(undisturbed):
    """Seconds and bytes of the files that a method reads; those of retrained models with their training."""
    results = undisturbed.folder / "results/tiny"
    table = pd.read_csv(results / "lds.csv").set_index(["method", "split"])
    table = table[table.damping_rule.isin(MAIN_RULES)]
    read = [*results.glob("gradients/squared/train/*.h5"), *results.glob("gradients/squared/val/*.h5")]
    assert table.loc[("dtrak", "val"), "bytes"] == sum(path.stat().st_size for path in read)
    spent = 0.0
    for path in read:
        with h5py.File(path) as file:
            spent += file.attrs["seconds"]
    assert spent < table.loc[("dtrak", "val"), "seconds"] < spent + 60
    training = [
        json.loads(path.read_text())["seconds"] for path in results.glob("retrain/models/*/provenance.json")
    ]
    assert len(training) == 8
    assert table.loc[("datamodel", "gen"), "seconds"] > sum(training)
    member = json.loads((results / "model/seeds/5/provenance.json").read_text())["seconds"]
    extra = table.loc[("das_ensemble", "val"), "seconds"] - table.loc[("das", "val"), "seconds"]
    assert extra > member
    assert table.loc[("raw_cos", "val"), "bytes"] == 0


def test_the_costs_stand_beside_what_jobs_have_taken(undisturbed, tmp_path):
    workflow = undisturbed.copy(tmp_path)
    workflow.make("results/tiny/cost.csv")
    table = pd.read_csv(tmp_path / "results/tiny/cost.csv").set_index("rule")
    logs = tmp_path / "logs/tiny"
    took = pd.concat(pd.read_csv(path, sep="\t") for path in logs.glob("measure_errors*/*.tsv"))
    assert table.hours_taken["measure_errors"] == pytest.approx(took.s.sum() / 3600, rel=1e-3)
    assert table.memory_gb_taken["measure_errors"] == pytest.approx(
        took.max_rss.max() * 2**20 / 1e9, rel=1e-3
    )
    assert table.hours_taken["total"] > table.hours_taken["train_subset_models"] > 0
    assert workflow.planned("results/tiny/cost.csv") == {}


def blocks_of(page, language):
    """The blocks of code in a page of docs/."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_a_method_of_ones_own_gets_its_row_as_the_page_says(undisturbed, tmp_path):
    """The code, the configuration and the targets of docs/add-a-method.md, from outside the package."""
    workflow = undisturbed.copy(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/methods.py").write_text(blocks_of("add-a-method.md", "python")[0])
    workflow.config |= yaml.safe_load(blocks_of("add-a-method.md", "yaml")[0])
    workflow.config["evaluation"] = workflow.config["evaluation"] | {"methods": [*METHODS, "das_pixels"]}
    plan = workflow.planned(TARGET, "results/tiny/lds_pairs.csv")
    assert plan == {"predict_losses": 2, "measure_lds": 1, "summarise_lds": 1, "compare_methods": 1}
    workflow.make(TARGET, "results/tiny/lds_pairs.csv")
    table = pd.read_csv(tmp_path / TARGET)
    assert table.method.nunique() == len(METHODS) + 1
    assert set(table[table.method == "das_pixels"].split) == {"val", "gen"}
    assert "das_pixels" in set(pd.read_csv(tmp_path / "results/tiny/lds_pairs.csv").method)
    module = tmp_path / "mine/methods.py"
    overwrite_one_byte(module, module.read_text().index('"""') + 3)
    assert workflow.planned(TARGET)["predict_losses"] == 2


def test_an_ablation_changes_one_factor_at_a_time(undisturbed, tmp_path):
    workflow = undisturbed.copy(tmp_path)
    changes = {
        "dimension": [16, 64],
        "parameters": ["^up_blocks"],
        "score": ["das_linear"],
        "candidates": [{"by": "raw", "count": 10}],
    }
    workflow.config["ablation"] = {
        "changes": {"normalise": [], "output": [], "timestep_weights": [], "noise": [], "timesteps": []}
        | changes
    }
    plan = workflow.planned("results/tiny/ablation.csv")
    # Of all dimensions at once, and of up_blocks; of 60, 12 and 12 images in shards of 30.
    assert plan["project_gradients"] == 2 * (2 + 1 + 1)
    assert not {"train_model_unet", "train_subset_models", "measure_errors"} & plan.keys()
    workflow.make("results/tiny/ablation.csv")
    table = pd.read_csv(tmp_path / "results/tiny/ablation.csv")
    lines = [f"{row.factor} {row.value}" for row in table[table.split == "val"].itertuples()]
    assert lines[0] == "base das"
    assert set(lines[1:]) == {
        *(f"dimension {size}" for size in (16, 64)),
        "parameters ^up_blocks",
        "score das_linear",
        "candidates raw 10",
    }
    assert len(lines) == 6
    own = pd.read_csv(tmp_path / "results/tiny/lds_das.csv").set_index(["split", "damping_rule"])
    base = table[table.factor == "base"].set_index("split")
    assert base.loc["val", "lds"] == own.loc[("val", "held_out"), "lds"]
    assert (table.seconds > 0).all()
    assert (tmp_path / "results/tiny/ablation.png").read_bytes().startswith(b"\x89PNG")


def test_models_that_methods_learn_from_can_be_trained_one_to_a_job(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["cifar2"] = {"retrain": {"subsets": 3}}
    plan = workflow.planned(*(f"results/cifar2/retrain/losses/subset-0{s}_seed-0.h5" for s in range(3)))
    assert plan["train_retrain_models_unet"] == plan["evaluate_retrain_models_unet"] == 3
    assert plan["draw_retrain_subsets"] == 1
    assert not {"draw_subsets", "train_subset_models_unet"} & plan.keys()


@pytest.mark.parametrize("damping", ["gcv", 0.1])
def test_scores_need_no_retrained_models_where_the_damping_does_not(tmp_path, damping):
    workflow = Workflow(tmp_path)
    target = "results/tiny/scores/das/gen.h5"
    assert {"train_subset_models", "measure_lds"} <= workflow.planned(target).keys()
    workflow.config["scores"] = {"damping": damping}
    plan = workflow.planned(target)
    assert plan["score_images"] == 1
    assert not {"train_subset_models", "evaluate_subset_models", "draw_subsets", "measure_lds"} & plan.keys()


def test_files_placed_by_hand_are_kept(tmp_path):
    """Whatever their dates say: an edit of the code that downloads must not delete them."""
    tiny_sd.build(tmp_path / "data/models/someone--model")
    for name in ("img_align_celeba.zip", "list_eval_partition.txt"):
        (tmp_path / "data" / name).write_text("placed by hand")
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (0, 0))
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["artbench2"] = {"model": {"base": "someone/model"}}
    plan = workflow.planned("results/celeba/lds_das.csv", "results/artbench2/latents/train.h5")
    assert plan["fetch_file"] == 2, "those of ArtBench"
    assert "fetch_base_model" not in plan
    assert plan["prepare_images"] == 2


PUBLISHED_MODELS = ("cifar2", "cifar10", "celeba", "artbench2", "artbench5", "artbench10")


def test_the_dry_run_of_the_published_data_sets_is_the_protocol(tmp_path):
    """64 subsets x 3 seeds, each trained and evaluated in a job of its own, and nothing is there yet."""
    plan = Workflow(tmp_path).planned(*(f"results/{name}/lds_das.csv" for name in PUBLISHED_MODELS))
    for rule in ("train_subset_models", "evaluate_subset_models"):
        assert plan[f"{rule}_unet"] == plan[f"{rule}_lora"] == 3 * 192
    assert plan["train_model_unet"] == plan["train_model_lora"] == 3
    assert plan["prepare_images"] == plan["draw_subsets"] == plan["generate_images"] == 6
    assert plan["encode_latents"] == 3 * 3
    assert plan["fetch_file"] == 1 + 2 + 2
    assert plan["fetch_base_model"] == 1
    # Shards of the training images; 1000 held-out and 1000 generated ones of each data set are one shard.
    training = [5, 10, 5, 5, 13, 25]
    assert plan["measure_errors"] == sum(training)
    assert plan["project_gradients"] == sum(training) + 6 * 2
    assert plan["predict_losses"] == 6 * 2
