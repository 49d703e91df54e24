"""Cost of per-image gradients against a plain batched forward and backward pass, and of projections.

Run `python tests/benchmarks/bench_gradients.py [--rounds 5] [--model digits|cifar2|both]`. All that is
compared runs in turn, in rounds, on one thread in float32; ratios are medians (with minimum and maximum) of
those within a round. The first table is of the library and its peers (peers.py) on the same rows, each
followed by exact norms and the count sketch to k = 4096, with the output function "mean". On CIFAR2 they run
on few rows, and so does the floor. Memory is the peak of a process of its own. The error is of four rows
against one row at a time in float64, the largest relative to the norm of a feature; "as it comes" is that of
a peer that is not mended.

The second table projects gradients [rows, p] of the loss of digits that are already there to k = 4096. The
error is that of inner products of all pairs of rows, relative to their norms: root mean square over pairs and
rounds, each with a seed of its own. A peer that is missing or fails has a line that says so.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import peers  # noqa: E402

from das.diffusion.process import Schedule  # noqa: E402
from das.gradients.extractor import Feature, Gradient, LoopGradients  # noqa: E402
from das.gradients.hooks import ImageGradients  # noqa: E402
from das.gradients.projection import canonical_order, make_projection  # noqa: E402

CONFIGS = {"digits": "digits.json", "cifar2": "cifar.json"}
# torch says that vmap falls back to a loop in attention; that is part of what is measured.
warnings.filterwarnings("ignore", message="There is a performance drop")
warnings.filterwarnings("ignore", message="Full backward hook is firing")

TIMESTEPS = [0, 250, 500, 750]
DIMENSION = 4096
MEAN = [Feature(Gradient("mean", normalise=True))]
PEERS = {"vmap": peers.Vmap, "opacus": peers.Opacus, "captum": peers.Captum}
METHODS = ("hooks", *PEERS, "loop")
# Rows that are compared: few of CIFAR2, where each takes a second. And rows in the peak of memory.
ROWS = {"digits": 128, "cifar2": 4}
MEMORY_ROWS = {"digits": 128, "cifar2": 20}
PROJECTED_ROWS, PROJECTION_ROUNDS = 64, 3
PACKAGES = ("torch", "opacus", "captum", "traker", "dattri")


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
        self.shapes = {key: parameter.shape for key, parameter in self.unet.named_parameters()}
        self.projection = make_projection("count-sketch", DIMENSION, 0, self.shapes)

    def floor(self) -> None:
        """A plain batched pass that accumulates the sum of the gradients."""
        self.unet.zero_grad(set_to_none=True)
        self.unet(self.noised, self.steps).sample.flatten(1).mean(1).sum().backward()

    def method(self, method: str, mended: bool = True) -> Callable[[], Tensor]:
        """What computes the features: the library's fast path, its loop over rows, or a peer."""
        if method in PEERS:
            peer = PEERS[method](copy.deepcopy(self.unet), mended)
            return lambda: self._features(peer(self.noised, self.steps))
        extractor = ImageGradients if method == "hooks" else LoopGradients
        features = extractor(self.unet, self.schedule, self.projection).features
        return lambda: features(MEAN, self.images, TIMESTEPS, self.noise, self.rows)[0]

    def _features(self, row_gradients: Iterable[tuple[str, Tensor]]) -> Tensor:
        """Norms and projection of a peer's gradients."""
        accumulator = self.projection.accumulator(self.rows)
        squared = torch.zeros(self.rows, dtype=torch.float64)
        for name, gradients in row_gradients:
            flat = torch.vmap(canonical_order)(gradients)
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

    def gradients(self) -> Tensor:
        """Gradients of the loss, divided by their norms, without a projection: [rows, p]."""
        hooks = ImageGradients(self.unet, self.schedule, make_projection("none", 0, 0, self.shapes))
        wanted = [Feature(Gradient("loss", normalise=True), by_timestep=True)]
        return hooks.features(wanted, self.images, TIMESTEPS, self.noise, self.rows)[0].flatten(0, 1)


def count_sketch(size: int, dimension: int, seed: int) -> peers.Projector:
    """The library's projection, in the form of the peers'."""
    sketch = make_projection("count-sketch", dimension, seed, {"all": (size,)})

    def project(gradients: Tensor) -> Tensor:
        accumulator = sketch.accumulator(len(gradients))
        sketch.add(accumulator, "all", gradients)
        return sketch.finish(accumulator)

    return project


PROJECTORS: Mapping[str, Callable[[int, int, int], peers.Projector]] = {
    "count sketch": count_sketch,
    "trak normal": peers.trak_projector,
    "dattri rademacher": partial(peers.dattri_projector, "rademacher"),
    "dattri random_mask": partial(peers.dattri_projector, "random_mask"),
}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time of one call, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def running(model: str, makers: Mapping[str, Callable[[], Callable]], *inputs: Tensor) -> dict[str, Callable]:
    """What can be made and called with the inputs, which warms it up; a line for each that cannot."""
    calls = {}
    for name, make in makers.items():
        try:
            call = make()
            call(*inputs)
        except Exception as error:
            print(f"{model:8} {name:18} fails: {type(error).__name__}: {error}", flush=True)
        else:
            calls[name] = call
    return calls


def line(model: str, name: str, rows: int, times: list[float], base: list[float], errors: list[float]) -> str:
    """A line of a table: ratios to the base within rounds, times per row and errors."""
    ratios = [a / b for a, b in zip(times, base, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    per_row = statistics.median(times) / rows * 1e3
    return f"{model:8} {name:18} {rows:5} {spread:24} {per_row:10.2f}" + "".join(f"{e:14.1e}" for e in errors)


def heading(base: str, *errors: str) -> str:
    """The line above a table."""
    ratio = f"times the {base}"
    return f"{'model':8} {'':18} {'rows':>5} {ratio:24} {'ms per row':>10}" + "".join(
        f"{e:>14}" for e in errors
    )


def compare_methods(name: str, rounds: int) -> None:
    """Print the lines of a model's gradients."""
    few = Case(name, len(TIMESTEPS))
    exact = few.exact()

    def error(method: str, mended: bool) -> float:
        features = few.method(method, mended)()
        return float((features - exact).norm(dim=1).max() / exact.norm(dim=1).max())

    case = Case(name, ROWS[name])
    case.floor()
    calls = running(name, {method: partial(case.method, method) for method in METHODS})
    calls = {"floor": case.floor, **calls}
    times: dict[str, list[float]] = {method: [] for method in calls}
    for _ in range(rounds):
        for method, call in calls.items():
            times[method].append(timed(call)[0])
    floor = times.pop("floor")
    for method, taken in times.items():
        errors = [error(method, mended) for mended in ([True, False] if method in PEERS else [True])]
        print(line(name, method, case.rows, taken, floor, errors), flush=True)


def compare_projectors(name: str) -> None:
    """Print the lines of projections of a model's gradients."""
    gradients = Case(name, PROJECTED_ROWS).gradients()
    size = gradients.shape[1]

    def products(rows: Tensor) -> Tensor:
        return rows.double() @ rows.double().T

    makers = {projector: partial(make, size, DIMENSION, 0) for projector, make in PROJECTORS.items()}
    names = list(running(name, makers, gradients[:1]))
    exact = products(gradients)
    times: dict[str, list[float]] = {projector: [] for projector in names}
    squares: dict[str, list[float]] = {projector: [] for projector in names}
    for seed in range(PROJECTION_ROUNDS):
        for projector in names:
            project = PROJECTORS[projector](size, DIMENSION, seed)
            taken, projected = timed(partial(project, gradients))
            times[projector].append(taken)
            squares[projector].append(float((products(projected) - exact).square().mean()))
    for projector in names:
        error = statistics.mean(squares[projector]) ** 0.5
        print(line(name, projector, PROJECTED_ROWS, times[projector], times[names[0]], [error]), flush=True)


def version(package: str) -> str:
    """Which version of a package there is, if any."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} is not installed"


def peak_memory(name: str) -> float:
    """Peak resident memory in GB of a process that runs the hooks once."""
    command = [sys.executable, __file__, "--measure-memory", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of gradients")
    parser.add_argument("--model", choices=[*CONFIGS, "both"], default="both")
    parser.add_argument("--measure-memory", choices=list(CONFIGS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure_memory:
        Case(arguments.measure_memory, MEMORY_ROWS[arguments.measure_memory]).method("hooks")()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
        return
    print(", ".join(map(version, PACKAGES)))
    names = list(CONFIGS) if arguments.model == "both" else [arguments.model]
    # First, because a process inherits the peak of the one that starts it.
    for name in names:
        print(f"{name:8} hooks, {MEMORY_ROWS[name]} rows: peak memory {peak_memory(name):.2f} GB", flush=True)
    print(heading("floor", "error", "as it comes"))
    for name in names:
        compare_methods(name, arguments.rounds)
    print(heading("sketch", "error"))
    compare_projectors("digits")


if __name__ == "__main__":
    main()
