"""Results that have moved are continued, and what nothing needs any more can be deleted without harm."""

import os
import shutil
import subprocess
import time

import pytest

from workflow.running import ROOT, Workflow, differing

TARGET = "results/tiny/lds_das.csv"
MODELS, LOSSES = "results/tiny/lds/models", "results/tiny/lds/losses"


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the tiny data set, everything made, which does not keep retrained models any more."""
    workflow = undisturbed.copy(tmp_path)
    workflow.config["datasets"]["tiny"]["jobs"]["keep_models"] = False
    return workflow


def leftovers(workflow, action):
    return workflow.make(f"{action}_leftovers", "--quiet", "all")


def test_retrained_models_are_listed_then_deleted_and_nothing_runs_again(finished):
    stale = finished.folder / ".resume/train-0123456789abcdef"
    stale.mkdir(parents=True)
    then = time.time() - 10 * 86400
    prepared = finished.folder / "results/tiny/images/train.0123456789ab.h5"
    prepared.write_bytes(b"of a run that was killed, and then had other settings")
    for path in (stale, prepared):
        os.utime(path, (then, then))
    assert finished.planned(TARGET) == {}

    said = leftovers(finished, "list")
    assert "retrained models in results/tiny/lds whose losses stand: 16, " in said
    assert "10.0 days  .resume/train-0123456789abcdef" in said
    assert len(list((finished.folder / MODELS).iterdir())) == 16
    assert "half made in results and data, untouched for 7 days: 1, " in said
    assert stale.exists() and prepared.exists()

    assert "deleting: retrained models in results/tiny/lds" in leftovers(finished, "delete")
    assert not any((finished.folder / MODELS).iterdir())
    assert not any((finished.folder / "results/tiny/retrain/models").iterdir())
    assert len(list((finished.folder / LOSSES).iterdir())) == 16
    assert not stale.exists() and not prepared.exists()
    assert finished.planned(TARGET) == {}


def test_models_that_a_data_set_keeps_are_listed_and_stay(finished):
    finished.config["datasets"]["tiny"]["jobs"]["keep_models"] = True
    said = leftovers(finished, "delete")
    assert "found: retrained models in results/tiny/lds whose losses stand; kept" in said
    assert len(list((finished.folder / MODELS).iterdir())) == 16


def test_models_are_trained_again_when_their_losses_must_be_and_go_afterwards(finished, undisturbed):
    leftovers(finished, "delete")
    shutil.rmtree(finished.folder / LOSSES)
    target = f"{LOSSES}/subset-03_seed-1.h5"
    assert finished.planned(target) == {"train_subset_models": 1, "evaluate_subset_models": 1}
    finished.make(target)
    assert differing(undisturbed.folder / LOSSES, finished.folder / LOSSES) == []
    assert not list((finished.folder / MODELS).glob("*/unet/*.safetensors"))


def checkout(folder):
    """The workflow's own files, as somebody has just got them, with the tiny data set's configuration."""
    folder.mkdir(parents=True)
    for name in ("Snakefile", "rules", "workflow", "config", "envs", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    for path in folder.rglob("*"):
        os.utime(path)
    workflow = Workflow(folder)
    workflow.config["datasets"]["tiny"]["model"]["unet"] = "unet.json"
    return workflow


def run_in(workflow, *arguments):
    """Run Snakemake from the folder itself, as a user does."""
    command = workflow.command(*arguments)
    at = command.index("--directory")
    done = subprocess.run(
        command[:at] + command[at + 2 :], cwd=workflow.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_results_in_another_folder_are_continued_not_made_again(tmp_path):
    first = checkout(tmp_path / "here")
    run_in(first, "results/tiny/errors/train.h5")
    second = checkout(tmp_path / "somewhere/else/das")  # all of its files are newer than the results
    shutil.copytree(first.folder / "results", second.folder / "results")
    metadata = ".snakemake/metadata"
    shutil.copytree(first.folder / metadata, second.folder / metadata)
    shutil.rmtree(first.folder)
    assert "Nothing to be done" in run_in(second, "results/tiny/errors/train.h5", "--dry-run")
    planned = run_in(second, "results/tiny/images/gen.h5", "--dry-run", "--quiet", "reason")
    assert "generate_images" in planned
    assert "train_model" not in planned
    assert "prepare_images" not in planned
