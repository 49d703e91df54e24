"""HDF5 files that cannot be read, or seem so: nobody is told to delete what is whole."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from odd_inputs import Row, outcome, rows

from das import cli
from das.errors import UserError
from das.jobs import artifacts, gpu_slots, resume

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
# What a notebook does that leaves a file open, until it is told to end.
HOLD = "import h5py, sys; held = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.readline()"


def write(path, cut=None):
    with artifacts.write(path, "errors", "toy", {}) as file:
        file["error"] = VALUES
    if cut is not None:
        path.write_bytes(path.read_bytes()[:cut])
    return path


def made(content):
    """Makes a file of some bytes."""

    def make(folder):
        path = folder / "a.h5"
        path.write_bytes(content)
        return path

    return make


def dangling(folder):
    (folder / "a.h5").symlink_to("moved/a.h5")
    return folder / "a.h5"


def as_folder(folder):
    (folder / "a.h5").mkdir()
    return folder / "a.h5"


def without_settings(folder):
    path = write(folder / "a.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["settings"]
    return path


def overwritten(folder):
    """Zeros where the names of arrays were, as a broken disk leaves them."""
    path = write(folder / "a.h5")
    content = path.read_bytes()
    where = content.index(b"HEAP")
    path.write_bytes(content[:where] + bytes(64) + content[where + 64 :])
    return path


ROWS = [
    Row("a whole file", lambda folder: write(folder / "a.h5"), expected=VALUES),
    Row("missing", lambda folder: folder / "a.h5", ("a.h5: no such file",)),
    Row("link to nothing", dangling, ("a.h5: a link to moved/a.h5, which is not there",)),
    Row("a folder", as_folder, ("a.h5: cannot be opened: Is a directory",)),
    Row(
        "cut short",
        lambda folder: write(folder / "a.h5", 900),
        ("a.h5: not a complete HDF5 file", "delete it"),
    ),
    Row("empty", made(b""), ("a.h5: not a complete HDF5 file", "delete it")),
    Row("text", made(b"error: disk full\n"), ("a.h5: not a complete HDF5 file", "delete it")),
    Row("no settings", without_settings, ("a.h5: its description is damaged", "'settings'", "delete")),
    Row("zeros within", overwritten, ("a.h5: array 'error' is damaged", "delete")),
]


def read(path):
    with artifacts.read(path, "errors") as artifact:
        return artifact.read("error", (None, 3), np.float32)


@rows(ROWS)
def test_a_file_is_read_or_one_line_says_why_not(row, tmp_path):
    np.testing.assert_array_equal(outcome(row, tmp_path, read), row.expected)


@contextmanager
def held_open(path):
    """Another program has the file open for writing."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "\n"
        yield
        holder.communicate("\n")


def test_a_file_that_a_notebook_holds_open_is_read_and_made_anew(tmp_path):
    path = write(tmp_path / "a.h5")
    with held_open(path):
        np.testing.assert_array_equal(read(path), VALUES)
        write(path)
        np.testing.assert_array_equal(read(path), VALUES)


def test_a_lock_that_is_asked_for_is_said_to_be_one(tmp_path):
    """HDF5 reads its environment once, so that this needs a program of its own."""
    path = write(tmp_path / "a.h5")
    program = "import sys; from das.jobs import artifacts; artifacts.read(sys.argv[1], 'errors').__enter__()"
    environment = os.environ | {
        "HDF5_USE_FILE_LOCKING": "TRUE",
        "PYTHONPATH": str(Path(artifacts.__file__).parents[2]),
    }
    with held_open(path):
        command = [sys.executable, "-c", program, path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert "a.h5: cannot be locked" in said
    assert "unset" in said
    assert "delete" not in said


def test_a_file_that_is_not_whole_while_somebody_writes_it_is_left_to_them(tmp_path):
    path = write(tmp_path / "a.h5", 900)
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            UserError, match=r"a\.h5: another program has it open for writing; close it"
        ) as found:
            read(path)
    assert "delete" not in str(found.value)


SYSTEM = [
    "EAGAIN",
    "ENOLCK",
    "ENOSYS",
    "EOPNOTSUPP",
    "EMFILE",
    "EIO",
    "ESTALE",
    "ENOMEM",
    "EACCES",
    "ETIMEDOUT",
]


@pytest.mark.parametrize("name", SYSTEM)
def test_what_the_system_refuses_is_not_called_damage(name, tmp_path, monkeypatch):
    path, number = write(tmp_path / "a.h5"), getattr(errno, name)

    def refuse(*arguments, **options):
        raise OSError(number, f"Unable to synchronously open file (errno = {number})")

    monkeypatch.setattr(artifacts.h5py, "File", refuse)
    with pytest.raises(UserError, match=r"a\.h5: cannot be") as found:
        read(path)
    assert os.strerror(number) in str(found.value)
    assert "delete" not in str(found.value)


def test_another_file_that_cannot_be_read_is_not_taken_for_the_one_that_is_written(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"other\.npy"),
        artifacts.write(tmp_path / "a.h5", "errors", "toy", {}),
    ):
        np.load(tmp_path / "other.npy")


@pytest.fixture
def without_locks(monkeypatch):
    """A file system, or a server of one, that has no locks."""

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_jobs_keep_their_state_all_the_same(without_locks, tmp_path):
    with pytest.raises(KeyboardInterrupt), resume.job_state(tmp_path, "train", "1") as state:
        (state / "kept").touch()
        raise KeyboardInterrupt
    with resume.job_state(tmp_path, "train", "1") as state:
        assert (state / "kept").exists()
        with resume.job_state(tmp_path, "train", "1") as same:  # an orphan that nobody notices ends first
            assert same == state
    assert not list(tmp_path.iterdir())


def test_without_locks_nothing_counts_as_left_over(without_locks, tmp_path):
    (tmp_path / "train-1").mkdir()
    with resume.idle_state(tmp_path / "train-1") as idle:
        assert not idle


def test_without_locks_no_gpu_is_given_to_two(without_locks, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_slots, "LOCKS", tmp_path)
    with pytest.raises(
        UserError, match=r"-0\.lock: cannot be locked: No locks available; jobs share the GPUs"
    ):
        gpu_slots.hold(1, ["0"], {}).__enter__()
    monkeypatch.setattr(gpu_slots, "LOCKS", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"-0\.lock: cannot be written: No such file"):
        gpu_slots.hold(1, ["0"], {}).__enter__()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE), "a/file"), "a/file: Stale file handle"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a/file"), "a/file: Too many open files"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT), "a/file"), "a/file: No such file or directory"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "reading or writing: Input/output error"),
        (
            FileNotFoundError("No such file or directory: a.safetensors"),
            "No such file or directory: a.safetensors",
        ),
    ],
)
def test_a_job_ends_in_one_line_where_the_system_refuses(error, line, tmp_path, monkeypatch, capsys):
    def script(arguments):
        raise error

    monkeypatch.setattr(sys, "argv", ["script", "--log", str(tmp_path / "log")])
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(script, cli.parser(None))
    logging.captureWarnings(False)
    logging.basicConfig(handlers=[], force=True)
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {line}\n"
    assert "Traceback" in (tmp_path / "log").read_text()  # for those who look for more
