"""What the pages show is what there is: their data sets are valid, and the files they name exist."""

import re
import runpy

import pytest
import yaml
from test_configuration import ROOT, SCHEMA

from das.configuration import load_datasets, load_yaml
from das.sources.locate import image_files

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def data_sets(page):
    """The data sets in a page's blocks of YAML."""
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    return [content for content in map(yaml.safe_load, blocks) if "source" in content]


def test_the_photographs_of_the_page_are_the_data_set_that_is_there():
    shown = data_sets(ROOT / "docs/own-images.md")[0]
    assert shown == load_yaml(ROOT / "config/datasets/photographs.yaml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_data_sets_on_pages_are_valid(page):
    for number, content in enumerate(data_sets(page)):
        load_datasets(ROOT / "config/datasets", {f"shown{number}": content}, SCHEMA)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_on_pages_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:config|docs|workflow|rules|profiles|tests)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_photographs_are_cut_into_as_many_pieces_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs/make_photographs.py"))
    count = len(image_files("photographs"))
    assert f"writes {count} pieces of 24 × 24 pixels" in (ROOT / "docs/own-images.md").read_text()
