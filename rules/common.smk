"""The plan, which all other rule files ask (workflow/scripts/das/plan/), and what only Snakemake can say.

Needs config/config.yaml and config/datasets/*.yaml; makes nothing. Never imports torch, so that a dry
run stays fast.
"""

import os
import re
import shlex
import sys

# Not by the path that Snakemake was called with: through a link, it would name other files than without.
HOME = os.path.realpath(workflow.basedir)
sys.path.insert(0, f"{HOME}/workflow/scripts")

from das.data.sources.published import PUBLISHED
from das.errors import UserError
from das.jobs.logs import errors_of_jobs
from das.plan import code, evaluation, importance, models, passes, pools, resources, shards, sources
from das.plan.code import script_file
from das.plan.paths import TESTS
from das.plan.plan import Plan, section, setting


def literally(text):
    """The text as Snakemake formats it to itself, whatever braces it holds."""
    return text.replace("{", "{{").replace("}", "}}")


def fail(message):
    """End with one line and status 1; used for mistakes in the configuration or the command line."""
    sys.exit(f"error: {message}")


ENVIRONMENT = literally(f"{HOME}/envs/das.yaml")
try:
    PLAN = Plan.load(HOME, config, workflow.config_settings.config)
    PLAN.require_targets(sys.argv[1:])
except UserError as error:
    fail(error)
config = PLAN.config

if not workflow.deployment_settings.deployment_method:
    # Scripts run in this environment, whether or not it has been activated.
    shell.prefix(literally(f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "))
# For jobs: glibc gives freed memory back, and a step of training on a CPU then waits for the same pages again.
# Either setting alone makes that worse. What a user has set stays.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 1024**2))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(256 * 1024**2))


wildcard_constraints:
    dataset=r"\w+",
    features=r"\w+",
    kernel=r"\w+",
    patches=r"\w+",
    preconditioner=r"\w+",
    request="[0-9a-f]{12}",
    method=r"\w+",
    split="train|val|gen",
    test="|".join(TESTS),
    variant=r"(@(checkpoint|seed)-\d+)?",
    shard=r"\d{3}",
    subset=r"\d\d+",
    seed=r"\d+",


def planned(decide, *arguments):
    """An input, params or resources function: what the plan decides, where a mistake ends with one line."""

    def decided(wildcards):
        try:
            return decide(PLAN, wildcards, *arguments)
        except UserError as error:
            fail(error)

    return decided


def unwatched(decide, *arguments):
    """A params function likewise that is no reason to run a job again: to Snakemake, none is that takes `input`."""
    decided = planned(decide, *arguments)
    return lambda wildcards, input: decided(wildcards)


def code_of(script):
    """A params function: a hash of the code that decides the result of a script, see `das.jobs.code`."""
    return planned(code.script_code, script)


def shown(file, caption, category, name):
    """An output that Snakemake's own report shows (`snakemake --report`)."""
    return report(
        file,
        caption=f"../workflow/report/{caption}.rst",
        category=category,
        labels={"data set": "{dataset}", "what": name},
    )
