"""Faults around the jobs: Snakemake is killed or told to end, runs twice, or sees files late.

What is made in the end has the bits of a run without them, and nothing is computed twice beyond the last
saved state. Jobs that are killed are in test_resume.py, faults of a cluster in tests/slurm.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from workflow.running import HOOKS, ROOT, Workflow, differing, heed_interrupts

MODELS = "results/tiny/lds/models"
TARGET = f"{MODELS}/subset-03_seed-0/unet/diffusion_pytorch_model.safetensors"
LOG = "logs/tiny/train_subset_models/subset-00_seed-0.log"
STATES = 20  # of the training's steps, after which it stalls


@pytest.fixture(scope="module")
def faultless(tmp_path_factory):
    """Retrained models and errors, made without a fault; tests must not change it."""
    workflow = Workflow(tmp_path_factory.mktemp("models"))
    workflow.make(TARGET, "results/tiny/errors/train.h5")
    return workflow


@pytest.fixture
def stalling(faultless, tmp_path):
    """A copy of that without the retrained models, whose training saves its state at every step."""
    copied = faultless.copy(tmp_path)
    copied.config["execution"] = {"checkpoint_seconds": 0}
    shutil.rmtree(copied.folder / MODELS)
    for old in copied.folder.rglob("*.log"):
        old.unlink()
    return copied


def start(workflow, target=TARGET):
    """Start Snakemake in a session of its own; its training stalls once, when it has saved so many states."""
    environment = {
        "PYTHONPATH": HOOKS,
        "STALL": f"train_subset_models.py {STATES} {workflow.folder}",
        "WITNESS": str(workflow.folder / "witness"),
    }
    with open(workflow.folder / "output", "w") as output:
        return subprocess.Popen(
            workflow.command(target),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def wait_until_stalled(workflow):
    wait_for((workflow.folder / "stalled").exists)


def let_go(workflow):
    (workflow.folder / "go").touch()


def says(workflow, text):
    log = workflow.folder / LOG
    return log.exists() and text in log.read_text()


def finish(process, workflow):
    """Wait for Snakemake's end, which must be a success, with the right bits and nothing left over."""
    code = process.wait(180)
    assert code == 0, (workflow.folder / "output").read_text()
    assert not any((workflow.folder / ".resume").iterdir())


def times_run(workflow):
    lines = (workflow.folder / "witness").read_text().splitlines()
    return sum(json.loads(line)["script"] == "train_subset_models.py" for line in lines)


def test_snakemake_is_killed_and_its_job_goes_on(stalling, faultless):
    """Started again, it starts the job once more, which waits for the first and takes what that has made."""
    process = start(stalling)
    wait_until_stalled(stalling)
    process.kill()
    process.wait()
    again = start(stalling)
    assert again.wait(60) == 1
    assert "--unlock" in (stalling.folder / "output").read_text()

    stalling.make("--unlock")
    again = start(stalling)
    wait_for(lambda: says(stalling, "waiting for it to end"))
    let_go(stalling)
    finish(again, stalling)
    assert times_run(stalling) == 2
    text = (stalling.folder / LOG).read_text()
    assert "subset-07_seed-1: 100%" in text
    assert not re.search(r": +0%", text), "the second job began a training"
    assert differing(faultless.folder / MODELS, stalling.folder / MODELS) == []


def test_snakemake_told_to_end_waits_for_its_job(stalling, faultless):
    process = start(stalling)
    wait_until_stalled(stalling)
    process.terminate()
    wait_for(lambda: "Will exit after finishing" in (stalling.folder / "output").read_text())
    let_go(stalling)
    assert process.wait(120) == 1
    again = start(stalling)
    finish(again, stalling)
    assert times_run(stalling) == 1
    assert differing(faultless.folder / MODELS, stalling.folder / MODELS) == []


def test_ctrl_c_ends_the_job_which_saves_its_step_and_continues(stalling, faultless):
    process = start(stalling)
    wait_until_stalled(stalling)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(120) == 1
    assert says(stalling, "stopped by SIGINT; what is done is kept, and the job continues there")
    finish(start(stalling), stalling)
    assert times_run(stalling) == 2
    assert differing(faultless.folder / MODELS, stalling.folder / MODELS) == []


def test_a_second_snakemake_is_refused_and_disturbs_nothing(stalling, faultless):
    process = start(stalling)
    wait_until_stalled(stalling)
    second = stalling.run(TARGET)
    assert second.returncode == 1
    assert "cannot be locked" in second.stdout
    let_go(stalling)
    finish(process, stalling)
    assert times_run(stalling) == 1
    assert differing(faultless.folder / MODELS, stalling.folder / MODELS) == []


def test_a_state_cut_short_costs_its_own_model_alone(stalling, faultless):
    process = start(stalling)
    wait_until_stalled(stalling)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    states = sorted((stalling.folder / ".resume").rglob("*.safetensors"))
    assert len(states) == 4  # of six steps each: three are finished, one is not
    states[3].write_bytes(states[3].read_bytes()[:-1000])
    stalling.make("--unlock")
    finish(start(stalling), stalling)
    assert says(stalling, f"{states[3].relative_to(stalling.folder)} is damaged")
    assert not any(says(stalling, f"{state.relative_to(stalling.folder)} is damaged") for state in states[:3])
    assert differing(faultless.folder / MODELS, stalling.folder / MODELS) == []


def test_files_that_appear_late_are_waited_for(faultless, tmp_path):
    copied = faultless.copy(tmp_path)
    shutil.rmtree(copied.folder / "results/tiny/errors")
    done = copied.run("results/tiny/errors/train.h5", PYTHONPATH=HOOKS, LATE="2")
    assert done.returncode == 0, done.stdout
    assert "Waiting at most" in done.stdout
    found = copied.folder / "results/tiny/errors"
    wait_for((found / "train.h5").exists)
    assert differing(faultless.folder / "results/tiny/errors", found) == []
