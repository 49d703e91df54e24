"""Cost of per-image gradients against a plain batched forward and backward pass of the same rows.

Run `python tests/benchmarks/bench_gradients.py [--pairs 5] [--model digits|cifar2|both]`. Ratios are medians
(with minimum and maximum) of interleaved pairs on one thread in float32: count sketch to k = 4096, exact
norms, output function "mean". The methods that are slow on CIFAR2 run on fewer rows, and so does their floor.
Memory is the peak of a process of its own. The error is of four rows against one row at a time in float64,
the largest relative to the norm of a feature.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from das.diffusion.process import Schedule  # noqa: E402
from das.gradients.extractor import Feature, Gradient, LoopGradients  # noqa: E402
from das.gradients.hooks import ImageGradients  # noqa: E402
from das.gradients.projection import canonical_order, make_projection  # noqa: E402

CONFIGS = {"digits": "digits.json", "cifar2": "cifar.json"}
# torch says that vmap falls back to a loop in attention; that is part of what is measured.
warnings.filterwarnings("ignore", message="There is a performance drop")

TIMESTEPS = [0, 250, 500, 750]
DIMENSION = 4096
MEAN = [Feature(Gradient("mean", normalise=True))]
# Rows for the hooks, for vmap, which takes them all at once, and for the loop.
ROWS = {"digits": (128, 128, 128), "cifar2": (20, 4, 4)}


class Case:
    """A model with rows of inputs, and the ways to compute the features of the rows."""

    def __init__(self, name: str, rows: int) -> None:
        torch.manual_seed(0)
        config = json.loads((ROOT / "config" / "models" / CONFIGS[name]).read_text())
        self.unet: nn.Module = UNet2DModel.from_config(config).eval()
        self.schedule = Schedule.of(DDPMScheduler())
        shape = (config["in_channels"], config["sample_size"], config["sample_size"])
        self.rows = rows
        self.images = torch.rand(rows // len(TIMESTEPS), *shape) * 2 - 1
        self.noise = torch.randn(rows, *shape)
        self.steps = torch.tensor(TIMESTEPS).repeat(len(self.images))
        repeated = self.images.repeat_interleave(len(TIMESTEPS), 0)
        self.noised = self.schedule.add_noise(repeated, self.noise, self.steps)
        shapes = {key: parameter.shape for key, parameter in self.unet.named_parameters()}
        self.projection = make_projection("count-sketch", DIMENSION, 0, shapes)
        settings = (self.unet, self.schedule, self.projection)
        self._hooks, self._loop = ImageGradients(*settings), LoopGradients(*settings)

    def floor(self) -> None:
        """A plain batched pass that accumulates the sum of the gradients."""
        self.unet.zero_grad(set_to_none=True)
        self.unet(self.noised, self.steps).sample.flatten(1).mean(1).sum().backward()

    def hooks(self) -> Tensor:
        """The library's fast path."""
        return self._hooks.features(MEAN, self.images, TIMESTEPS, self.noise, self.rows)[0]

    def loop(self) -> Tensor:
        """The library's loop, one row at a time."""
        return self._loop.features(MEAN, self.images, TIMESTEPS, self.noise, self.rows)[0]

    def vmap(self) -> Tensor:
        """vmap(grad) over rows, with the same norms and projection."""
        parameters = {name: parameter.detach() for name, parameter in self.unet.named_parameters()}

        def output(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
            return torch.func.functional_call(self.unet, parameters, (x[None], t[None])).sample.mean()

        per_row = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0, 0))
        accumulator = self.projection.accumulator(self.rows)
        squared = torch.zeros(self.rows, dtype=torch.float64)
        for name, gradient in per_row(parameters, self.noised, self.steps).items():
            flat = torch.stack([canonical_order(row) for row in gradient])
            self.projection.add(accumulator, name, flat)
            squared += torch.linalg.vector_norm(flat, dim=1).double().square()
        projected = self.projection.finish(accumulator) / squared.sqrt().float()[:, None]
        return projected.unflatten(0, (-1, len(TIMESTEPS))).mean(1)

    def exact(self) -> Tensor:
        """One row at a time in float64, projected in float32 as all are."""
        network = copy.deepcopy(self.unet).double()
        total = torch.zeros(self.rows, DIMENSION)
        for row in range(self.rows):
            network.zero_grad(set_to_none=True)
            network(self.noised[[row]].double(), self.steps[[row]]).sample.mean().backward()
            gradients = {name: canonical_order(p.grad) for name, p in network.named_parameters()}
            norm = torch.cat(list(gradients.values())).norm()
            accumulator = self.projection.accumulator(1)
            for name, gradient in gradients.items():
                self.projection.add(accumulator, name, (gradient / norm)[None].float())
            total[row] = self.projection.finish(accumulator)[0]
        return total.unflatten(0, (-1, len(TIMESTEPS))).mean(1)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, method: str, rows: int, pairs: int) -> str:
    """A line of the table: the ratio of a method's time to the floor's, after a warm-up of both."""
    case = Case(name, rows)
    run = getattr(case, method)
    case.floor()
    run()
    ratios, times = [], []
    for _ in range(pairs):
        floor = seconds(case.floor)
        times.append(seconds(run))
        ratios.append(times[-1] / floor)
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    few = Case(name, len(TIMESTEPS))
    exact = few.exact()
    error = float((getattr(few, method)() - exact).norm(dim=1).max() / exact.norm(dim=1).max())
    per_row = statistics.median(times) / rows * 1e3
    return f"{name:8} {method:8} {rows:5} {spread:22} {per_row:12.1f} {error:8.0e}"


def peak_memory(name: str) -> float:
    """Peak resident memory in GB of a process that runs the hooks once."""
    command = [sys.executable, __file__, "--measure-memory", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs per line")
    parser.add_argument("--model", choices=[*CONFIGS, "both"], default="both")
    parser.add_argument("--measure-memory", choices=list(CONFIGS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure_memory:
        Case(arguments.measure_memory, ROWS[arguments.measure_memory][0]).hooks()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
        return
    names = list(CONFIGS) if arguments.model == "both" else [arguments.model]
    # First, because a process inherits the peak of the one that starts it.
    for name in names:
        print(f"{name:8} hooks, {ROWS[name][0]} rows: peak memory {peak_memory(name):.2f} GB", flush=True)
    print(
        f"{'model':8} {'method':8} {'rows':>5} {'times the floor':22} {'ms per row':>12} {'error':>8}",
        flush=True,
    )
    for name in names:
        for method, rows in zip(("hooks", "vmap", "loop"), ROWS[name], strict=True):
            print(compare(name, method, rows, arguments.pairs), flush=True)


if __name__ == "__main__":
    main()
