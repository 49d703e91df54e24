"""What holds for all sources: the registry, settings, captions, and what is loaded when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import das
import standins
from das.data.sources import SOURCES, open_source
from das.data.sources.base import Source, SourceSettings
from pictures import image_folder
from source_checks import message_of, opened, read_all


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Source]:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("sources")
    archive = standins.cifar10_archive(folder / "cifar-10-binary.tar.gz")
    standins.artbench(folder / "artbench", size=32)
    celeba = standins.celeba(folder / "celeba")
    image_folder(folder / "folder")
    return {
        "digits": open_source(SourceSettings("digits")),
        "cifar10": opened("cifar10", archive.path, files={archive.path.name: archive.override}),
        "artbench": opened("artbench", folder / "artbench"),
        "celeba": opened("celeba", folder / "celeba", files=celeba.files),
        "folder": opened("folder", folder / "folder"),
    }


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_keeps_to_the_interface(kind, sources):
    source = sources.get(kind) or open_source(SourceSettings(kind))
    assert source.kind == kind
    assert not source.is_published
    assert source.check()
    for split in source.splits:
        labels = source.labels(split)
        assert labels.dtype == source.indices(split).dtype == np.int64
        assert labels.shape == source.indices(split).shape
        assert set(labels) == set(range(len(source.class_names)))
        assert source.captions(split) is None
        positions, images = next(iter(source.read(split, np.arange(5))))
        assert images.shape == (len(positions), *source.image_shape)
        assert images.dtype == np.uint8
        assert list(source.read(split, np.array([], np.int64))) == [] or kind == "digits"


def test_digits_are_those_of_scikit_learn_on_the_full_scale():
    source = open_source(SourceSettings("digits"))
    images = read_all(source, "train", np.arange(1797))
    assert source.image_shape == (8, 8, 1)
    assert np.array_equal(source.labels("train"), load_digits().target)
    # A step of 255/16 is more than 1, so that the rounding can be undone exactly.
    assert np.array_equal(np.round(images[..., 0] * (16 / 255)), load_digits().images)
    assert (images.min(), images.max()) == (0, 255)


def test_captions_name_the_class_with_spaces(sources):
    source = opened("artbench", sources["artbench"].container.path.parent, captions="a {label} painting")
    names = [source.class_names[label].replace("_", " ") for label in source.labels("test")]
    assert source.captions("test") == [f"a {name} painting" for name in names]
    assert "ukiyo e" in names
    digits = open_source(SourceSettings("digits", captions="the digit {label}"))
    assert digits.captions("train")[:3] == ["the digit 0", "the digit 1", "the digit 2"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "imagenet"}, "source.kind: found 'imagenet', allowed are artbench, celeba, cifar10"),
        ({"kind": "folder", "crop": 0}, "source.crop: found 0, allowed are a number from 1 and square"),
        ({"kind": "folder", "crop": "round"}, "source.crop: found 'round'"),
        ({"kind": "folder", "resize": -3}, "source.resize: found -3, allowed is a number from 1"),
        ({"kind": "folder", "channels": 4}, "source.channels: found 4, allowed are 1 and 3"),
        ({"kind": "folder", "channels": 0}, "source.channels: found 0, allowed are 1 and 3"),
        ({"kind": "folder", "captions": "a {style}"}, "source.captions: found 'a {style}', allowed is"),
        ({"kind": "folder", "captions": "a {label"}, "source.captions: found 'a {label'"),
        ({"kind": "folder", "captions": "a {label.x}"}, "source.captions: found"),
        ({"kind": "folder", "captions": " "}, "source.captions: found ' '"),
        ({"kind": "folder", "files": {"a.zip": {}}}, "unknown file 'a.zip', folder has no published files"),
        (
            {"kind": "celeba", "files": {"a.zip": {}}},
            "unknown file 'a.zip', allowed are img_align_celeba.zip",
        ),
    ],
)
def test_settings_out_of_range_are_refused(values, words):
    assert words in message_of(SourceSettings, **values)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("digits", {"resize": 16}),
        ("digits", {"channels": 3}),
        ("cifar10", {"crop": 20}),
        ("artbench", {"table": "a.csv"}),
        ("celeba", {"table": "a.csv"}),
    ],
)
def test_settings_that_a_kind_does_not_use_are_refused(kind, setting):
    ((name, value),) = setting.items()
    message = message_of(open_source, SourceSettings(kind, **setting))
    assert message == f"source.{name}: found {value!r}, but {kind} does not use it; remove it"


def test_digits_have_no_file(tmp_path):
    path = tmp_path / "digits.csv"
    assert "source.path" in message_of(open_source, SourceSettings("digits", (path,)))
    assert "source.path" in message_of(opened, "digits", path)


@pytest.mark.parametrize("kind", ["cifar10", "artbench", "celeba"])
def test_published_kinds_need_their_files(kind):
    assert "is not among its files" in message_of(open_source, SourceSettings(kind))


def test_what_a_dry_run_imports_is_light():
    """Neither numpy nor PIL, pyarrow or requests is loaded by planning."""
    code = (
        "import sys, das.data.sources.published, das.data.sources.locate; "
        "print([m for m in ('numpy', 'PIL', 'pyarrow', 'requests', 'torch') if m in sys.modules])"
    )
    folder = Path(das.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_sources_need_no_pyarrow_where_there_is_no_parquet(sources, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    read_all(sources["celeba"], "test")
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1")
    message = message_of(opened, "celeba", tmp_path)
    assert 'pip install "das-workflow[parquet]"' in message
    assert "pip install pyarrow" in message
