"""The workflow on a real SLURM, through profiles/slurm: GPUs, faults, and the same bits as on one machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from cluster import Cluster, wait_for

from das.plan import configuration
from das.plan.needs import JobNeeds
from workflow.running import HOOKS, ROOT, Workflow, differing, heed_interrupts

TARGET = "results/tiny/lds_das.csv"
MODELS = "results/tiny/lds/models"
TRAINING = "train_subset_models_tiny_0"
# Everything that runs a model; the rest runs on the CPU.
ON_GPU = {
    "train_model.py",
    "generate_images.py",
    "measure_errors.py",
    "project_gradients.py",
    "train_subset_models.py",
    "evaluate_subset_models.py",
}
# What the profile's user edits, and a cluster without a database whose jobs take seconds.
SITE = {
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 2,
    "slurm-keep-successful-logs": True,
    "latency-wait": 20,
}


class OnCluster(Workflow):
    """The workflow in a folder, with its jobs on a cluster."""

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.cluster = cluster
        self.config["datasets"]["tiny"]["jobs"] |= {"gpus": 1, "images_per_shard": 60}
        self.config["execution"] = {"device": "cpu", "checkpoint_seconds": 0}

    def copy(self, folder):
        """A copy of what it has made, on the same cluster."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return OnCluster(folder, self.cluster)

    def command(self, *arguments):
        profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
        profile["default-resources"]["slurm_account"] = "test"
        # The profile's path is seen from the folder in which the workflow runs, here a temporary one.
        profile["slurm-partition-config"] = str(ROOT / profile["slurm-partition-config"])
        (self.folder / "profile").mkdir(exist_ok=True)
        (self.folder / "profile/config.yaml").write_text(yaml.safe_dump(profile | SITE))
        command = super().command("--workflow-profile", self.folder / "profile", *arguments)
        at = command.index("--cores")  # the profile says how many
        return command[:at] + command[at + 2 :]

    @property
    def environment(self):
        return self.cluster.environment | {
            "PYTHONPATH": HOOKS,
            "WITNESS": str(self.folder / "witness"),
            "POLL": "1",
        }

    def run(self, *arguments, **environment):
        return super().run(*arguments, **self.environment | environment)

    def start(self, *arguments, **environment):
        """Start Snakemake, in a session of its own, and return the process; its output goes to `output`."""
        with open(self.folder / "output", "w") as output:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=ROOT,
                env=os.environ | self.environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )

    def witnesses(self):
        return [json.loads(line) for line in (self.folder / "witness").read_text().splitlines()]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    with Cluster(folder) as started:
        yield started


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The artifacts of one machine, without a cluster."""
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"))
    workflow.config["datasets"]["tiny"]["jobs"]["images_per_shard"] = 60
    workflow.make(TARGET)
    return workflow


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """Everything, made on the cluster; tests must not change it."""
    workflow = OnCluster(tmp_path_factory.mktemp("cluster"), cluster)
    workflow.config["execution"]["gpu_model"] = "fake"  # other tests ask for a GPU of any type
    workflow.make(TARGET)
    return workflow


@pytest.fixture
def stalled(finished, tmp_path):
    """A copy in which the retrained models are missing, and whose training stalls after 20 of its steps."""
    workflow = finished.copy(tmp_path)
    shutil.rmtree(workflow.folder / MODELS)
    (workflow.folder / "witness").unlink()
    return workflow


def stalling(workflow):
    return {"STALL": f"train_subset_models.py 20 {workflow.folder}"}


def wait_until_stalled(workflow):
    wait_for((workflow.folder / "stalled").exists, 90, "the training to stall")


def finish(process, workflow, seconds=300):
    """Wait for Snakemake's end, which must be a success; returns what it printed."""
    code = process.wait(seconds)
    output = (workflow.folder / "output").read_text()
    assert code == 0, output
    return output


def trainings(workflow):
    return [seen for seen in workflow.witnesses() if seen["script"] == "train_subset_models.py"]


def needs_of(workflow):
    """What the jobs of a workflow's data set need."""
    schemas, file = ROOT / "workflow/schemas", ROOT / "config/config.yaml"
    config = configuration.validate(configuration.load_yaml(file), schemas / "config.schema.yaml", str(file))
    changes, schema = workflow.config["datasets"], schemas / "dataset.schema.yaml"
    return JobNeeds(
        configuration.load_datasets(ROOT / "config/datasets", changes, schema)["tiny"], config["execution"]
    )


def test_the_cluster_makes_what_one_machine_makes_with_gpus_for_jobs_that_ask(finished, undisturbed, cluster):
    assert differing(undisturbed.folder / "results", finished.folder / "results") == []
    seen = finished.witnesses()
    assert {job["script"] for job in seen} > ON_GPU
    for job in seen:
        assert job["SLURM_JOB_ID"], job
        if job["script"] in ON_GPU:
            assert (job["SLURMD_NODENAME"][0], job["CUDA_VISIBLE_DEVICES"]) == ("g", "0"), job
        else:
            assert (job["SLURMD_NODENAME"][0], job["CUDA_VISIBLE_DEVICES"]) == ("c", None), job
    # Memory, time and GPU of the last of them are what the formulas say of its network and images.
    needs = needs_of(finished).evaluate(16)
    evaluation = [job["SLURM_JOB_ID"] for job in seen if job["script"] == "evaluate_subset_models.py"][-1]
    asked = cluster.run("scontrol", "show", "job", evaluation)
    assert f"mem={needs.mem_mb}M" in asked and "gres:gpu:fake:1" in asked, asked
    assert f"TimeLimit=00:{needs.runtime:02d}:00" in asked, asked
    # Small jobs share a job of the cluster.
    grouped = [
        job["SLURM_JOB_ID"] for job in seen if job["script"] in ("predict_losses.py", "measure_lds.py")
    ]
    assert len(set(grouped)) < len(grouped)


def test_a_job_over_its_time_saves_its_step_and_is_queued_again(stalled, undisturbed):
    process = stalled.start(MODELS_TARGET, "--set-resources", f"{TRAINING}:runtime=1", **stalling(stalled))
    finish(process, stalled)
    assert len(trainings(stalled)) == 2
    # Told to end in its 21st step of six for each model, it saved that: the second job began behind it.
    log = (stalled.folder / "logs/tiny/train_subset_models/subset-00_seed-0.log").read_text()
    assert re.search(r"subset-03_seed-0: +50%.* 3/6 \[00:00", log), log
    assert differing(undisturbed.folder / MODELS, stalled.folder / MODELS) == []


def test_a_job_over_its_memory_is_queued_again_with_more_of_it_and_of_time(stalled, undisturbed, cluster):
    process = stalled.start(MODELS_TARGET, **stalling(stalled) | {"STALL_FILL": str(3 * 10**9)})
    finish(process, stalled)
    asked = [cluster.run("scontrol", "show", "job", seen["SLURM_JOB_ID"]) for seen in trainings(stalled)]
    memory, minutes = needs_of(stalled).train(30, 16)[:2]
    for attempt, job in enumerate(asked, 1):
        assert f"mem={attempt * memory}M" in job, job
        assert f"TimeLimit=00:{attempt * minutes:02d}:00" in job, job
    assert len(asked) == 2
    assert differing(undisturbed.folder / MODELS, stalled.folder / MODELS) == []


def test_a_node_goes_down_and_the_controller_away(stalled, undisturbed, cluster):
    process = stalled.start(MODELS_TARGET, **stalling(stalled))
    wait_until_stalled(stalled)
    cluster.stop_controller()
    time.sleep(3)
    cluster.start_controller()
    [node] = cluster.jobs().values()
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        finish(process, stalled)
    finally:
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert [seen["SLURMD_NODENAME"] for seen in trainings(stalled)] == [node, {"g1": "g2", "g2": "g1"}[node]]
    assert differing(undisturbed.folder / MODELS, stalled.folder / MODELS) == []


def test_snakemake_is_killed_and_its_job_goes_on(stalled, undisturbed, cluster):
    """Started again, it submits the job once more, which waits for the first and takes what that has made."""
    process = stalled.start(MODELS_TARGET, **stalling(stalled))
    wait_until_stalled(stalled)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stalled.make("--unlock")
    again = stalled.start(MODELS_TARGET)
    log = stalled.folder / "logs/tiny/train_subset_models/subset-00_seed-0.log"
    wait_for(
        lambda: log.exists() and "waiting for it to end" in log.read_text(), 60, "the second job to wait"
    )
    (stalled.folder / "go").touch()
    finish(again, stalled)
    assert len(trainings(stalled)) == 2
    assert differing(undisturbed.folder / MODELS, stalled.folder / MODELS) == []
    assert not any((stalled.folder / ".resume").iterdir())
    assert not cluster.jobs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_snakemake_told_to_end_leaves_no_job_and_continues(stalled, undisturbed, cluster, number):
    process = stalled.start(MODELS_TARGET, **stalling(stalled))
    wait_until_stalled(stalled)
    process.send_signal(number)
    if number == signal.SIGTERM:  # it waits for jobs that run
        (stalled.folder / "go").touch()
    assert process.wait(90) != 0 or number == signal.SIGTERM
    # The plugin cancels nothing when it is told to end while it looks at its jobs: docs/cluster.md.
    for job in cluster.jobs():
        cluster.run("scancel", job)
    wait_for(lambda: not cluster.jobs(), 30, "its jobs to end")
    finish(stalled.start(MODELS_TARGET), stalled)
    assert differing(undisturbed.folder / MODELS, stalled.folder / MODELS) == []


MODELS_TARGET = f"{MODELS}/subset-03_seed-0/unet/diffusion_pytorch_model.safetensors"
