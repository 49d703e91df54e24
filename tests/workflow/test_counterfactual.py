"""Counterfactual evaluation: models without the images that a method names generate the queries anew."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler
from PIL import Image
from scipy.spatial.distance import cosine, euclidean

from das.diffusion import models
from das.diffusion.clip import Clip
from das.diffusion.process import to_model_space
from das.noise import image_noise
from workflow.test_dag import datasets

TARGET = "results/tiny/counterfactual.csv"


@pytest.fixture(scope="module")
def finished(undisturbed, tmp_path_factory):
    workflow = undisturbed.copy(tmp_path_factory.mktemp("counterfactual"))
    workflow.config["datasets"]["tiny"]["counterfactual"] = {"queries": 3, "images": 20}
    workflow.config["counterfactual"] = {"methods": ["raw_cos"]}
    workflow.make(TARGET)
    return workflow


def outcome(finished, test, method):
    return datasets(finished.folder / f"results/tiny/counterfactual/{test}/{method}/outcomes.h5")


def test_images_of_the_highest_scores_are_removed_or_kept(finished):
    results = finished.folder / "results/tiny"
    scores = datasets(results / "scores/raw_cos/gen.h5")["scores"]
    for query in range(3):
        order = sorted(range(60), key=lambda image, q=query: (-scores[q, image], image))
        for test, members in (("remove", sorted(order[20:])), ("keep", sorted(order[:20]))):
            row = datasets(results / f"counterfactual/{test}/raw_cos/subsets.h5")["membership"][query]
            assert np.flatnonzero(row).tolist() == members
    draws = datasets(results / "counterfactual/keep/random/subsets.h5")["membership"]
    assert draws.sum(axis=1).tolist() == [20, 20, 20]
    assert len({row.tobytes() for row in draws}) == 3


def test_models_differ_in_their_images_alone(finished):
    """They have the recipe and the seed of the model itself."""
    results = finished.folder / "results/tiny"
    original = json.loads((results / "model/provenance.json").read_text())
    for method in ("raw_cos", "random"):
        folder = results / f"counterfactual/remove/{method}/models/subset-01_seed-1"
        retrained = json.loads((folder / "provenance.json").read_text())
        assert all(retrained[key] == original[key] for key in ("seed", "train", "model", "inputs"))


def test_pictures_come_from_the_noise_of_the_query(finished):
    """diffusers' own DDIM pipeline, started from the generator of the query."""
    found = outcome(finished, "remove", "raw_cos")
    folder = finished.folder / "results/tiny/counterfactual/remove/raw_cos/models/subset-02_seed-1"
    pipeline = DDIMPipeline.from_pretrained(folder)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        generator=torch.Generator().manual_seed(2), num_inference_steps=3, output_type="np"
    ).images
    np.testing.assert_allclose(found["images"][2], (image[0] * 255).round(), atol=1)


def test_what_is_measured_follows_from_the_pictures(finished):
    results = finished.folder / "results/tiny"
    old = datasets(results / "images/gen.h5")["images"]
    clip = Clip(finished.folder / "clip", torch.device("cpu"))
    for test in ("remove", "keep"):
        found = outcome(finished, test, "random")
        for query in range(3):
            new = found["images"][query]
            expected = euclidean(new.ravel() / 255, old[query].ravel() / 255)
            assert found["l2"][query] == pytest.approx(expected, rel=1e-5)
            embedded = clip.embed(np.stack([new, old[query]])).astype(np.float64)
            assert found["clip_cosine"][query] == pytest.approx(1 - cosine(*embedded), abs=1e-6)


def test_losses_are_those_of_both_models_on_the_old_picture(finished):
    """The mean over the timesteps and draws of lds of the squared error, in a plain loop."""
    results = finished.folder / "results/tiny"
    picture = to_model_space(datasets(results / "images/gen.h5")["images"][1:2])
    losses = {}
    for name in ("model", "counterfactual/keep/raw_cos/models/subset-01_seed-1"):
        model = models.load(results / name, torch.device("cpu"))
        errors = []
        for draw in (0, 1):
            for t in (0, 250, 500, 750):
                noise = torch.from_numpy(image_noise("losses/gen", 0, t, draw, range(1, 2), (1, 8, 8)))
                abar = model.scheduler.alphas_cumprod[t]
                with torch.no_grad():
                    predicted = model.network(abar.sqrt() * picture + (1 - abar).sqrt() * noise, t).sample
                errors.append(float((predicted - noise).square().mean()))
        losses[name] = np.mean(errors)
    old, new = losses.values()
    found = outcome(finished, "keep", "raw_cos")
    assert found["loss"][1] == pytest.approx(new, rel=1e-4)
    assert found["loss_difference"][1] == pytest.approx(new - old, rel=1e-3)


def test_the_table_has_the_medians_of_the_queries(finished):
    table = pd.read_csv(finished.folder / TARGET)
    assert len(table) == 2 * 2 * 3  # tests, methods, measures
    queries = pd.read_csv(finished.folder / "results/tiny/counterfactual_queries.csv")
    assert len(queries) == 3 * len(table)
    for row in table.itertuples():
        values = outcome(finished, row.test, row.method)[row.measure]
        assert row.median == pytest.approx(np.median(values), rel=1e-4, abs=1e-7)
        assert row.ci_low <= row.median <= row.ci_high
    assert (finished.folder / "results/tiny/counterfactual.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_the_new_pictures_where_it_is_asked_to(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    page = tmp_path / "results/tiny/report.html"
    workflow.config["report"] = {"methods": ["raw_cos"], "queries": 2, "most": 3}
    workflow.make("results/tiny/report.html")
    assert '"anew": {}' in page.read_text()
    workflow.config["report"]["counterfactual"] = True
    workflow.make("results/tiny/report.html")
    text = page.read_text()
    shown = json.loads(
        text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )
    assert list(shown["anew"]) == ["0", "1"]
    for query, tests in shown["anew"].items():
        for test, entries in tests.items():
            assert [entry["method"] for entry in entries] == ["raw_cos", "random"]
            for entry in entries:
                found = outcome(finished, test, entry["method"])
                assert entry["l2"] == pytest.approx(found["l2"][int(query)])
                picture = Image.open(io.BytesIO(base64.b64decode(entry["image"].partition(",")[2])))
                np.testing.assert_array_equal(np.asarray(picture), found["images"][int(query)][:, :, 0])
        assert list(tests) == ["remove", "keep"]
    assert "20 training images that a method ranks highest" in text


def test_it_runs_once_and_a_change_makes_again_what_depends_on_it(finished, tmp_path):
    assert finished.planned(TARGET) == {}
    workflow = finished.copy(tmp_path)
    workflow.config["counterfactual"]["methods"].append("das")
    assert workflow.planned(TARGET) == {
        "choose_removals": 2,
        "train_counterfactual_remove": 1,
        "train_counterfactual_keep": 1,
        "regenerate_images": 2,
        "summarise_counterfactual": 1,
    }
    workflow.config["counterfactual"]["methods"].pop()
    workflow.config["datasets"]["tiny"]["counterfactual"]["images"] = 10
    assert workflow.planned(TARGET)["choose_removals"] == 4
    assert not {"train_subset_models", "train_model", "score_images"} & workflow.planned(TARGET).keys()


def test_without_the_section_it_says_what_is_missing(undisturbed):
    done = undisturbed.run(TARGET, "--dry-run")
    assert done.returncode == 1
    assert "error: tiny: counterfactual.queries: not set" in done.stdout
