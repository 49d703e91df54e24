"""Artifacts appear whole or not at all, carry provenance, and are checked when read."""

import errno

import h5py
import numpy as np
import pytest

from das.errors import UserError
from das.jobs import artifacts


def write_errors(path, values=None, weights="w"):
    with artifacts.write(path, "errors", "toy", {"timesteps": 3}, weights, seed=7) as file:
        file["error"] = np.ones((4, 3), np.float32) if values is None else values


def test_provenance_and_values_come_back(tmp_path):
    write_errors(tmp_path / "a.h5")
    with artifacts.read(tmp_path / "a.h5", "errors") as artifact:
        assert artifact.settings == {"timesteps": 3}
        assert (artifact.dataset, artifact.weights, artifact.attributes["seed"]) == ("toy", "w", 7)
        np.testing.assert_array_equal(artifact.read("error", (None, 3), np.float32), np.ones((4, 3)))


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_errors(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), artifacts.write(path, "errors", "toy", {}) as file:
        file["error"] = np.zeros(3)
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_errors(path)
    before = path.read_bytes()
    with (
        pytest.raises(UserError, match=r"a\.h5: cannot be written: .*No space left"),
        artifacts.write(path, "errors", "toy", {}),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((5, 3), np.float32, r"shape \(4, 3\), expected \(5, 3\)"),
        ((None,), np.float32, r"shape \(4, 3\), expected \('any',\)"),
        ((4, 3), np.float64, "is float32, expected float64"),
    ],
)
def test_another_shape_or_dtype_is_refused(tmp_path, shape, dtype, message):
    write_errors(tmp_path / "a.h5")
    with artifacts.read(tmp_path / "a.h5", "errors") as artifact, pytest.raises(UserError, match=message):
        artifact.read("error", shape, dtype)


def test_a_value_that_is_not_finite_is_named(tmp_path):
    values = np.ones((4, 3), np.float32)
    values[2, 1] = np.nan
    write_errors(tmp_path / "a.h5", values)
    with (
        artifacts.read(tmp_path / "a.h5", "errors") as artifact,
        pytest.raises(UserError, match=r"a\.h5: array 'error' is not finite at \(2, 1\)"),
    ):
        artifact.read("error", (4, 3), np.float32, slice(1, 4))


def test_a_file_cut_short_is_named(tmp_path):
    path = tmp_path / "a.h5"
    write_errors(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(UserError, match=r"a\.h5: not a complete HDF5 file"), artifacts.read(path, "errors"):
        pass


def test_a_file_of_another_kind_or_schema_is_named(tmp_path):
    path = tmp_path / "a.h5"
    write_errors(path)
    with pytest.raises(UserError, match="holds errors, expected losses"), artifacts.read(path, "losses"):
        pass
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 99
    with pytest.raises(UserError, match="schema 99, this version reads 1"), artifacts.read(path, "errors"):
        pass
    with pytest.raises(UserError, match="no such file"), artifacts.read(tmp_path / "b.h5", "errors"):
        pass


def test_artifacts_of_other_weights_are_refused(tmp_path):
    write_errors(tmp_path / "a.h5", weights="1")
    write_errors(tmp_path / "b.h5", weights="2")
    with (
        artifacts.read(tmp_path / "a.h5", "errors") as a,
        artifacts.read(tmp_path / "b.h5", "errors") as b,
        pytest.raises(UserError, match=r"b\.h5: weights is '2', but .*a\.h5 has '1'"),
    ):
        artifacts.require_same("weights", a, b)
