"""What the pages show is what there is: their data sets are valid, and the files they name exist."""

import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import snakemake as snakemake_package
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from test_configuration import ROOT, SCHEMA
from test_packages import STAGES

from das.data.sources.locate import image_files
from das.plan import models, passes, pools
from das.plan.configuration import load_datasets, load_yaml
from das.plan.plan import Plan

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "profiles/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def data_sets(page):
    """The data sets in a page's blocks of YAML."""
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    return [content for content in map(yaml.safe_load, blocks) if "source" in content]


def test_the_photographs_of_the_page_are_the_data_set_that_is_there():
    shown = data_sets(ROOT / "docs/own-images.md")[0]
    assert shown == load_yaml(ROOT / "config/datasets/photographs.yaml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_data_sets_on_pages_are_valid(page):
    for number, content in enumerate(data_sets(page)):
        load_datasets(ROOT / "config/datasets", {f"shown{number}": content}, SCHEMA)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_on_pages_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:config|docs|workflow|rules|profiles|tests)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def links(page):
    """The files that a page links to."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    return {(page.parent / target).resolve() for target in targets}


@pytest.mark.parametrize("index", ["README.md", "docs/README.md"])
def test_an_index_has_all_pages(index):
    index = ROOT / index
    assert {page.resolve() for page in PAGES} - {index, ROOT / "README.md"} <= links(index)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_parts_of_pages_that_are_linked_to_exist(page):
    for target, part in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        parts = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert part in parts, f"{target}#{part}"


def rows(page):
    """The rows of a page's tables."""
    return [line for line in page.read_text().splitlines() if line.startswith("| ")]


def test_figures_of_the_first_page_are_those_of_the_whole_table():
    first = [row for row in rows(ROOT / "README.md") if re.match(r"\| `\w+` \| \d.* to ", row)]
    assert len(first) == 5
    assert set(first) <= set(rows(ROOT / "docs/methods.md"))


def test_every_method_stands_on_the_page_of_methods():
    shown = {name for row in rows(ROOT / "docs/methods.md") for name in re.findall(r"`(\w+)`", row)}
    assert set(load_yaml(ROOT / "config/config.yaml")["methods"]) <= shown


@pytest.mark.parametrize("schema", ["config", "dataset"])
def test_every_section_stands_on_the_page_of_the_configuration(schema):
    properties = load_yaml(ROOT / f"workflow/schemas/{schema}.schema.yaml")["properties"]
    cells = [row.split("|")[1] for row in rows(ROOT / "config/README.md")]
    assert set(properties) <= set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_every_rule_stands_on_the_page_of_artifacts(tmp_path, monkeypatch):
    """And what it names there is a rule; `…` stands for the rest of a name."""
    monkeypatch.chdir(tmp_path)  # where no gradients stand
    more = {"datasets": {"digits": {"retrain": {"subsets": 8}}}}
    plan = Plan.load(str(ROOT), load_yaml(ROOT / "config/config.yaml") | more, {})
    jobs = list(pools.pool_jobs(plan, (*pools.DRAWN, *pools.CHOSEN)))
    code = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
    rules = {
        *re.findall(r"^ *rule (\w+):$", code, re.MULTILINE),
        *re.findall(r'"(tabulate_\w+)"', code),
        *(pool.draw for pool in pools.DRAWN),
        *(training.rule for training in models.trainings(plan)),
        *(f"{verb}_{kind}" for verb in ("take", "place") for kind in ("model", "adapters")),
        *(f"train_{job.name}" for job in jobs),
        *(f"evaluate_{job.name}" for job in jobs if job.pool in pools.DRAWN),
        *(each.rule for each in passes.passes(plan, ["results/digits/lds.csv"])),
    }
    cells = [row.split("|")[3] for row in rows(ROOT / "docs/artifacts.md") if row.count("|") == 4]
    named = {name for cell in cells for name in re.findall(r"`(\w+…?)`", cell)}
    fit = {name: [rule for rule in rules if re.fullmatch(name.replace("…", r"\w+"), rule)] for name in named}
    assert not [name for name in named if not fit[name]]
    assert rules <= {rule for found in fit.values() for rule in found}


def test_contributors_read_of_all_packages_in_their_order():
    named = [re.match(r"\| `(\w+)` \|", row) for row in rows(ROOT / "CONTRIBUTING.md")]
    assert tuple(name[1] for name in filter(None, named)) == STAGES


def test_the_photographs_are_cut_into_as_many_pieces_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs/make_photographs.py"))
    count = len(image_files("photographs"))
    assert f"writes {count} pieces of 24 × 24 pixels" in (ROOT / "docs/own-images.md").read_text()


def test_wrong_images_are_planted_as_the_page_says(tmp_path, monkeypatch):
    """Of each kind as many, and none to be told by its grey values: they are those of a digit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["plant_wrong_images.py", "1"])
    runpy.run_path(str(ROOT / "docs/plant_wrong_images.py"))
    text = (ROOT / "docs/find-wrong-images.md").read_text()
    assert f"writes {len(image_files('scans'))} images of 8 × 8 pixels" in text
    wrong = pd.read_csv("wrong.csv").set_index("path").kind
    assert wrong.value_counts().to_dict() == {"photograph": 20, "on its side": 20, "mirrored": 20}
    digits = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    undo = {"": lambda image: image, "on its side": lambda image: np.rot90(image, -1), "mirrored": np.fliplr}
    known, greys = (
        {digit.tobytes() for digit in digits},
        {np.sort(digit.ravel()).tobytes() for digit in digits},
    )
    for name in image_files("scans"):
        image, kind = np.asarray(Image.open(f"scans/{name}")), wrong.get(name, "")
        assert np.sort(image.ravel()).tobytes() in greys
        if kind in undo:
            assert np.ascontiguousarray(undo[kind](image)).tobytes() in known
        else:
            assert image.tobytes() not in known


def test_lines_on_the_page_of_troubles_are_lines_that_are_said():
    """Each heading is a part of a message: its words stand in the code, or in Snakemake's."""
    ours, theirs = (ROOT / "docs/troubleshooting.md").read_text().split("## Lines of Snakemake")
    code = [*(ROOT / "workflow").rglob("*.py"), *(ROOT / "rules").glob("*.smk")]
    snakemake = Path(snakemake_package.__file__).parent.rglob("*.py")
    for page, files in ((ours, code), (theirs, snakemake)):
        # Messages in the code are broken into lines of quoted text, and hold names in braces.
        said = "\n".join(re.sub(r'"\s+f?"', "", file.read_text()) for file in files)
        headings = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
        assert headings
        for heading in headings:
            for words in filter(None, (part.strip(" ,") for part in heading.split("…"))):
                assert words in said, words
