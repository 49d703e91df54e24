"""Names that rules and scripts build."""

import os
import re
from pathlib import Path

import pytest

from das.plan.paths import nameable, variant_folder


@pytest.mark.parametrize(
    ("variant", "folder"),
    [("", "model"), ("@checkpoint-25", "model/checkpoints/25"), ("@seed-43", "model/seeds/43")],
)
def test_a_variant_names_the_folder_of_a_model(variant, folder):
    assert variant_folder(variant) == folder


@pytest.mark.parametrize("path", ["results/a/b.h5", "../it's ö (1) $x/a,b;c.csv", "/a #1/b"])
def test_snakemake_takes_most_paths_as_they_stand(path):
    assert nameable(path) == path


@pytest.mark.parametrize("path", ["my{model}/a/b.json", "a/ta<b>le.csv", "-x/y", "{a}/{b}/c", "a/{b"])
def test_paths_that_snakemake_would_fill_in_are_named_through_a_link(path, tmp_path, monkeypatch):
    nameable.cache_clear()
    for place in ("here", "moved"):
        folder = tmp_path / place
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(place)
        if place == "moved":  # with the links, which lead to where they led
            os.rename(tmp_path / "here/.snakemake", folder / ".snakemake")
            nameable.cache_clear()
        monkeypatch.chdir(folder)
        named = nameable(path)
        assert not re.search("[{}<>]|^-", named)
        assert Path(named).read_text() == place
        # No input may seem newer than what was made of it.
        assert os.path.islink(named) == (os.stat(named, follow_symlinks=False).st_mtime == 0)
