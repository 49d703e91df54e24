import pytest

from workflow import published as published_data_sets
from workflow.running import Workflow

ALL = (
    "results/tiny/lds.csv",
    "results/tiny/lds.png",
    "results/tiny/lds_pairs.csv",
    "results/tiny/images/gen.png",
    "results/tiny/scores/das/gen.h5",
)
# What no table asks for.
MORE = (
    "results/tiny/kernels/gauss_newton.h5",
    "results/tiny/gradients/loss@journey/gen/shard-000.h5",
)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The tiny data set, computed without a break; tests must not change it."""
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"))
    workflow.make(*ALL, *MORE)
    return workflow


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The published data sets, on stand-ins, computed without a break; tests must not change them."""
    return published_data_sets.run(tmp_path_factory.mktemp("published"))
