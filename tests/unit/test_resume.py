"""A job that is killed continues: whole blocks are kept, other settings start anew, orphans exclude."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from das import noise, resume
from das.resume import compute_blocks, image_blocks, job_key, job_state

SCRIPTS = Path(resume.__file__).parents[1]


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


def test_the_key_depends_on_settings_and_code():
    assert job_key({"a": 1, "b": 2}, (noise,)) == job_key({"b": 2, "a": 1}, (noise,))
    assert job_key({"a": 1}, (noise,)) != job_key({"a": 2}, (noise,))
    assert job_key({"a": 1}, (noise,)) != job_key({"a": 1}, (noise, resume))


def test_state_is_removed_on_success_and_kept_on_failure(tmp_path):
    with pytest.raises(ValueError), job_state(tmp_path, "s", "k") as folder:
        (folder / "part").touch()
        raise ValueError
    with job_state(tmp_path, "s", "k") as folder:
        assert (folder / "part").exists()
    assert list(tmp_path.iterdir()) == []


HOLD = """
import logging, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from das.resume import job_state
logging.basicConfig(level=logging.INFO)
with job_state(Path(sys.argv[2]), "s", "k") as folder:
    print(sorted(p.name for p in folder.iterdir()), flush=True)
    (folder / "held").touch()
    print("holding", flush=True)
    if sys.argv[3] == "hold":
        time.sleep(600)
"""


def test_a_second_process_waits_for_the_first_and_continues_its_state(tmp_path):
    def start(mode):
        command = [sys.executable, "-c", HOLD, str(SCRIPTS), str(tmp_path), mode]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with start("hold") as orphan:
        assert orphan.stdout.readline() == "[]\n"
        assert orphan.stdout.readline() == "holding\n"
        second = start("end")
        assert "waiting for it to end" in second.stderr.readline()
        orphan.kill()
        assert second.stdout.readline() == "['held']\n"
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    assert list(tmp_path.iterdir()) == []
