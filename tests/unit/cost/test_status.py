"""What is left of a data set: a dry run's jobs beside the estimate of all."""

import pandas as pd

from das.cost.measured import beside_measured, measured_jobs
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
        "hours": [2.0, 8.0, 0.0, 10.0],
        "memory_gb": [3.0, 2.0, 1.0, 3.0],
    }
)


def status(left, logs):
    """The table, by rule."""
    return describe_status(beside_measured(COSTS, measured_jobs(logs)), left).set_index("rule")


def benchmark(path, seconds, megabytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{megabytes}\n")


def test_jobs_left_are_those_of_the_dry_run_and_hours_their_share(tmp_path):
    table = status(planned_jobs(OUTPUT), tmp_path)
    assert table.left.to_dict() == {"train_model": 1, "train_subset_models": 2, "measure_lds": 1, "total": 4}
    assert table.done.to_dict() == {
        "train_model": 0,
        "train_subset_models": 14,
        "measure_lds": 19,
        "total": 33,
    }
    assert table.hours_left["train_subset_models"] == 1
    assert table.hours_left["total"] == 3


def test_nothing_is_left_where_nothing_would_run(tmp_path):
    left = planned_jobs("Nothing to be done (all requested files are present).\n")
    assert status(left, tmp_path).left.sum() == 0


def test_what_jobs_took_stands_beside_the_estimate(tmp_path):
    benchmark(tmp_path / "train_model.tsv", 7200, 1000)
    benchmark(tmp_path / "train_subset_models/subset-00_seed-0.tsv", 1800, 2000)
    benchmark(tmp_path / "train_subset_models/subset-01_seed-0.tsv", 5400, 500)
    benchmark(tmp_path / "measure_errors@seed-43/000.tsv", 36, 100)  # of no rule in the estimate above
    table = status({}, tmp_path)
    assert table.hours_taken["train_model"] == 2
    assert table.hours_taken["train_subset_models"] == 2
    assert table.memory_gb_taken["train_subset_models"] == 2000 * 2**20 / 1e9
    assert table.hours_taken["total"] == 4
    assert table.memory_gb.to_dict()["total"] == 3.0
    assert measured_jobs(tmp_path).hours_taken["measure_errors"] == 0.01
