"""What only a job finds out is one line too, and nothing else that was made is lost."""

import json
import resource
import subprocess
import sys

import pytest

from workflow.running import ROOT


@pytest.fixture
def copied(undisturbed, tmp_path):
    return undisturbed.copy(tmp_path)


def test_an_artifact_cut_short_is_named_and_nothing_else_is_lost(copied):
    shard = copied.folder / "results/tiny/gradients/mean/val/shard-000.h5"
    shard.write_bytes(shard.read_bytes()[:2000])
    done = copied.run("results/tiny/lds_das.csv")
    assert done.returncode == 1
    assert "shard-000.h5: not a complete HDF5 file" in done.stdout
    assert "Traceback" not in done.stdout
    shard.unlink()
    copied.make("results/tiny/lds_das.csv")


def test_a_projection_larger_than_memory_is_refused(copied):
    copied.config = copied.config | {
        "datasets": {
            "tiny": copied.config["datasets"]["tiny"]
            | {"gradients": {"timesteps": 1, "dimension": 1048576}, "jobs": {"rows_per_batch": 1000000}}
        }
    }
    done = copied.run("results/tiny/gradients/mean/val/shard-000.h5")
    assert done.returncode == 1
    assert "error: gradients: dimension 1048576 with 1000000 rows needs 8388" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("script", ["train_model", "measure_errors"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(copied, script):
    """A limit on the size of files stands in for a full disk: writing fails in the middle."""
    results, output = copied.folder / "results/tiny", copied.folder / "new"
    options = {
        "train_model": [
            "--inputs",
            results / "images/train.h5",
            "--model",
            json.dumps({"family": "unet", "unet": str(copied.folder / "unet.json")}),
            "--seed",
            "1",
            "--settings",
            '{"epochs": 1, "batch_size": 60, "learning_rate": 1e-3, "weight_decay": 0, "beta1": 0.9,'
            ' "beta2": 0.99, "warmup": 0, "max_grad_norm": 1, "flip": false}',
            "--output",
            output,
        ],
        "measure_errors": [
            "--model",
            results / "model",
            "--inputs",
            results / "images/train.h5",
            "--settings",
            '{"timesteps": 100, "draws": 1, "seed": 0, "precision": {}}',
            "--shard",
            "0",
            "--images-per-shard",
            "60",
            "--output",
            output / "train.h5",
        ],
    }
    done = subprocess.run(
        [sys.executable, ROOT / f"workflow/scripts/{script}.py", "--dataset", "tiny", *options[script]],
        cwd=copied.folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert "File too large" in done.stdout
    assert "Traceback" not in done.stdout
    assert not output.exists() or not [p for p in output.rglob("*") if p.is_file()]
