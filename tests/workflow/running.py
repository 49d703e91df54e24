"""Running the workflow on tiny data sets, as a user would from the command line."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
HOOKS = str(ROOT / "tests/hooks")

UNET = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "dropout": 0.1,
}

TINY = {
    "source": {"kind": "digits"},
    "split": {"train": 60, "val": 12},
    "model": {"family": "unet", "unet": "unet.json"},
    "train": {"epochs": 3, "batch_size": 16, "learning_rate": 1.0e-3, "seed": 1},
    "generate": {"count": 12, "steps": 3},
    "errors": {"timesteps": 6},
    "gradients": {"timesteps": 3, "dimension": 64},
    "lds": {"subsets": 8, "timesteps": 4, "draws": 2, "train_seeds": [0, 1]},
    "jobs": {"models_per_job": 16, "images_per_shard": 30, "rows_per_batch": 32},
}


def heed_interrupts():
    """For a process to start: a shell makes what it starts in the background ignore SIGINT, and so tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Workflow:
    """A folder in which the workflow runs, with its own configuration."""

    def __init__(self, folder):
        self.folder = folder
        tiny = copy.deepcopy(TINY)
        tiny["model"]["unet"] = str(folder / "unet.json")
        self.config = {"datasets": {"tiny": tiny}, "evaluation": {"bootstrap": 100}}

    def copy(self, folder):
        """A copy of the workflow, with what it has made and its configuration, in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copied = Workflow(folder)
        copied.config = copy.deepcopy(self.config)
        return copied

    def command(self, *arguments):
        (self.folder / "unet.json").write_text(json.dumps(UNET))
        (self.folder / "override.yaml").write_text(yaml.safe_dump(self.config))
        snakemake = Path(sys.executable).with_name("snakemake")
        options = ["--directory", self.folder, "--configfile", self.folder / "override.yaml", "--cores", "2"]
        return [str(part) for part in (snakemake, *arguments, *options)]

    def run(self, *arguments, **environment):
        """Run Snakemake and return the finished process, output and errors together in `stdout`."""
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run_job(self, command, **environment):
        """Run the command of a job as Snakemake would; likewise."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            shell=True,
            executable="/bin/bash",
            cwd=self.folder,
            env=os.environ | {"PATH": path} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *targets):
        """Run Snakemake; it must succeed."""
        done = self.run(*targets)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *targets):
        """Jobs that a dry run plans, per rule; data sets, splits and numbers in its name are left out."""
        output = self.make(*targets, "--dry-run", "--quiet", "reason")
        table = output.rpartition("Job stats:")[2]  # which it prints twice
        shared = r"_[a-z0-9]+(?:_(?:checkpoint|seed)_\d+)?_(?:train|val|gen)(?:_\d+)+"  # gradient passes
        jobs = re.findall(rf"^([a-z]\w+?)(?:_tiny_\d+|{shared}|(?:_\d+)+)? +(\d+)$", table, re.MULTILINE)
        counts = Counter[str]()
        for rule, count in jobs:
            counts[rule] += int(count)
        del counts["total"]
        return dict(counts)


def overwrite_one_byte(path, position=None):
    """Change a byte of a file in place, by default near its end; its size stays, and its date is set back."""
    before, held = path.stat(), bytearray(path.read_bytes())
    held[-1 - min(20, len(held) // 2) if position is None else position] ^= 1
    with open(path, "r+b") as file:
        file.write(held)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def arrays(path):
    """The arrays of an HDF5 file or of weights, or the text of another file, for comparison."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".h5":
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
            )
        return found
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def comparable(folder):
    """Artifacts under a folder whose content says all: arrays, weights and tables, by their path in it."""
    suffixes = (".h5", ".safetensors", ".csv")
    return [path.relative_to(folder) for path in folder.rglob("*") if path.suffix in suffixes]


def differing(expected, found):
    """Artifacts under a folder that are not the same, to the bit, under another; provenance is left out.

    Tables hold seconds, which differ: of those every other column is compared.
    """
    names = comparable(expected)
    assert names
    return [str(name) for name in names if not _same(expected / name, found / name)]


def _same(one, other):
    if not other.exists():
        return False
    if one.suffix == ".csv":
        tables = [pd.read_csv(path).drop(columns="seconds", errors="ignore") for path in (one, other)]
        return tables[0].equals(tables[1])
    first, second = arrays(one), arrays(other)
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first
    )
