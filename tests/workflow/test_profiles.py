"""Profiles for clusters, by dry runs: that Snakemake takes them. What jobs then ask for, tests/slurm sees."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflow.running import ROOT

SNAKEMAKE = Path(sys.executable).with_name("snakemake")


@pytest.mark.parametrize("profile", ["slurm", "generic"])
def test_a_dry_run_with_a_profile_plans_the_published_protocol(profile):
    options = ["--workflow-profile", f"profiles/{profile}", "--dry-run", "--quiet", "reason"]
    command = [SNAKEMAKE, "results/cifar2/lds_das.csv", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert f"workflow specific profile profiles/{profile}" in output
    assert re.search(r"^train_subset_models_unet +192$", output, re.MULTILINE)


def test_the_rules_that_the_slurm_profile_groups_are_there_and_run_no_model():
    groups = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())["groups"]
    listed = subprocess.run([SNAKEMAKE, "--list-rules"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(groups) <= set(listed.stdout.split())
    assert not any(name.startswith(("train", "evaluate", "project", "measure_errors")) for name in groups)
