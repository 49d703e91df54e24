"""CIFAR2's own rules and settings run end to end on a small archive of the true byte layout."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

import standins
from workflow.running import UNET, Workflow


@pytest.fixture(scope="module")
def cifar2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar2")
    archive = standins.cifar10_archive(folder / "cifar-10-binary.tar.gz", per_batch=60)
    unet = UNET | {"sample_size": 32, "in_channels": 3, "out_channels": 3}
    (folder / "cifar.json").write_text(json.dumps(unet))
    workflow = Workflow(folder)
    workflow.config["datasets"] = {
        "cifar2": {
            "source": {"path": str(archive.path), "size": archive.size, "sha256": archive.sha256},
            "split": {"train": 24, "val": 6},
            "unet": str(folder / "cifar.json"),
            "train": {"epochs": 2, "batch_size": 8},
            "generate": {"count": 6, "steps": 3},
            "errors": {"timesteps": 4},
            "gradients": {"timesteps": 2, "dimension": 128},
            "lds": {"subsets": 8, "train_seeds": [0], "timesteps": 2, "draws": 2},
            "jobs": {"models_per_job": 8, "rows_per_batch": 16, "images_per_shard": 16, "gpus": 0},
        }
    }
    return workflow


def test_cifar2_runs_end_to_end(cifar2):
    cifar2.make("results/cifar2/lds_das.csv")
    table = pd.read_csv(cifar2.folder / "results/cifar2/lds_das.csv")
    assert list(table.split) == ["val", "val", "gen", "gen"]
    assert table.lds.between(-100, 100).all()
    with h5py.File(cifar2.folder / "results/cifar2/images/train.h5") as file:
        assert list(file.attrs["class_names"]) == ["automobile", "horse"]
        assert file["images"].shape == (24, 32, 32, 3)
        assert np.bincount(file["labels"]).tolist() == [12, 12]


BROKEN = {
    "truncated": (lambda data: data[:-100], "truncated: found"),
    "other content": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "wrong content: found sha256"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_archive_is_one_line(cifar2, tmp_path, kind):
    damage, message = BROKEN[kind]
    source = cifar2.config["datasets"]["cifar2"]["source"]
    workflow = Workflow(tmp_path)
    workflow.config = json.loads(json.dumps(cifar2.config))
    damaged = tmp_path / "cifar-10-binary.tar.gz"
    with open(source["path"], "rb") as file:
        damaged.write_bytes(damage(file.read()))
    workflow.config["datasets"]["cifar2"]["source"]["path"] = str(damaged)
    done = workflow.run("results/cifar2/images/train.h5")
    assert done.returncode == 1
    assert f"error: {damaged}: {message}" in done.stdout
    assert "Traceback" not in done.stdout
