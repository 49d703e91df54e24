"""What a job runs on, in words: the first line of its log. Imports torch only for jobs that run a model."""

from __future__ import annotations

import os
import platform
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.jobs.gpu_slots import VISIBLE
from das.jobs.memory import total_memory


@dataclass(frozen=True)
class CudaFacts:
    """What tells why torch finds no GPU."""

    build: str
    """Version of torch, such as 2.13.0+cpu."""
    toolkit: str | None
    """Version of CUDA, or of ROCm, that it was built with; None in a build for CPUs."""
    visible: str | None
    """The environment variable CUDA_VISIBLE_DEVICES; None where it is not set."""
    answer: str
    """What torch said when it was to start CUDA; empty where it started."""


def why_no_gpu(facts: CudaFacts) -> str:
    """Why torch finds no GPU, and what would change that."""
    if facts.toolkit is None:
        return f"this build of torch, {facts.build}, is for CPUs alone"
    if facts.visible is not None and facts.visible.strip() in ("", "-1"):
        return f"{VISIBLE} is {facts.visible!r} and hides all"
    if "driver on your system is too old" in facts.answer:
        found = re.search(r"found version (\d+)", facts.answer)
        known = f", it knows CUDA {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else ""
        return (
            f"the driver is too old for this build of torch, {facts.build} with CUDA {facts.toolkit}{known}"
        )
    if "no NVIDIA driver" in facts.answer:
        return "no NVIDIA driver is installed, or none is passed on to this container"
    if "No CUDA GPUs are available" in facts.answer or not facts.answer:
        if facts.visible is None:
            return "this machine, or this job of a cluster, has none"
        return f"{VISIBLE} is {facts.visible!r}, and there is none of that number"
    return " ".join(facts.answer.split())


def cuda_facts() -> CudaFacts:
    """The facts of this process; starts CUDA, if that can be."""
    import torch

    answer = ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        answer = str(error)
    toolkit = torch.version.cuda or torch.version.hip
    return CudaFacts(torch.__version__, toolkit, os.environ.get(VISIBLE), answer)


def describe_job(device: str | None, threads: int) -> str:
    """What a job runs on, with the memory there is.

    Args:
        device: as it was asked for, such as auto; None for a job that runs no model.
    """
    memory = f"{total_memory() / 1e9:.1f} GB of memory"
    processor = f"the CPU: {_processor()}, {threads} thread{'s' * (threads != 1)}, {memory}"
    cuda = re.fullmatch(r"auto|cuda(?::(\d+))?", device or "cpu")
    if not cuda:
        return f"runs on {processor}" if device in (None, "cpu") else f"asks for {device}"
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in which torch says what follows here
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            asked = f"runs on {processor}" if device == "auto" else f"asks for {device}"
            return f"{asked}; no GPU was found: {why_no_gpu(cuda_facts())}"
    number = int(cuda[1] or 0)
    if number >= count:
        return f"asks for {device}; GPUs found: {count}"
    try:
        found = torch.cuda.get_device_properties(number)
    except RuntimeError as error:  # it may be broken, or held by another alone
        return f"asks for {device}; GPU {number} does not answer: {' '.join(str(error).split())}"
    visible = f", {VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else ""
    return f"runs on cuda:{number}: {found.name}, {found.total_memory / 1e9:.1f} GB of memory{visible}"


def _processor() -> str:
    """The name of the processor, where the system tells."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def choose_device(name: str) -> Any:
    """The torch device of that name; "auto" is the GPU where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        without = name.startswith("cuda") and not torch.cuda.is_available()
        why = why_no_gpu(cuda_facts()) if without else str(error).split("\n")[0]
        raise UserError(
            f"execution.device: {name!r} is not usable here: {why}; allowed are auto, cpu, cuda"
        ) from error
    return device
