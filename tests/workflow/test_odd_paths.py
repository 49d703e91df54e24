"""Folders may be called as anybody likes: that of the workflow, its environment, and all of a user's own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from pictures import image_folder
from workflow.running import ROOT
from workflow.test_own import save_model

ODD = "it's ö (das) {dataset} <x> $HOME"
WORK = 'work {shard} <y> (2) "it\'s" $HOME'
PARTS = ("Makefile", "Snakefile", "config", "envs", "profiles", "requirements.txt", "rules", "workflow")
TARGETS = ("results/mine/scores/raw_dot/gen.h5", "results/mine/errors/train/shard-000.h5")
# A folder of pictures, one of a model, and a table: all that a user may bring along.
IMAGES, MODEL, PICTURES, TABLE = "-im{age}s#1", "my{model} & <co>", "`pictures`; 'mine'", "ta{b}le 1.csv"


def clone(folder):
    """The workflow and an environment of its own in a folder."""
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    packages = sysconfig.get_path("purelib", vars={"base": folder / ".venv"})
    Path(packages, "all.pth").write_text(sysconfig.get_path("purelib"))
    (folder / ".venv/run").touch()


def bring_along(folder):
    """Images, a table of them, a model and pictures; returns the settings of the data set `mine`."""
    image_folder(folder / IMAGES, per_class=6, size=8)
    names = sorted(str(path.relative_to(folder / IMAGES)) for path in (folder / IMAGES).rglob("*.*"))
    rows = "".join(f"{name},{name.split('/')[0]}\n" for name in names)
    (folder / IMAGES / TABLE).write_text(f"path,label\n{rows}")
    (folder / PICTURES).mkdir()
    shutil.copyfile(folder / IMAGES / names[0], folder / PICTURES / Path(names[0]).name)
    save_model(folder / MODEL, 0)
    return {
        "source": {"kind": "folder", "path": IMAGES, "table": TABLE},
        "model": {"path": MODEL},
        "queries": {"folder": PICTURES},
        "errors": {"timesteps": 2},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the clone `ODD`, a link to it, and another in which it has run, through the link."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / ODD).mkdir()
    clone(folder / ODD)
    (folder / "link").symlink_to(folder / ODD)
    (folder / WORK).mkdir()
    config = {"datasets": {"mine": bring_along(folder / WORK)}}
    (folder / WORK / "override.yaml").write_text(yaml.safe_dump(config))
    done = run(folder, folder / WORK, "--snakefile", "../link/Snakefile")
    assert done.returncode == 0, done.stdout
    return folder


def run(folder, where, *options):
    """Call Snakemake of the clone's environment from some folder."""
    command = [folder / ODD / ".venv/bin/python", "-m", "snakemake", *TARGETS, *options]
    command += ["--configfile", folder / WORK / "override.yaml", "--cores", "2"]
    pipe = subprocess.PIPE
    return subprocess.run(command, cwd=where, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_jobs_run_whatever_folders_are_called(finished):
    for target in TARGETS:
        assert (finished / WORK / target).is_file()


@pytest.mark.parametrize("way", ["by its own path", "from within, for another folder"])
def test_by_whatever_way_it_is_called_nothing_is_done_twice(finished, way):
    if way == "by its own path":
        done = run(finished, finished / WORK, "--snakefile", f"../{ODD}/Snakefile", "--dry-run")
    else:
        done = run(finished, finished / ODD, "--directory", finished / WORK, "--dry-run")
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout


def test_make_new_takes_names_as_they_stand(finished):
    own = {"IMAGES": IMAGES, "MODEL": MODEL, "PICTURES": PICTURES}
    clone = finished / ODD
    for name in own.values():
        (clone / name).symlink_to(finished / WORK / name)
    command = ["make", "new", "NAME=new", *(f"{name}={value}" for name, value in own.items())]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, env=os.environ | {"HOME": "/"})
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load((clone / "config/datasets/new.yaml").read_text())
    assert made["source"]["path"] == IMAGES
    assert (made["model"]["path"], made["queries"]["folder"]) == (MODEL, PICTURES)


def test_what_snakemake_cannot_send_to_a_cluster_is_refused_before_anything_is_lost(finished):
    cluster = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", "false", "--jobs", "1"]
    done = run(finished, finished / WORK, "--snakefile", "../link/Snakefile", "--forceall", *cluster)
    assert done.returncode == 1
    assert ".venv/bin/python: for a cluster, its path must not hold" in done.stdout.splitlines()[-1]
    for target in TARGETS:
        assert (finished / WORK / target).is_file()
