"""A job's log begins with what it runs on, and says why there is no GPU. No GPU is needed here."""

import re
import subprocess
import sys
import types
from pathlib import Path

import psutil
import pytest
import torch

from das import cli
from das.errors import UserError
from das.jobs import device, memory
from das.jobs.device import CudaFacts, choose_device, describe_job, why_no_gpu

GPU_BUILD = {"build": "2.13.0+cu130", "toolkit": "13.0"}
# What torch says when it is to start CUDA, word for word.
OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx "
)
NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver "
    "from http://www.nvidia.com/Download/index.aspx"
)
NONE = "No CUDA GPUs are available"
BROKEN = "CUDA unknown error - this may be due to an incorrectly set up environment,\n e.g. ..."
WHY = [
    (
        "2.13.0+cpu",
        None,
        None,
        "Torch not compiled with CUDA enabled",
        "torch, 2.13.0+cpu, is for CPUs alone",
    ),
    ("2.13.0+cu130", "13.0", "", NONE, "CUDA_VISIBLE_DEVICES is '' and hides all"),
    ("2.13.0+cu130", "13.0", "-1", NONE, "CUDA_VISIBLE_DEVICES is '-1' and hides all"),
    ("2.13.0+cu130", "13.0", "7", NONE, "CUDA_VISIBLE_DEVICES is '7', and there is none of that number"),
    ("2.13.0+cu130", "13.0", None, NONE, "this machine, or this job of a cluster, has none"),
    ("2.13.0+cu130", "13.0", None, NO_DRIVER, "no NVIDIA driver is installed"),
    ("2.13.0+cu130", "13.0", "0", OLD_DRIVER, "too old for this build of torch, 2.13.0+cu130 with CUDA 13.0"),
    ("2.13.0+cu130", "13.0", "0", OLD_DRIVER, "it knows CUDA 11.4"),
    ("2.13.0+cu130", "13.0", None, BROKEN, "CUDA unknown error - this may be due to"),
]


@pytest.mark.parametrize(("build", "toolkit", "visible", "answer", "expected"), WHY)
def test_the_reason_for_no_gpu_is_said(build, toolkit, visible, answer, expected):
    said = why_no_gpu(CudaFacts(build, toolkit, visible, answer))
    assert expected in said
    assert "\n" not in said


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as torch would describe them."""
    properties = types.SimpleNamespace(name="NVIDIA A100-SXM4-40GB", total_memory=42_400_000_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")


@pytest.mark.parametrize(("asked", "number"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_gpu_is_named_with_its_memory(gpus, asked, number):
    gpu = "NVIDIA A100-SXM4-40GB, 42.4 GB of memory, CUDA_VISIBLE_DEVICES=3,5"
    assert describe_job(asked, 4) == f"runs on {number}: {gpu}"


def test_a_gpu_that_is_not_there_is_said(gpus):
    assert describe_job("cuda:2", 4) == "asks for cuda:2; GPUs found: 2"


def test_a_gpu_that_is_broken_is_said_and_does_not_end_the_job(gpus, monkeypatch):
    def fail(number):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be ...")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert describe_job("auto", 4).startswith(
        "asks for auto; GPU 0 does not answer: CUDA error: uncorrectable"
    )


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "cuda_facts", lambda: CudaFacts("2.13.0+cpu", None, None, ""))


def test_the_cpu_is_named_with_its_memory_and_why_it_is_no_gpu(no_gpu):
    total = f"{memory.total_memory() / 1e9:.1f} GB of memory"
    reason = "no GPU was found: this build of torch, 2.13.0+cpu, is for CPUs alone"
    assert re.fullmatch(
        f"runs on the CPU: .+, 1 thread, {total}; {re.escape(reason)}", describe_job("auto", 1)
    )
    assert re.fullmatch(f"runs on the CPU: .+, 2 threads, {total}", describe_job("cpu", 2))
    assert describe_job(None, 2) == describe_job("cpu", 2)
    assert describe_job("cuda", 2) == f"asks for cuda; {reason}"


def test_a_gpu_that_was_asked_for_and_is_not_there_is_refused_with_the_reason(no_gpu):
    expected = (
        r"execution\.device: 'cuda' is not usable here: this build of torch, 2\.13\.0\+cpu, is for CPUs"
    )
    with pytest.raises(UserError, match=expected):
        choose_device("cuda")
    with pytest.raises(UserError, match="'nothing' is not usable here"):
        choose_device("nothing")


@pytest.mark.parametrize(
    ("listed", "limits", "expected"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/a/b\n", {"a/memory.max": "5000", "a/b/memory.max": "max"}, 5000),
        ("0::/a/b\n", {"a/memory.max": "5000", "a/b/memory.max": "4000"}, 4000),
        ("2:cpu,cpuacct:/a\n1:memory:/a\n", {"memory/a/memory.limit_in_bytes": "3000"}, 3000),
        ("1:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_is_what_control_groups_leave(listed, limits, expected, tmp_path):
    (tmp_path / "cgroup").write_text(listed)
    for name, limit in limits.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{limit}\n")
    total = memory.total_memory(tmp_path / "groups", tmp_path / "cgroup")
    assert total == (expected or psutil.virtual_memory().total)


@pytest.mark.parametrize("option", [["--device", "auto"], []], ids=["runs a model", "runs none"])
def test_it_is_the_first_line_of_a_log_and_of_every_attempt(option, tmp_path):
    program = (
        "import sys; from das import cli; options = cli.parser(None)\n"
        "if '--device' in sys.argv: options.add_argument('--device')\n"
        "cli.main(lambda arguments: cli.log.info('at work'), options)\n"
        "assert '--device' in sys.argv or 'torch' not in sys.modules"
    )
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", program, "--log", tmp_path / "log", *option],
            cwd=Path(cli.__file__).parents[1],
            check=True,
        )
    lines = (tmp_path / "log").read_text().splitlines()
    assert ["runs on" in line for line in lines] == [True, False, True, False]
    assert all("GB of memory" in line for line in lines[::2])
