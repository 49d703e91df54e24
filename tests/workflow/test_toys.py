"""What CONTRIBUTING.md says on adding is true: a source, a family, an input and a method, from outside."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import yaml

from workflow.running import ROOT, TINY, UNET

SOURCE = '''
"""Squares of one grey value each."""

import numpy as np

from das.data.sources.base import Source


def open_source(settings):
    return Squares(settings)


class Squares(Source):
    kind = "squares"
    splits = ("train",)
    class_names = ("dark", "light")
    image_shape = (8, 8, 1)

    def labels(self, split):
        return np.arange(80) % 2

    def read(self, split, indices):
        grey = (indices * 3 + 10).astype(np.uint8)
        yield np.arange(len(indices)), np.tile(grey[:, None, None, None], (1, 8, 8, 1))

    def check(self):
        return "made here"
'''
FAMILY = '''
"""A UNet whose folder says that it is a toy."""

from das.diffusion.models.unet import UNet


class Toy(UNet):
    family = "toy"

    def write(self, folder):
        super().write(folder)
        (folder / "toy.txt").write_text("a toy")
'''
DECLARED = """
        Family(
            "toy",
            "Toy",
            (*_UNET_FILES, "toy.txt"),
            marker="toy.txt",
        ),
"""


def run_in(folder, *options):
    """What Snakemake says of making the toys in a copy of the workflow."""
    command = [Path(sys.executable).with_name("snakemake"), "--cores", "2", *options]
    targets = ["results/toy/attributions.csv", "results/toy/errors/train.h5"]
    done = subprocess.run(
        [*command, "--configfile", "mine.yaml", "--", *targets],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_source_a_family_an_input_and_a_method_get_through_the_workflow(tmp_path):
    for name in ("config", "envs", "profiles", "rules", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    library = tmp_path / "workflow/scripts/das"
    (library / "data/sources/squares.py").write_text(SOURCE)
    (library / "diffusion/models/toy.py").write_text(FAMILY)
    families = library / "pipelines/families.py"
    text = families.read_text()
    place = text.index('        Family(\n            "unet"')
    families.write_text(text[:place] + DECLARED.lstrip("\n") + text[place:])
    page = re.findall(r"```python\n(.*?)```", (ROOT / "docs/add-a-method.md").read_text(), re.DOTALL)
    [declaring] = [block for block in page if "declare(" in block]
    (tmp_path / "mine.py").write_text(declaring)
    (tmp_path / "unet.json").write_text(json.dumps(UNET))
    toy = TINY | {"source": {"kind": "squares"}, "model": {"family": "toy", "unet": "unet.json"}}
    toy["lds"] = {"subsets": 0}
    config = {
        "datasets": {"toy": toy},
        "method_modules": ["mine.py"],
        "methods": {"as_bright": {"score": "as_bright"}},
        "attributions": {"method": "as_bright", "count": 5},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run_in(tmp_path)
    results = tmp_path / "results/toy"
    assert (results / "model/toy.txt").read_text() == "a toy"
    with h5py.File(results / "images/train.h5") as file:
        train = file["images"][()].astype(float)
        assert file.attrs["source_check"] == "made here"
    assert len(np.unique(train[:, 0, 0, 0])) == 60
    with h5py.File(results / "images/gen.h5") as file:
        queries = file["images"][()].astype(float)
    with h5py.File(results / "scores/as_bright/gen.h5") as file:
        scores = file["scores"][()]
    expected = -np.abs(queries.mean((1, 2, 3))[:, None] - train.mean((1, 2, 3))[None])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)

    # Every file of code has another date now, and one has another text.
    for path in library.rglob("*.py"):
        path.touch()
    assert "Nothing to be done" in run_in(tmp_path, "--dry-run")
    for name, expected in (("report/plots", set()), ("attributions", {"tabulate_attributions", "total"})):
        with open(library / f"{name}.py", "a") as file:
            file.write("# An edit.\n")
        plan = run_in(tmp_path, "--dry-run", "--quiet", "reason")
        assert set(re.findall(r"^(\w+) +\d+$", plan, re.MULTILINE)) == expected
