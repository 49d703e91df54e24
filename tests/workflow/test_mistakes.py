"""A user's mistake is one line that names it, with status 1, and loses nothing."""

import pytest

from workflow.running import Workflow

# One of each way in which a rule asks the plan; tests/unit/plan/test_plan.py has the others.
MISTAKES = {
    "while the configuration is read": (
        {"evaluation": {"bootstrap": 3}},
        "results/tiny/lds.csv",
        "bootstrap: found 3, allowed is at least 100",
    ),
    "by an input": (
        {},
        "results/nothing/lds.csv",
        "error: results/nothing: no data set 'nothing', known are",
    ),
    "by inputs with names": (
        {},
        "results/tiny/predictions/journey_trak/val.h5",
        "error: tiny: journey_trak scores generated queries alone",
    ),
    "by a parameter": (
        {},
        "results/tiny/gradients/magic/train/shard-000.h5",
        "error: features: no 'magic', known are loss",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_or_the_target(tmp_path, mistake):
    change, target, message = MISTAKES[mistake]
    workflow = Workflow(tmp_path)
    workflow.config |= change
    done = workflow.run(target, "--dry-run")
    assert done.returncode == 1
    assert message in done.stdout
    assert sum("error:" in line for line in done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stdout


def test_a_mistake_in_one_data_set_stops_no_other(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["odd"] = {"source": {"kind": "digits"}, "surprise": 1}
    assert workflow.planned("results/tiny/subsets.h5")["draw_subsets"] == 1
    # By name, also where no rule makes such a file.
    done = workflow.run("results/odd/anything", "--dry-run")
    assert (done.returncode, "Traceback" in done.stdout) == (1, False)
    assert "error: datasets.odd: top level: found unknown key 'surprise'" in done.stdout


def test_a_class_that_is_too_small_for_the_subsets_is_named(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["tiny"]["split"]["train"] = 11
    done = workflow.run("results/tiny/subsets.h5")
    assert done.returncode == 1
    assert "error: lds.fraction: " in done.stdout
    assert "Traceback" not in done.stdout


def test_more_images_than_there_are_is_named(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["tiny"]["split"]["train"] = 5000
    done = workflow.run("results/tiny/images/train.h5")
    assert done.returncode == 1
    assert "the split needs 5012 images, but the chosen classes have 1797" in done.stdout
