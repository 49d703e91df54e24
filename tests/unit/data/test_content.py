"""What files hold is noticed whatever their names, sizes and dates say, and only new files are read."""

import os
import shutil
import time

import pytest

from das.data import content
from das.data.sources.locate import image_files
from pictures import image_folder
from source_checks import message_of
from workflow.running import overwrite_one_byte


@pytest.fixture
def images(tmp_path):
    image_folder(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """A function that hashes a folder's images, and the list of files that it then read."""
    read = []
    original = content._hash
    monkeypatch.setattr(content, "_hash", lambda path: read.append(path) or original(path))

    def of(folder, table=None):
        read.clear()
        return content.hash_images(str(folder), table, tmp_path / "memory")

    return of, read


def later(monkeypatch):
    """Files written until now are old enough for their hashes to be remembered."""
    now = time.time()
    monkeypatch.setattr(content.time, "time", lambda: now + 10)


def test_an_image_of_the_same_size_and_date_is_noticed_also_when_hashes_are_remembered(
    images, hashed, monkeypatch
):
    of, read = hashed
    later(monkeypatch)
    first = of(images)
    assert of(images) == first and read == []
    changed = images / image_files(images)[3]
    overwrite_one_byte(changed)
    assert of(images) != first
    assert read == [str(changed)]


def test_an_image_that_is_replaced_by_rename_is_noticed(images, hashed, monkeypatch):
    of, _ = hashed
    later(monkeypatch)
    first = of(images)
    one, other = (images / name for name in image_files(images)[:2])
    shutil.copy2(one, images.parent / "kept")
    shutil.copy2(other, one)
    os.replace(images.parent / "kept", other)
    assert of(images) != first


def test_a_file_that_may_still_change_within_the_tick_of_its_clock_is_read_again(images, hashed):
    of, read = hashed
    first = of(images)
    assert of(images) == first
    assert len(read) == len(image_files(images))


def test_a_copy_has_the_same_hash_and_other_files_do_not_count(images, hashed):
    of, _ = hashed
    shutil.copytree(images, images.parent / "copy", copy_function=shutil.copyfile)
    (images.parent / "copy/notes.txt").write_text("of no interest")
    assert of(images) == of(images.parent / "copy")


@pytest.mark.parametrize("change", ["rename", "remove", "add"])
def test_names_and_numbers_of_images_count(images, hashed, change):
    of, _ = hashed
    first, some = of(images), images / image_files(images)[0]
    if change == "rename":
        some.rename(some.with_name("other.png"))
    elif change == "remove":
        some.unlink()
    else:
        shutil.copyfile(some, some.with_name("more.png"))
    assert of(images) != first


def test_a_table_decides_which_files_count_whatever_their_suffix(images, hashed):
    of, _ = hashed
    listed = [images / name for name in image_files(images)[:3]]
    for path in listed:
        path.rename(path.with_suffix(".pixels"))
    lines = [path.with_suffix(".pixels").relative_to(images).as_posix() for path in listed]
    (images / "list.csv").write_text("\n".join(["path", *lines]) + "\n")
    first = of(images, "list.csv")
    overwrite_one_byte(images / image_files(images)[0])  # one that is not listed
    assert of(images, "list.csv") == first
    overwrite_one_byte(listed[1].with_suffix(".pixels"))
    second = of(images, "list.csv")
    (images / "list.csv").write_text("\n".join(["path,label", *(f"{line},a" for line in lines)]) + "\n")
    assert len({first, second, of(images, "list.csv")}) == 3


def test_what_cannot_be_read_is_named(images, hashed, tmp_path):
    of, _ = hashed
    assert (
        message_of(of, tmp_path / "nowhere")
        == f"{tmp_path}/nowhere: no such folder, expected a folder of images"
    )
    os.mkfifo(images / "pipe.csv")
    message = message_of(content.hash_files, ["pipe.csv"], str(images), tmp_path / "memory")
    assert message == f"{images}/pipe.csv: is no file"
    message = message_of(content.hash_files, ["gone"], str(images), tmp_path / "memory")
    assert message == f"{images}/gone: cannot be read: No such file or directory"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 1}'])
def test_a_memory_that_is_damaged_or_cannot_be_written_changes_nothing(images, hashed, monkeypatch, damage):
    of, _ = hashed
    later(monkeypatch)
    first = of(images)
    (store,) = (images.parent / "memory").iterdir()
    store.write_bytes(damage)
    assert of(images) == first
    shutil.rmtree(store.parent)
    store.parent.write_text("a file in its place")
    assert of(images) == first
