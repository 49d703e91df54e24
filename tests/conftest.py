"""Tests run side by side, one on each core: `make test` starts as many processes as there are cores."""

import os

import pytest
import torch

# Made once for all tests, which would take as long again in each process.
SHARED = ("undisturbed", "published")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep tests of one run of the workflow in one process; all others go wherever there is time."""
    for item in items:
        shared = next((name for name in SHARED if name in item.fixturenames), None)
        if shared or item.path.parent.name == "workflow":
            item.add_marker(pytest.mark.xdist_group(shared or item.path.stem))
