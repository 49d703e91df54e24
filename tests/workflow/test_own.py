"""A model, pictures and images of the user's own: a table of what mattered, and nothing is trained."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.numpy import load_file, save_file

from das.attributions import attributions
from das.data.images import read_texts
from das.jobs import artifacts
from pictures import image_folder
from workflow.running import UNET, Workflow, overwrite_one_byte

TARGET, REPORT = "results/mine/attributions.csv", "results/mine/report.html"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def save_model(folder, seed):
    """What plain diffusers saves of a model, here an untrained one."""
    torch.manual_seed(seed)
    network = UNet2DModel.from_config(UNET | {"in_channels": 3, "out_channels": 3, "dropout": 0.0})
    DDPMPipeline(network, DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("own"))
    folder = workflow.folder
    image_folder(folder / "photographs", per_class=12, size=24)
    pictures = sorted((folder / "photographs").rglob("*.*"))
    (folder / "pictures").mkdir()
    for path in (pictures[0], pictures[-1]):
        shutil.copyfile(path, folder / "pictures" / path.name)
    save_model(folder / "model", 0)
    workflow.config["datasets"] = {
        "mine": {
            "source": {"kind": "folder", "path": "photographs", "crop": "square", "resize": 8},
            "model": {"path": "model"},
            "queries": {"folder": "pictures"},
            "gradients": {"timesteps": 2, "dimension": 64},
            "errors": {"timesteps": 4},
        }
    }
    workflow.config["attributions"] = {"count": 5}
    workflow.make(TARGET, REPORT)
    return workflow


def test_the_table_names_files_and_the_model_is_the_one_that_was_given(finished):
    results = finished.folder / "results/mine"
    table = pd.read_csv(finished.folder / TARGET)
    assert len(table) == 2 * 5  # a magnitude has no lowest
    assert set(table.method) == {"das_gn_shared_raw"}
    for path in table.path:
        assert (finished.folder / "photographs" / path).is_file()
    assert (table.label == table.path.str.split("/").str[0]).all()
    # Both queries are training images; the method's factor of pixels puts each first.
    firsts = table[table["rank"] == 1].set_index("query_path").path
    assert all(path.endswith(f"/{name}") for name, path in firsts.items())
    given, taken = (load_file(folder / WEIGHTS) for folder in (finished.folder / "model", results / "model"))
    assert all(np.array_equal(given[name], taken[name]) for name in given)
    stored = attributions(results, "das_gn_shared_raw", queries=[1], count=5)
    np.testing.assert_allclose(stored.score, table[table["query"] == 1].score, rtol=1e-5)
    assert not (results / "lds").exists()


def test_the_page_shows_both_methods(finished):
    page = (finished.folder / REPORT).read_text()
    assert '"methods": ["das_gn_shared_raw", "raw_kernel"]' in page
    assert "No models were retrained" in page


def test_nothing_is_trained_and_nothing_done_twice(finished):
    assert finished.planned(TARGET, REPORT) == {}
    plan = finished.planned("results/mine/attributions_das.csv", "--forceall")
    assert not {
        rule for rule in plan if rule.startswith(("train", "evaluate", "draw", "predict", "generate"))
    }
    assert plan["measure_errors"] == 1


def scores_of(results):
    """The scores of all training images, by the file of the picture."""
    with artifacts.read(results / "scores/das_gn_shared_raw/gen.h5", "scores") as artifact:
        scores = artifact.read("scores", artifact.shape("scores"), np.float32)
    return pd.DataFrame(scores, index=read_texts(results / "images/gen.h5", "paths"))


def test_another_picture_computes_gradients_of_the_pictures_alone(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    first = next((tmp_path / "photographs").rglob("3-*"))
    shutil.copyfile(first, tmp_path / "pictures/0 comes first.png")
    assert workflow.planned(TARGET) == {
        "take_queries": 1,
        "place_queries": 1,
        "project_gradients": 1,
        "place_gradients": 1,
        "score_images": 1,
        "tabulate_attributions": 1,
    }
    workflow.make(TARGET)
    # It comes first in the order of files, and the scores of the others stay what they were.
    before, after = (scores_of(folder / "results/mine") for folder in (finished.folder, tmp_path))
    np.testing.assert_allclose(after.loc[before.index], before, rtol=1e-4)
    assert list(after.index) == ["0 comes first.png", *before.index]


def contents(folder):
    """What made the images, and what was made of them, by file."""
    return {
        path: path.read_bytes() for path in sorted((folder / "results/mine").rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("folder", ["photographs", "pictures"])
def test_an_image_that_cannot_be_read_costs_nothing(finished, tmp_path, folder):
    workflow = finished.copy(tmp_path)
    before = contents(tmp_path)
    whole = next((tmp_path / folder).rglob("*.png"))
    damaged = whole.with_name("cut short.png")
    damaged.write_bytes(whole.read_bytes()[:200])
    done = workflow.run(TARGET, REPORT)
    assert done.returncode == 1
    message = f"error: {damaged.relative_to(tmp_path)}: damaged image"
    assert message in done.stdout.partition("Exiting because a job execution failed")[2], (
        "once more, at the end"
    )
    assert contents(tmp_path) == before
    damaged.unlink()
    assert workflow.planned(TARGET, REPORT) == {}


def test_images_that_the_model_does_not_fit_cost_nothing(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    before = contents(tmp_path)
    source = workflow.config["datasets"]["mine"]["source"]
    kept = {key: source.pop(key) for key in ("crop", "resize")}
    done = workflow.run(TARGET)
    assert done.returncode == 1
    assert "error: source: images have 24 x 24 pixels, but model.path works on 8 x 8" in done.stdout
    assert contents(tmp_path) == before
    source |= kept
    assert workflow.planned(TARGET) == {}


def test_a_model_that_cannot_be_taken_costs_nothing(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    before, weights = contents(tmp_path), tmp_path / "model" / WEIGHTS
    shutil.copy2(weights, tmp_path / "whole")
    tensors = load_file(weights)
    tensors["conv_out.bias"][0] = float("nan")
    save_file(tensors, weights)
    done = workflow.run(TARGET)
    assert done.returncode == 1
    assert f"error: model/{WEIGHTS}: 'conv_out.bias' holds numbers that are not finite" in done.stdout
    assert contents(tmp_path) == before
    shutil.copy2(tmp_path / "whole", weights)
    assert workflow.planned(TARGET) == {}


def test_a_slash_behind_a_folder_is_the_same_folder(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    for section, key in (("source", "path"), ("model", "path"), ("queries", "folder")):
        workflow.config["datasets"]["mine"][section][key] += "/"
    assert workflow.planned(TARGET) == {}


def test_another_model_takes_the_images_as_they_are(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    save_model(tmp_path / "model", 1)
    plan = workflow.planned(TARGET)
    assert plan["take_model"] == 1
    assert plan["project_gradients"] == 2
    assert "prepare_images" not in plan


@pytest.mark.parametrize(
    ("pattern", "made_again"),
    [
        ("photographs/*/*.png", "prepare_images"),
        ("pictures/*.png", "take_queries"),
        (f"model/{WEIGHTS}", "take_model"),
    ],
)
def test_another_content_of_the_same_size_and_date_is_noticed(finished, tmp_path, pattern, made_again):
    workflow = finished.copy(tmp_path)
    assert workflow.planned(TARGET) == {}
    overwrite_one_byte(next(tmp_path.glob(pattern)))
    assert made_again in workflow.planned(TARGET)


def test_other_dates_of_the_same_files_make_nothing_again(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    for folder in ("photographs", "pictures", "model"):
        for path in (tmp_path / folder).rglob("*.*"):
            path.touch()
    assert workflow.planned(TARGET) == {}


def test_dtrak_is_a_setting(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    workflow.make("results/mine/attributions_dtrak.csv")
    table = pd.read_csv(tmp_path / "results/mine/attributions_dtrak.csv")
    assert set(table.method) == {"dtrak"}
    assert table.groupby("query").score.apply(lambda scores: scores.is_monotonic_decreasing).all()


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("lds_das.csv", {}, "error: mine: lds.subsets: not set; an LDS needs 8 or more subsets"),
        ("attributions.csv", {"model": {"path": "nowhere"}}, "error: mine: model.path: no folder 'nowhere'"),
        (
            "attributions.csv",
            {"queries": {"folder": "none"}},
            "error: mine: queries.folder: 'none' is no folder",
        ),
        ("attributions_journey_trak.csv", {}, "error: mine: journey_trak needs queries.folder: pictures of"),
        ("attributions_tracin.csv", {}, "error: mine: tracin needs models besides that of model.path"),
        ("attributions_grad_trak.csv", {}, "error: methods: no 'grad_trak', known are"),
    ],
)
def test_a_mistake_is_one_line_and_loses_nothing(finished, tmp_path, target, changes, message):
    workflow = finished.copy(tmp_path)
    workflow.config["datasets"]["mine"] |= changes
    done = workflow.run(f"results/mine/{target}")
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert (tmp_path / TARGET).read_bytes() == (finished.folder / TARGET).read_bytes()


def test_a_method_that_lacks_a_damping_is_named_before_anything_runs(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    workflow.config["methods"] = {"plain_trak": {"score": "trak", "features": "loss"}}
    done = workflow.run("results/mine/attributions_plain_trak.csv")
    assert done.returncode == 1
    assert "error: methods.plain_trak.damping: not set, and gcv needs residuals" in done.stdout
    workflow.config["attributions"] = {"method": "typo"}
    done = workflow.run(TARGET)
    assert "error: attributions.method: found 'typo', allowed are " in done.stdout


def test_models_are_not_deleted_beside_another_snakemake(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.output.lock").write_text("results/mine/lds/losses/subset-00_seed-0.h5\n")
    done = workflow.run("delete_leftovers")
    assert done.returncode == 1
    assert "error: another Snakemake works in this folder" in done.stdout


@pytest.mark.parametrize(
    ("target", "section", "key"), [(TARGET, "attributions", "count"), (REPORT, "report", "most")]
)
def test_more_rows_than_images_are_refused_before_anything_is_deleted(
    finished, tmp_path, target, section, key
):
    workflow = finished.copy(tmp_path)
    workflow.config[section] = {key: 1000}
    done = workflow.run(target)
    assert done.returncode == 1
    images = sum(path.is_file() for path in (tmp_path / "photographs").rglob("*"))
    assert f"error: {section}.{key}: found 1000, allowed is at most {images}, the training" in done.stdout
    assert (tmp_path / target).read_bytes() == (finished.folder / target).read_bytes()


@pytest.mark.parametrize("method", ["das_gn_shared_raw", "raw_kernel"])
def test_scores_of_held_out_images_where_there_are_none_are_refused(finished, tmp_path, method):
    done = finished.copy(tmp_path).run(f"results/mine/scores/{method}/val.h5")
    assert done.returncode == 1
    assert "error: mine: split.val: found 0: there are no held-out images to score" in done.stdout
    assert "Traceback" not in done.stdout
