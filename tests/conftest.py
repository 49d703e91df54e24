"""Tests run side by side, one on each core: `make test` starts as many processes as there are cores."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# Processes side by side share the cores; alone, small tensors gain nothing from several.
torch.set_num_threads(1)


@cache
def shared_run(file):
    """Name of the run of the workflow that tests of a file use, which is made once for all of them."""
    found = re.search(r"\((undisturbed|published)\b", (ROOT / file).read_text())
    return found and found[1]


class BySharedRun(LoadScopeScheduling):
    """Tests that share a run go to one process, others of the workflow by file, and the rest one by one."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        if not file.startswith("tests/workflow/"):
            return nodeid
        return shared_run(file) or file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return BySharedRun(config, log)
