"""What may be deleted: old unfinished work that no job holds, and retrained models whose losses stand."""

import os
import time

import pytest

from das.jobs.leftovers import delete, delete_state, finished_models, half_made, stale_states
from das.jobs.resume import job_state


def write(path, size, days=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    then = time.time() - 86400 * days
    os.utime(path, (then, then))
    os.utime(path.parent, (then, then))


def names(leftovers):
    return [leftover.path.name for leftover in leftovers]


def test_unfinished_work_is_stale_when_nothing_was_written_for_days(tmp_path):
    write(tmp_path / "train-old/model.safetensors", 1000, days=8)
    write(tmp_path / "train-new/model.safetensors", 10, days=6)
    write(tmp_path / "errors-mixed/a.npy", 10, days=30)
    write(tmp_path / "errors-mixed/b.npy", 10, days=1)
    (old,) = stale_states(tmp_path, 7)
    assert old.path.name == "train-old"
    assert old.days == pytest.approx(8, abs=0.01)
    assert old.bytes >= 1000
    delete_state(old)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors-mixed", "train-new"]


def test_work_that_a_job_holds_is_neither_stale_nor_deleted(tmp_path):
    with job_state(tmp_path, "train", "held") as folder:
        write(folder / "model.safetensors", 10, days=8)
        assert stale_states(tmp_path, 7) == []
    write(tmp_path / "train-held/model.safetensors", 10, days=8)
    (found,) = stale_states(tmp_path, 7)
    with job_state(tmp_path, "train", "held") as folder:
        delete_state(found)
        assert folder.exists()


def test_no_folder_of_unfinished_work_is_no_unfinished_work(tmp_path):
    assert stale_states(tmp_path / "none", 0) == []


def test_a_model_is_finished_when_its_losses_are_not_older(tmp_path):
    for name, model, losses in (("a", 2, 1), ("b", 1, 2), ("c", 1, None), ("d", 1, 1)):
        write(tmp_path / f"models/{name}/unet/weights", 500, days=model)
        if losses is not None:
            write(tmp_path / f"losses/{name}.h5", 10, days=losses)
    for name in "ad":  # to the same instant, for d
        os.utime(tmp_path / f"losses/{name}.h5", (time.time(),) * 2)
    assert names(finished_models(tmp_path)) == ["a", "d"]
    (tmp_path / "losses/e.h5").touch()
    (tmp_path / "models/e").mkdir()
    assert "e" not in names(finished_models(tmp_path))


def test_what_is_half_made_is_found_by_its_name_and_age(tmp_path):
    old = [
        "mine/images/train.0123456789ab.h5",
        "mine/images/gen.0123456789ab.png",
        "mine/scores/das/.gen.h5.4711.tmp",
        "mine/.model.tmp/unet/config.json",
        ".img_align_celeba.zip.part",
    ]
    kept = ["mine/images/train.h5", "mine/images/train.0123456789.h5", "mine/model/unet/config.json", "a.tmp"]
    for name in (*old, *kept):
        write(tmp_path / name, 100, days=8)
    write(tmp_path / "mine/images/val.0123456789ab.h5", 100, days=6)
    os.utime(tmp_path / "mine/.model.tmp", (time.time() - 8 * 86400,) * 2)
    found = half_made(tmp_path, 7)
    expected = {"train.0123456789ab.h5", "gen.0123456789ab.png", ".gen.h5.4711.tmp", ".model.tmp"}
    assert {leftover.path.name for leftover in found} == expected | {".img_align_celeba.zip.part"}
    for leftover in found:
        delete(leftover)
    assert half_made(tmp_path, 7) == []
    assert all((tmp_path / name).exists() for name in kept)
