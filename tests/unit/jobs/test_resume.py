"""A job that is killed continues: whole blocks are kept, other settings start anew, orphans exclude."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from das.jobs import code, resume
from das.jobs.resume import compute_blocks, image_blocks, job_key, job_state

SCRIPTS = Path(resume.__file__).parents[2]


def test_blocks_cover_the_range_and_are_aligned():
    found = image_blocks(10, 50, 16)
    assert found == [range(10, 16), range(16, 32), range(32, 48), range(48, 50)]
    assert image_blocks(16, 32, 16) == [range(16, 32)]


def test_blocks_that_are_there_are_not_computed_again(tmp_path):
    computed = []

    def compute(block):
        if block.start == 4 and len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(block.start)
        return np.arange(block.start, block.stop)

    blocks = image_blocks(0, 6, 2)
    with pytest.raises(KeyboardInterrupt):
        list(compute_blocks(tmp_path, "x", blocks, compute))
    computed.append("again")
    np.testing.assert_array_equal(
        np.concatenate(list(compute_blocks(tmp_path, "x", blocks, compute))), range(6)
    )
    assert computed == [0, 2, "again", 4]


def test_the_key_depends_on_settings_and_code(tmp_path, monkeypatch):
    def key(settings, script="measure_errors.py"):
        return job_key(settings, "unet", script)

    first = key({"a": 1, "b": 2})
    assert first == key({"b": 2, "a": 1})
    assert first != key({"a": 2, "b": 2})
    assert first != key({"a": 1, "b": 2}, "project_gradients.py")
    # A copy of the code with one edit in a module that decides the result, and one that does not.
    shutil.copytree(code.SCRIPTS / "das", tmp_path / "das")
    monkeypatch.setattr(resume, "SCRIPTS", tmp_path)
    assert first == key({"a": 1, "b": 2})
    (tmp_path / "das/report/plots.py").write_text("")
    assert first == key({"a": 1, "b": 2})
    (tmp_path / "das/diffusion/denoising_error.py").write_text("")
    assert first != key({"a": 1, "b": 2})


def test_state_is_removed_on_success_and_kept_on_failure(tmp_path):
    with pytest.raises(ValueError), job_state(tmp_path, "s", "k") as folder:
        (folder / "part").touch()
        raise ValueError
    with job_state(tmp_path, "s", "k") as folder:
        assert (folder / "part").exists()
    assert list(tmp_path.iterdir()) == []


HOLD = """
import logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fcntl
fcntl.flock = getattr(fcntl, sys.argv[4])
from das.jobs.resume import job_state
logging.basicConfig(level=logging.INFO)
with job_state(Path(sys.argv[2]), "s", "k") as folder:
    print(sorted(p.name for p in folder.iterdir()), flush=True)
    (folder / "held").touch()
    print("holding", flush=True)
    if sys.argv[3] == "hold":
        sys.stdin.readline()
"""


def start(tmp_path, mode, locks="flock"):
    command = [sys.executable, "-c", HOLD, str(SCRIPTS), str(tmp_path), mode, locks]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_second_process_waits_for_the_first_and_continues_its_state(tmp_path):
    with start(tmp_path, "hold") as orphan:
        assert orphan.stdout.readline() == "[]\n"
        assert orphan.stdout.readline() == "holding\n"
        second = start(tmp_path, "end")
        assert "waiting for it to end" in second.stderr.readline()
        orphan.kill()
        assert second.stdout.readline() == "['held']\n"
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("locks", ["flock", "lockf"])
def test_a_process_that_ends_well_leaves_its_state_to_the_one_that_waits(tmp_path, locks):
    """Also with the locks by which NFS provides the others."""
    with start(tmp_path, "hold", locks) as orphan:
        assert orphan.stdout.readline() == "[]\n"
        second = start(tmp_path, "end", locks)
        assert "waiting for it to end" in second.stderr.readline()
        until_locked(tmp_path / "s-k.waiting", getattr(fcntl, locks))
        orphan.communicate("\n")
        assert orphan.returncode == 0
        assert second.stdout.readline() == "['held']\n"
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    assert list(tmp_path.iterdir()) == []


def until_locked(path, lock):
    """Wait until another process holds a lock on a file."""
    while True:
        with open(path, "a") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return


def test_a_killed_process_that_waited_leaves_nothing_behind(tmp_path):
    (tmp_path / "s-k.waiting").touch()
    with job_state(tmp_path, "s", "k"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_block_is_computed_again(tmp_path, caplog):
    blocks = image_blocks(0, 6, 2)

    def compute(block):
        return np.arange(block.start, block.stop)

    list(compute_blocks(tmp_path, "x", blocks, compute))
    damaged = sorted(tmp_path.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    computed = []

    def computing(block):
        computed.append(block.start)
        return compute(block)

    found = np.concatenate(list(compute_blocks(tmp_path, "x", blocks, computing)))
    np.testing.assert_array_equal(found, range(6))
    assert computed == [2]
    assert f"{damaged} is damaged" in caplog.text
