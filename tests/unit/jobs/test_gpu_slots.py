"""Jobs of one machine have GPUs of their own; ids are made up, no GPU is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from das.errors import UserError
from das.jobs import gpu_slots

SCRIPT = Path(gpu_slots.__file__).parents[2] / "on_gpus.py"
SHOW = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.readline()"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """GPUs 0, 1 and 3, whose locks are this test's own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,3")
    monkeypatch.setenv("SLURM_JOB_ID", f"{os.getpid()}-{tmp_path.name}")


def start(count, program=SHOW):
    """A job on so many GPUs that says which it sees, and ends with its standard input."""
    command = [sys.executable, SCRIPT, str(count), sys.executable, "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_jobs_see_gpus_of_their_own_and_wait_for_one_that_is_free():
    with start(1) as first, start(2) as second:
        seen = [job.stdout.readline().strip() for job in (first, second)]
        assert sorted(",".join(seen).split(",")) == ["0", "1", "3"]
        third = start(1)
        assert "waiting for 1 of the GPUs 0, 1, 3" in third.stderr.readline()
        first.communicate("\n")
        assert third.stdout.readline().strip() == seen[0]
        third.communicate("\n")
        second.communicate("\n")


def test_a_killed_job_frees_its_gpus():
    with start(3) as first:
        assert first.stdout.readline() == "0,1,3\n"
        first.kill()
        first.wait()
        with start(3) as second:
            assert second.stdout.readline() == "0,1,3\n"
            second.communicate("\n")


def test_more_gpus_than_there_are_is_one_line():
    with start(4) as job:
        output, errors = job.communicate()
    assert (job.returncode, output) == (1, "")
    assert errors == "error: jobs.gpus: 4 asked for, visible are 3 (0, 1, 3)\n"


def test_a_job_without_gpus_and_a_machine_without_any_change_nothing(monkeypatch):
    with start(0) as job:
        assert job.communicate("\n")[0] == "0,1,3\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with start(1) as job:
        assert job.communicate("\n")[0] == "\n"


def test_jobs_of_a_scheduler_do_not_wait_for_each_other(monkeypatch):
    """Their ids may be relative to the job: here each has been given "0"."""
    for number in ("7", "8"):
        first = gpu_slots.hold(1, ["0"], {"SLURM_JOB_ID": "6"})
        second = gpu_slots.hold(1, ["0"], {"SLURM_JOB_ID": number})
        with first as one, second as other:
            assert one == other == ["0"]


def test_more_than_all_is_refused():
    with (
        pytest.raises(UserError, match=r"jobs\.gpus: 2 asked for, visible are 1"),
        gpu_slots.hold(2, ["5"], {}),
    ):
        pass


def test_without_a_choice_the_machine_is_asked(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_slots.visible_gpus({}) == ["0", "1"]
    program.unlink()
    assert gpu_slots.visible_gpus({}) == []
