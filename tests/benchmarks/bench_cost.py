"""Passes through real networks against what `das.cost` says of them: time per FLOP, and memory.

Run `python tests/benchmarks/bench_cost.py [--pairs 5] [--models digits small cifar]`, which takes minutes. A
line is one kind of pass on one thread in float32: the achieved speed; its time and its FLOPs as multiples of
those of a forward pass; the ratio of the two, which `das.cost.estimate.OVERHEADS` holds (median, minimum and
maximum of interleaved passes); and the estimated and the measured peak memory of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from das.cost import architecture, estimate  # noqa: E402
from das.diffusion.process import Schedule  # noqa: E402
from das.gradients.extractor import Feature, Gradient  # noqa: E402
from das.gradients.hooks import CPU_BYTES, ImageGradients  # noqa: E402
from das.gradients.projection import make_projection  # noqa: E402

DIMENSION = 4096
TIMESTEPS = [0, 250, 500, 750]
# A UNet between those of the configuration, of 3.5M parameters.
SMALL = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [64, 128],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 32,
}
ROWS = {"digits": 128, "small": 64, "cifar": 8}
PASSES = ("forward", "training", "gradients")


def load_config(name: str) -> dict[str, Any]:
    """The configuration of a UNet by its name here."""
    if name == "small":
        return SMALL
    config: dict[str, Any] = json.loads((ROOT / "config" / "models" / f"{name}.json").read_text())
    return config


class Case:
    """A real network with a batch of rows, and the three kinds of passes as the workflow runs them."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        config, self.rows = load_config(name), ROWS[name]
        self.unet = UNet2DModel.from_config(config)
        shape = (config["in_channels"], config["sample_size"], config["sample_size"])
        self.images = torch.rand(self.rows // len(TIMESTEPS), *shape) * 2 - 1
        self.noise = torch.randn(self.rows, *shape)
        self.steps = torch.tensor(TIMESTEPS).repeat(len(self.images))

    def forward(self) -> Callable[[], object]:
        """A forward pass, as for losses and generation."""

        def run() -> None:
            self.unet.eval()
            with torch.no_grad():
                self.unet(self.noise, self.steps)

        return run

    def training(self) -> Callable[[], object]:
        """A training step, as in `das.diffusion.training`."""
        optimizer = torch.optim.AdamW(self.unet.parameters(), fused=True)

        def run() -> None:
            self.unet.train()
            self.unet(self.noise, self.steps).sample.square().mean().backward()
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return run

    def gradients(self) -> Callable[[], object]:
        """Per-image gradients, normalised and sketched."""
        shapes = {key: parameter.shape for key, parameter in self.unet.named_parameters()}
        projection = make_projection("count-sketch", DIMENSION, 0, shapes)
        hooks = ImageGradients(self.unet, Schedule.of(DDPMScheduler()), projection)
        wanted = [Feature(Gradient("mean", normalise=True))]
        return lambda: hooks.features(wanted, self.images, TIMESTEPS, self.noise, self.rows)


def estimated(name: str, kind: str) -> tuple[int, float]:
    """FLOPs of a batch, and the estimated memory in bytes of a process that runs it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.json")
        path.write_text(json.dumps(load_config(name)))
        network = architecture.build_architecture({"family": "unet", "unet": str(path)}).network
        rows = ROWS[name]
        memory = {
            "forward": lambda: architecture.forward_bytes(network, rows),
            "training": lambda: architecture.training_bytes(network, rows),
            "gradients": lambda: architecture.gradient_bytes(
                network, rows, DIMENSION, "count-sketch", CPU_BYTES
            ),
        }[kind]()
        return getattr(network, kind)(rows).flops, estimate.PROCESS_BYTES + memory


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory(name: str, kind: str) -> float:
    """Peak resident memory in bytes of a process that runs one kind of pass twice.

    Twice, because only the first step of a training makes AdamW's moments.
    """
    command = [sys.executable, __file__, "--measure-memory", name, kind]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(name: str, pairs: int, memory: dict[str, float]) -> list[str]:
    """The lines of one network."""
    runs = {kind: getattr(Case(name), kind)() for kind in PASSES}
    for run in runs.values():
        run()
    times = [{kind: seconds(run) for kind, run in runs.items()} for _ in range(pairs)]
    estimates = {kind: estimated(name, kind) for kind in PASSES}
    lines = []
    for kind in PASSES:
        flops, estimated = estimates[kind]
        work = flops / estimates["forward"][0]
        ratios = [sample[kind] / sample["forward"] for sample in times]
        overheads = [ratio / work for ratio in ratios]
        spread = f"{statistics.median(overheads):.2f} ({min(overheads):.2f}-{max(overheads):.2f})"
        speed = flops / statistics.median(sample[kind] for sample in times) / 1e9
        lines.append(
            f"{name:8} {kind:10} {ROWS[name]:5} {speed:8.1f} {statistics.median(ratios):7.2f} {work:7.2f} "
            f"{spread:18} {estimated / 1e9:9.2f} {memory[kind] / 1e9:9.2f} {estimated / memory[kind]:6.2f}"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved passes of each kind")
    parser.add_argument("--models", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--measure-memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure_memory:
        name, kind = arguments.measure_memory
        run = getattr(Case(name), kind)()
        run()
        run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    # First, because a process inherits the peak of the one that starts it.
    memory = {name: {kind: peak_memory(name, kind) for kind in PASSES} for name in arguments.models}
    print(
        f"{'model':8} {'pass':10} {'rows':>5} {'GFLOP/s':>8} {'time x':>7} {'FLOP x':>7} {'overhead':18} "
        f"{'GB est.':>9} {'GB meas.':>9} {'ratio':>6}"
    )
    for name in arguments.models:
        print("\n".join(compare(name, arguments.pairs, memory[name])), flush=True)


if __name__ == "__main__":
    main()
