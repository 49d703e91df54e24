"""Published data sets, and a folder of images, are read, and one of each source runs, on stand-ins."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

import standins
from das.diffusion import models
from das.noise import image_noise
from workflow.published import PREPARED, STYLES, WHOLE
from workflow.running import Workflow
from workflow.test_resume import kill_and_continue

# Training images, held-out images, shape of an image, classes.
EXPECTED = {
    "cifar2": (24, 6, (32, 32, 3), ["automobile", "horse"]),
    "cifar10": (40, 10, (32, 32, 3), list(standins.CLASSES)),
    "celeba": (24, 6, (64, 64, 3), ["face"]),
    "artbench2": (24, 6, (32, 32, 3), ["post_impressionism", "ukiyo_e"]),
    "artbench5": (
        20,
        5,
        (32, 32, 3),
        ["post_impressionism", "ukiyo_e", "romanticism", "renaissance", "baroque"],
    ),
    "artbench10": (40, 10, (32, 32, 3), STYLES["artbench10"]),
    "photographs": (20, 4, (16, 16, 3), None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_images_of_a_data_set_are_prepared(published, name):
    results = published.folder / "results" / name
    train, val, shape, classes = EXPECTED[name]
    for split, count in (("train", train), ("val", val)):
        with h5py.File(results / f"images/{split}.h5") as file:
            assert file["images"].shape == (count, *shape)
            if classes:
                assert list(file.attrs["class_names"]) == classes
            assert len(np.unique(file["labels"])) == len(file.attrs["class_names"])
    with h5py.File(results / "subsets.h5") as file:
        assert file["membership"].shape == (8, train)
        assert set(file["membership"][()].sum(1)) == {train // 2}


@pytest.mark.parametrize("name", WHOLE)
def test_a_data_set_runs_end_to_end(published, name):
    results = published.folder / "results" / name
    table = pd.read_csv(results / "lds_das.csv")
    assert set(table.split) == {"val", "gen"}
    # Of 8 subsets, a rank correlation of each of some queries: finite, and of no two queries the same.
    assert table.lds.notna().all()
    assert table.lds.abs().between(1e-6, 100).all()
    assert (results / "images/gen.png").read_bytes().startswith(b"\x89PNG")
    assert published.planned(f"results/{name}/lds_das.csv") == {}


@pytest.mark.parametrize("name", PREPARED)
def test_what_follows_prepared_images_is_planned(published, name):
    plan = published.planned(f"results/{name}/lds_das.csv")
    latent = name.startswith("artbench")
    assert plan[f"train_subset_models_{name}"] == plan[f"evaluate_subset_models_{name}"] == 1
    assert plan.get("encode_latents", 0) == (3 if latent else 0)
    assert not {"prepare_images", "draw_subsets"} & plan.keys()


def test_the_check_of_published_indices_says_that_it_was_not_made(published):
    with h5py.File(published.folder / "results/celeba/subsets.h5") as file:
        assert file.attrs["published_check"] == "no published indices"
    with h5py.File(published.folder / "results/cifar2/images/train.h5") as file:
        assert not file.attrs["published"]
        assert "not the published archive" in file.attrs["source_check"]


@pytest.mark.parametrize("name", STYLES)
def test_prompts_and_captions_are_those_of_the_styles(published, name):
    results = published.folder / "results" / name
    if name in WHOLE:  # its pictures come from two jobs
        assert len(list((results / "images/gen").iterdir())) == len(STYLES[name])
        with h5py.File(results / "images/gen.h5") as file:
            found = [caption.decode() for caption in file["captions"]]
            assert found == [f"a {style.replace('_', ' ')} painting" for style in STYLES[name]]
            assert list(file["seeds"]) == list(range(len(found)))
    with h5py.File(results / "images/train.h5") as file:
        for caption, label in zip(file["captions"], file["labels"], strict=True):
            style = file.attrs["class_names"][label]
            assert caption.decode() == f"a {style.replace('_', ' ')} painting"


def test_latent_models_are_saved_as_adapters_and_work_on_latents(published):
    results = published.folder / "results/artbench2"
    record = json.loads((results / "model/base_model.json").read_text())
    assert (record["rank"], record["latents"]) == (4, [4, 8, 8])
    assert (results / "model/pytorch_lora_weights.safetensors").stat().st_size < 100_000
    assert not (results / "model/unet").exists()
    with h5py.File(results / "latents/train.h5") as file:
        assert file["mean"].shape == (24, 2, 4, 8, 8)  # with mirror images, for training
        latents, encoders = file["mean"][:, 0].reshape(24, -1), file.attrs["weights"]
    assert record["encoders_sha256"] == encoders
    with h5py.File(results / "latents/val.h5") as file:
        assert file["mean"].shape == (6, 1, 4, 8, 8)
        queries = file["mean"][:, 0].reshape(6, -1)
    # raw_cos compares latents: its predictions by a direct evaluation.
    with h5py.File(results / "subsets.h5") as file:
        membership = file["membership"][()]
    cosine = (queries @ latents.T) / np.outer(
        np.linalg.norm(queries, axis=1), np.linalg.norm(latents, axis=1)
    )
    with h5py.File(results / "predictions/raw_cos/val.h5") as file:
        np.testing.assert_allclose(file["prediction"][0], -(membership @ cosine.T), rtol=1e-4)


def test_mixed_precision_is_recorded_with_the_model(published):
    for name, precision in (("celeba", "fp32"), ("artbench2", "bf16")):
        provenance = json.loads((published.folder / f"results/{name}/model/provenance.json").read_text())
        assert provenance["precision"] == precision


@pytest.mark.parametrize(
    ("rule", "file", "states"),
    [
        ("encode_latents", "artbench2/latents/train.h5", 1),
        ("train_model_lora", "artbench2/model/pytorch_lora_weights.safetensors", 3),
        ("measure_pilot", "photographs/lds/pilot.h5", 6),
    ],
)
def test_a_killed_job_continues_to_the_same_bits(published, tmp_path, rule, file, states):
    kill_and_continue(published, tmp_path, rule, f"results/{file}", states)


def test_losses_of_a_budget_are_weighted_means_at_the_timesteps_of_the_pilot(published):
    """4 held-out and 6 generated queries; the loss of one by diffusers' own forward process."""
    results = published.folder / "results/photographs"
    with h5py.File(results / "lds/pilot.h5") as file:
        assert (file["val"].shape, file["gen"].shape) == ((4, 2, 4, 100), (4, 2, 6, 100))
        error = np.concatenate([file[split][()] for split in ("val", "gen")], axis=2).astype(np.float64)
    with h5py.File(results / "lds/timesteps.h5") as file:
        timesteps, weights, bounds, spread = (
            file[name][()] for name in ("timesteps", "weights", "bounds", "spread")
        )
    np.testing.assert_allclose(spread[::10], (error - error.mean(0)).std(axis=(0, 1, 2)), rtol=1e-6)
    assert ((bounds[:-1] <= timesteps) & (timesteps < bounds[1:])).all()
    assert timesteps.shape == (2, 2)
    np.testing.assert_array_equal(weights, np.diff(bounds) / 1000)
    model = models.load(results / "lds/models/subset-05_seed-0", torch.device("cpu"))
    with h5py.File(results / "images/val.h5") as file:
        picture = torch.from_numpy(file["images"][3].transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
    expected = np.zeros(2)
    for draw in (0, 1):
        for t, weight in zip(timesteps[draw].tolist(), weights, strict=True):
            noise = torch.from_numpy(image_noise("losses/val", 0, t, draw, range(3, 4), (3, 16, 16)))
            with torch.no_grad():
                noisy = model.scheduler.add_noise(picture, noise, torch.tensor([t]))
                predicted = model.network(noisy, t).sample
            expected[draw] += weight * float((predicted - noise).square().mean())
    with h5py.File(results / "lds/losses/subset-05_seed-0.h5") as file:
        np.testing.assert_allclose(file["val"][:, 3], expected, rtol=1e-4)
        assert json.loads(file.attrs["settings"])["budget"] == 2


BROKEN = {
    "truncated": (lambda data: data[:-100], "truncated: found"),
    "other content": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "wrong content: found sha256"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_archive_is_one_line(published, tmp_path, kind):
    damage, message = BROKEN[kind]
    workflow = Workflow(tmp_path)
    workflow.config = json.loads(json.dumps(published.config))
    source = workflow.config["datasets"]["cifar2"]["source"]
    damaged = tmp_path / "cifar-10-binary.tar.gz"
    with open(source["path"], "rb") as file:
        damaged.write_bytes(damage(file.read()))
    source["path"] = str(damaged)
    done = workflow.run("results/cifar2/images/train.h5")
    assert done.returncode == 1
    assert f"error: {damaged}: {message}" in done.stdout
    assert "Traceback" not in done.stdout
