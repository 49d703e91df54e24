"""Tests run side by side, one on each core: `make test` starts as many processes as there are cores."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@cache
def shares_a_run(file):
    """Whether tests of a file use a run of the workflow that is made once, for all of them."""
    return re.search(r"\b(undisturbed|published)\b", (ROOT / file).read_text()) is not None


class BySharedRun(LoadScopeScheduling):
    """Tests that share a run go to one process, others of the workflow by file, and the rest one by one."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        if not file.startswith("tests/workflow/"):
            return nodeid
        return "shared runs" if shares_a_run(file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return BySharedRun(config, log)
