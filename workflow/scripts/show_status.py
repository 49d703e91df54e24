"""Print what is done and left of a data set, and what it took: jobs, hours and memory by rule.

All of it is lds.csv; of a data set without retrained models, attributions.csv.
"""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from das import cli
from das.cost.status import describe_status, planned_jobs
from das.errors import UserError


def snakemake(*options):
    """What Snakemake prints, of its options and those of the user."""
    command = [str(Path(sys.executable).with_name("snakemake")), "--cores", "1", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise UserError(done.stdout.strip().splitlines()[-1].removeprefix("error: "))
    return done.stdout


def run(arguments):
    folder, more = f"results/{arguments.dataset}", arguments.options
    snakemake(f"{folder}/cost.csv", "--quiet", "all", *more)
    costs = pd.read_csv(f"{folder}/cost.csv")
    target = "lds.csv" if costs["models"].any() else "attributions.csv"
    left = planned_jobs(snakemake(f"{folder}/{target}", "--dry-run", "--quiet", "reason", *more))
    table = describe_status(costs, left)
    print(table.round(2).to_string(index=False, na_rep=""))


options = cli.parser(__doc__)
options.add_argument("dataset", help="its name")
options.add_argument("options", nargs="*", help="for Snakemake, behind --")
cli.main(run, options)
