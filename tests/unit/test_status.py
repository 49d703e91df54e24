"""What is left of a data set: a dry run's jobs beside the estimate of all."""

import pandas as pd

from das.cost.status import describe_status, planned_jobs

OUTPUT = """\
Building DAG of jobs...
Job stats:
job                              count
-----------------------------  -------
measure_lds                          1
train_subset_models_cifar2_0         1
train_subset_models_cifar2_12        1
train_model_unet_25_50_75            1
total                                4

Job stats:
job                              count
"""
COSTS = pd.DataFrame(
    {
        "rule": ["train_model", "train_subset_models", "measure_lds", "total"],
        "jobs": [1, 16, 20, 37],
        "gpu_hours": [2.0, 8.0, 0.0, 10.0],
    }
)


def test_jobs_left_are_those_of_the_dry_run_and_hours_their_share():
    table = describe_status(COSTS, planned_jobs(OUTPUT)).set_index("rule")
    assert table.left.to_dict() == {"train_model": 1, "train_subset_models": 2, "measure_lds": 1, "total": 4}
    assert table.done.to_dict() == {
        "train_model": 0,
        "train_subset_models": 14,
        "measure_lds": 19,
        "total": 33,
    }
    assert table.gpu_hours_left["train_subset_models"] == 1
    assert table.gpu_hours_left["total"] == 3


def test_nothing_is_left_where_nothing_would_run():
    table = describe_status(COSTS, planned_jobs("Nothing to be done (all requested files are present).\n"))
    assert table.left.sum() == 0
