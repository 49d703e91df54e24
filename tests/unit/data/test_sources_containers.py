"""Containers deliver what is asked for and nothing else, and name what is wrong with a member."""

from __future__ import annotations

import tarfile
import tracemalloc
import zipfile

import pytest

import standins
from das.data.sources import containers
from das.data.sources.containers import Folder, Tar, Zip
from das.data.sources.parquet import Parquet
from source_checks import message_of

CONTENT = {f"a/{i}.png": bytes([i]) * 100 for i in range(9)}


def read(container, names):
    return list(container.read(names))


@pytest.fixture(params=["tar", "tar.gz", "zip", "folder", "parquet"])
def made(request, tmp_path):
    """A container of each kind, the names in it and their contents."""
    if request.param == "tar":
        standins.write_tar(tmp_path / "x.tar", [(f"top/{n}", c) for n, c in CONTENT.items()])
        return Tar(tmp_path / "x.tar"), CONTENT
    if request.param == "tar.gz":
        standins.write_archive(tmp_path / "x.tar.gz", CONTENT.items())
        return Tar(tmp_path / "x.tar.gz"), CONTENT
    if request.param == "zip":
        write_zip(tmp_path / "x.zip", CONTENT)
        return Zip(tmp_path / "x.zip"), CONTENT
    if request.param == "folder":
        (tmp_path / "a").mkdir()
        for name, content in CONTENT.items():
            (tmp_path / name).write_bytes(content)
        return Folder(tmp_path), CONTENT
    files = [tmp_path / "x-0.parquet", tmp_path / "x-1.parquet"]
    values = list(CONTENT.values())
    standins.write_parquet(files[0], values[:5], "image", rows_per_group=2)
    standins.write_parquet(files[1], values[5:], "image", rows_per_group=2)
    container = Parquet("image")
    return container, dict(zip(container.names(files), values, strict=True))


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_all_that_is_wanted_comes_once(made):
    container, contents = made
    names = list(contents)
    assert sorted(read(container, names)) == sorted(contents.items())
    some = [names[7], names[1], names[2]]
    assert sorted(read(container, some)) == sorted((name, contents[name]) for name in some)
    assert read(container, []) == []


def test_large_members_are_refused_by_name_before_they_are_read(made, monkeypatch):
    container, contents = made
    name = list(contents)[3]
    monkeypatch.setattr(containers, "MAX_MEMBER_BYTES", 99)
    message = message_of(read, container, [name])
    assert "3" in message
    assert "100 bytes unpacked, allowed are 99" in message


# Tar


def test_a_tar_is_read_no_further_than_needed(tmp_path):
    path = tmp_path / "x.tar"
    standins.write_tar(path, CONTENT.items())
    path.write_bytes(path.read_bytes()[: 512 * 5])  # two members, each of a header and a block, and a half
    assert [name for name, _ in read(Tar(path), ["a/0.png", "a/1.png"])] == ["a/0.png", "a/1.png"]
    message = message_of(read, Tar(path), ["a/0.png", "a/3.png", "a/4.png"])
    assert message.startswith(f"{path}: ")


def test_missing_members_are_named(tmp_path):
    standins.write_tar(tmp_path / "x.tar", CONTENT.items())
    message = message_of(read, Tar(tmp_path / "x.tar"), ["a/3.png", "a/20.png", "a/30.png"])
    assert message == f"{tmp_path / 'x.tar'}: no member a/20.png and 1 more"


@pytest.mark.parametrize("name", ["/a/0.png", "../a/0.png", "x/../../a/0.png"])
def test_members_that_escape_are_refused_by_name(tmp_path, name):
    standins.write_tar(tmp_path / "x.tar", [(name, b"x")])
    message = message_of(read, Tar(tmp_path / "x.tar"), ["a/0.png"])
    assert f"member {name} lies outside the archive's folder" in message
    assert [path.name for path in tmp_path.rglob("*")] == ["x.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_special_files_are_not_followed(tmp_path, kind):
    entry = tarfile.TarInfo("top/a/0.png")
    entry.type, entry.linkname = kind, "/etc/passwd"
    standins.write_tar(tmp_path / "x.tar", [entry])
    message = message_of(read, Tar(tmp_path / "x.tar"), ["a/0.png"])
    assert "member top/a/0.png is a link or a special file" in message


def test_other_members_may_be_anything(tmp_path):
    link = tarfile.TarInfo("a/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/"
    standins.write_tar(tmp_path / "x.tar", [("../escaped.png", b"x"), link, *CONTENT.items()])
    assert read(Tar(tmp_path / "x.tar"), ["a/4.png"]) == [("a/4.png", CONTENT["a/4.png"])]


def test_not_a_tar(tmp_path):
    (tmp_path / "x.tar").write_text("<html>not found</html>")
    assert "x.tar: not a readable tar archive" in message_of(read, Tar(tmp_path / "x.tar"), ["a/0.png"])


# Zip


def test_a_wrong_checksum_in_a_zip_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/0.png", b"some content")
    path.write_bytes(path.read_bytes().replace(b"some content", b"same content"))
    message = message_of(read, Zip(path), ["a/0.png"])
    assert message.startswith(f"{path}: member a/0.png cannot be read: Bad CRC-32")


def test_a_bomb_that_hides_its_size_is_named(tmp_path):
    """The list of members says 10 bytes, but a hundred million come."""
    path = tmp_path / "x.zip"
    write_zip(path, {"a/0.png": bytes(100_000_000)})
    size = (100_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    assert "member a/0.png cannot be read" in message_of(read, Zip(path), ["a/0.png"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000, "what comes is not unpacked before it is refused"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_listed_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/0.png", b"one")
        archive.writestr("a/0.png", b"two")
    assert "a member is listed twice" in message_of(read, Zip(tmp_path / "x.zip"), ["a/0.png"])


def test_a_zip_packed_by_a_rare_method_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a/0.png", b"one")
    assert "packed by another method than deflate" in message_of(read, Zip(tmp_path / "x.zip"), ["a/0.png"])


def test_an_honest_bomb_is_named(tmp_path):
    write_zip(tmp_path / "x.zip", {"a/0.png": bytes(100_000_000)})
    message = message_of(read, Zip(tmp_path / "x.zip"), ["a/0.png"])
    assert "member a/0.png has 100000000 bytes unpacked, allowed are 64000000" in message


@pytest.mark.parametrize("keep", [0, 30, -30])
def test_a_zip_cut_short(tmp_path, keep):
    write_zip(tmp_path / "x.zip", CONTENT)
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:keep])
    message = message_of(read, Zip(tmp_path / "x.zip"), ["a/0.png"])
    assert message.startswith(f"{tmp_path / 'x.zip'}: the list of members cannot be read: ")


def test_a_member_that_a_zip_lacks(tmp_path):
    write_zip(tmp_path / "x.zip", CONTENT)
    assert "x.zip: no member a/10.png" in message_of(read, Zip(tmp_path / "x.zip"), ["a/1.png", "a/10.png"])


# Folder


def test_files_that_a_folder_lacks(tmp_path):
    (tmp_path / "b.png").mkdir()
    assert message_of(read, Folder(tmp_path), ["a.png"]) == f"{tmp_path}/a.png: no such file"
    assert message_of(read, Folder(tmp_path), ["b.png"]) == f"{tmp_path}/b.png: no such file"


# Parquet


def test_a_row_without_an_image_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    standins.write_parquet(path, [b"x", None, b"x"], "image")
    container = Parquet("image")
    message = message_of(read, container, container.names([path]))
    assert message == f"{path}: row 1: holds no bytes of an image"


def test_a_column_that_a_parquet_file_lacks(tmp_path):
    path = tmp_path / "x.parquet"
    standins.write_parquet(path, [b"x"], "picture", label=[1])
    message = message_of(Parquet("image").names, [path])
    assert message == f"{path}: no column image.bytes, it holds picture.bytes, picture.path, label"


def test_a_row_group_that_would_burst_is_refused_before_it_is_read(tmp_path):
    """65 MB of zeros in a file of some kB: its own list of sizes is believed to be too large."""
    path = tmp_path / "x.parquet"
    standins.write_parquet(path, [bytes(65_000_000)], "image")
    assert path.stat().st_size < 5_000_000
    container = Parquet("image")
    message = message_of(read, container, container.names([path]))
    assert f"{path}: row group 0 has 65" in message
    assert "allowed are 64000000 per row" in message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>not found</html>"])
def test_not_a_parquet_file(tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    assert f"{path}: not a readable parquet file" in message_of(Parquet("image").names, [path])


def test_a_parquet_file_with_damaged_pages(tmp_path):
    path = tmp_path / "x.parquet"
    standins.write_parquet(path, [bytes(range(256)) * 20] * 4, "image")
    container = Parquet("image")
    names = container.names([path])
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    assert f"{path}: not a readable parquet file" in message_of(read, container, names)
