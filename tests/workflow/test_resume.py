"""Jobs killed with SIGKILL, one of them together with Snakemake, continue and end with the same artifacts.

Those on latents are in test_standins.py, beside the data set that has them.
"""

import re

import numpy as np
import pytest

from workflow.running import HOOKS, arrays

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

# What to make, by which rule, and after how many saved states it is killed: trainings save one every
# step (checkpoints as often as possible), other jobs one for each block of images.
JOBS = {
    "training": ("train_model_unet", f"results/tiny/model/{WEIGHTS}", 5),
    "training, behind a checkpoint": (
        "train_model_unet",
        f"results/tiny/model/checkpoints/50/{WEIGHTS}",
        9,
    ),
    "training of several models": (
        "train_subset_models",
        f"results/tiny/lds/models/subset-03_seed-0/{WEIGHTS}",
        20,
    ),
    "generation": ("generate_images", "results/tiny/images/gen/shard-000.h5", 1),
    "errors": ("measure_errors", "results/tiny/errors/train/shard-001.h5", 1),
    "journeys": ("project_journeys", "results/tiny/gradients/loss@journey/gen/shard-000.h5", 1),
    "kernel": ("sketch_kernel", "results/tiny/kernels/gauss_newton/shard-000.h5", 1),
    "evaluation": ("evaluate_subset_models", "results/tiny/lds/losses/subset-07_seed-1.h5", 30),
}


def copy_of(workflow, folder):
    """A copy of a finished workflow, in which one artifact at a time is made again."""
    copied = workflow.copy(folder)
    copied.config["execution"] = {"checkpoint_seconds": 0}
    return copied


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_job_continues_to_the_same_bits(undisturbed, tmp_path, job):
    kill_and_continue(undisturbed, tmp_path, *JOBS[job], by_snakemake=job == "training")


def test_gradients_killed_alone_continue_in_company(undisturbed, tmp_path):
    mean, loss = (f"results/tiny/gradients/{name}/train/shard-000.h5" for name in ("mean", "loss"))
    kill_and_continue(undisturbed, tmp_path, "project_gradients", mean, 1, company=[loss])
    assert list((tmp_path / "logs/tiny/project_gradients").glob("0_3_train_000.log"))
    np.testing.assert_array_equal(
        *(arrays(each / loss)["features"] for each in (undisturbed.folder, tmp_path))
    )


def kill_and_continue(finished, folder, rule, target, states, by_snakemake=False, company=()):
    """Kill a job at an exact state; what continues it makes the file that a finished workflow has.

    Files in company are made by the job that continues it, too, but not by the one that is killed.
    """
    copied = copy_of(finished, folder)
    path = copied.folder / target
    path.unlink()
    plan = copied.make(target, "--dry-run", "--printshellcmds", "--nocolor")
    [command] = re.findall(r"^Shell command: (python .+)$", plan, re.MULTILINE)
    assert re.search(rf"^{rule}(?:_\w+)? +1$", plan, re.MULTILINE)
    run = copied.run if by_snakemake else copied.run_job
    what = target if by_snakemake else command

    killed = run(what, KILL_AFTER_STATES=str(states), PYTHONPATH=HOOKS)
    assert killed.returncode == -9, killed.stdout
    assert not path.exists()
    left = [p for p in (copied.folder / ".resume").rglob("*") if p.suffix in (".npy", ".safetensors", ".h5")]
    assert left

    if by_snakemake:
        copied.make("--unlock")
    saved = {p: p.stat().st_mtime_ns for p in left if p.suffix == ".npy"}
    for other in company:
        (copied.folder / other).unlink()
    done = copied.run(target, *company) if company else run(what)
    assert done.returncode == 0, done.stdout
    expected, found = arrays(finished.folder / target), arrays(path)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert not any((copied.folder / ".resume").iterdir()), "the state is removed on success"
    assert all(not p.exists() for p in saved)


def test_two_processes_train_the_model_of_one(undisturbed, tmp_path):
    """Without dropout the two differ by rounding alone: they share each batch, in parts."""
    copied = copy_of(undisturbed, tmp_path)
    copied.config["datasets"]["tiny"]["model"]["unet"] = str(copied.folder / "plain.json")
    text = (copied.folder / "unet.json").read_text()
    (copied.folder / "plain.json").write_text(text.replace('"dropout": 0.1', '"dropout": 0.0'))
    target = f"results/tiny/model/{WEIGHTS}"
    copied.make(target)
    one = arrays(copied.folder / target)
    copied.config["datasets"]["tiny"]["train"] |= {"processes": 2, "accumulation": 3}
    copied.config["execution"] = {"tracking": "tensorboard"}
    copied.make(target)
    assert list((copied.folder / "logs/tensorboard").rglob("events.out.tfevents.*"))
    two = arrays(copied.folder / target)
    assert any(not np.array_equal(one[name], two[name]) for name in one), "the second run used one process"
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-4)
