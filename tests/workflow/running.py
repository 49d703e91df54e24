"""Running the workflow on tiny data sets, as a user would from the command line."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

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

    def make(self, *targets):
        """Run Snakemake; it must succeed."""
        done = self.run(*targets)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *targets):
        """Jobs that a dry run plans, per rule; numbers at the end of a rule's name are left out."""
        output = self.make(*targets, "--dry-run", "--quiet", "reason")
        jobs = re.findall(r"^([a-z]\w+?)(?:_tiny_\d+|(?:_\d+)+)? +(\d+)$", output, re.MULTILINE)
        return {rule: int(count) for rule, count in jobs if rule != "total"}
