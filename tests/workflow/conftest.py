import pytest

import tiny_sd
from workflow import published as published_data_sets
from workflow.running import Workflow

ALL = (
    "results/tiny/lds.csv",
    "results/tiny/lds.png",
    "results/tiny/lds_pairs.csv",
    "results/tiny/images/gen.png",
    "results/tiny/scores/das/gen.h5",
)


# One for each kind of input that methods have, and of parts that they are averaged over.
METHODS = [
    "raw_cos",
    "raw_kernel",
    "clip_cos",
    "tracin",
    "nda",
    "journey_trak",
    "dtrak",
    "das",
    "das_per_timestep",
    "das_gn_raw",
    "empirical_influence",
    "datamodel",
    "das_ensemble",
]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The tiny data set with what every method needs, computed without a break; tests must not change it."""
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"))
    tiny_sd.build_clip(workflow.folder / "clip")
    workflow.config["clip"] = {"model": "clip"}
    workflow.config["evaluation"]["methods"] = METHODS
    more = {"ensemble": {"seeds": [5]}, "retrain": {"subsets": 8, "train_seeds": [7]}}
    workflow.config["datasets"]["tiny"] |= more
    workflow.config["datasets"]["tiny"]["train"]["checkpoints"] = [50]
    workflow.make(*ALL)
    return workflow


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The published data sets, on stand-ins, computed without a break; tests must not change them."""
    return published_data_sets.run(tmp_path_factory.mktemp("published"))
