"""What scoring takes once the features of the training images exist, beside a direct computation.

Run `python tests/benchmarks/bench_queries.py [--images 50000] [--queries 10] [--methods trak das]`;
50,000 images take 1.2 GB of disk. Features, kernel and images are synthetic, of the form and size of
CIFAR-10's: k = 4096 unless --dimension says otherwise, 32 pixels. Methods run as the workflow runs them,
in processes of their own, in turn, --repeats times: score_images at one damping, or with --predict
predict_losses for 64 subsets and the dampings of config/config.yaml. --also PATH/workflow/scripts runs
those of another checkout too.

"direct" is TRAK in a few lines: read all features, one Gram matrix, one solve, one product, and with
--predict the sums over subsets. Printed is the run of least CPU seconds of each: what it took, its CPU
seconds in those of "direct", and its share of the peak, which is what the arithmetic of "direct" would
take at the speed of a plain product of matrices.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from scipy.linalg import cho_factor, cho_solve

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from das.jobs import artifacts  # noqa: E402
from das.plan import configuration  # noqa: E402

SHARD, SIDE, SUBSETS = 1000, 32, 64


def write_features(folder: Path, count: int, k: int, random: np.random.Generator) -> list[Path]:
    """Shards of features, as `das.gradients.features` writes them."""
    settings = {"projection": "count-sketch", "dimension": k, "projection_seed": 0, "parameters": ""}
    paths = []
    for first in range(0, count, SHARD):
        paths.append(folder / f"shard-{first // SHARD:03d}.h5")
        rows = min(SHARD, count - first)
        named = {"precision": "torch.float32", "first": first, "count": rows, "seconds": 0.0}
        with artifacts.write(paths[-1], "features", "bench", settings, "w", **named) as file:
            file["features"] = random.standard_normal((rows, k), np.float32)
            file["timesteps"] = np.arange(1)
    return paths


def write_files(folder: Path, arguments: argparse.Namespace) -> dict[str, list[Path]]:
    """All that methods read, by the names of `das.methods.inputs`; and the subsets."""
    random, k, count = np.random.default_rng(0), arguments.dimension, arguments.images
    files = {
        "train_features": write_features(folder / "train", count, k, random),
        "query_features": write_features(folder / "val", arguments.queries, k, random),
    }

    def write(name: str, kind: str, of_model: str, **arrays: np.ndarray) -> None:
        files[name] = [folder / f"{name}.h5"]
        settings = {"projection": "count-sketch", "dimension": k, "projection_seed": 0, "parameters": ""}
        with artifacts.write(files[name][0], kind, "bench", settings, of_model, seconds=0.0) as file:
            for key, value in arrays.items():
                file[key] = value

    factor = random.standard_normal((k, k), np.float32).astype(np.float64)
    write("kernels", "kernel", "w", kernel=factor @ factor.T)
    write(
        "train_errors", "errors", "w", error=random.random((count, 50), np.float32), timesteps=np.arange(50)
    )
    for name, number in (("train_images", count), ("query_images", arguments.queries)):
        write(name, "images", "", images=random.integers(0, 256, (number, SIDE, SIDE, 3), np.uint8))
    write("subsets", "subsets", "", membership=random.random((SUBSETS, count)) < 0.5)
    return files


def command_of(
    entry: dict, scripts: Path, files: dict[str, list[Path]], arguments: argparse.Namespace
) -> list:
    """The command line of a method."""
    wanted = {"kernel": ["kernels"], "features": ["train_features", "query_features"]}
    named = [name for key in wanted if key in entry for name in wanted[key]]
    named += ["train_errors"] if entry["score"].startswith("das") and "kernel" not in entry else []
    named += ["train_images", "query_images"] if "raw" in entry["score"] else []
    command = [sys.executable, scripts / ("predict_losses.py" if arguments.predict else "score_images.py")]
    command += ["--score", entry["score"], "--split", "val", "--threads", arguments.threads]
    for name in named:
        command += ["--read", name, *files[name]]
    if arguments.predict:
        command += ["--subsets", *files["subsets"], "--dampings", *arguments.dampings]
    else:
        command += ["--damping", entry.get("damping", 0.1), "--top", "100"]
    return [*command, "--output", files["subsets"][0].parent / "out.h5"]


def direct(folder: Path, subsets: bool) -> None:
    """TRAK without blocks, checks or artifacts, into a file."""

    def read(split: str) -> np.ndarray:
        paths = sorted((folder / split).glob("*.h5"))
        return np.concatenate([h5py.File(path)["features"][:] for path in paths]).astype(np.float64)

    train, query = read("train"), read("val")
    gram = train.T @ train
    gram[np.diag_indices_from(gram)] += 0.1 * np.trace(gram) / len(gram)
    scores = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), query.T).T @ train.T
    if subsets:
        scores = scores @ h5py.File(folder / "subsets.h5")["membership"][:].astype(np.float64).T
    with h5py.File(folder / "direct.h5", "w") as file:
        file["scores"] = scores.astype(np.float32)


class Taken(NamedTuple):
    """What a process took: seconds of CPU and of wall-clock time, and the peak of memory in GB."""

    cpu: float
    wall: float
    memory: float


def measured(command: list, threads: int) -> Taken:
    """What a command takes."""
    limits = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), env=os.environ | limits)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: ended with status {status}: {' '.join(map(str, command[:6]))} ...")
    wall = time.perf_counter() - started
    return Taken(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1e6)


def seconds_per_flop(size: int = 1024) -> float:
    """CPU seconds of a product of matrices in float64, by its FLOPs; the least of a few."""
    matrix, taken = np.random.default_rng(0).standard_normal((size, size)), []
    for _ in range(5):
        started = time.process_time()
        matrix @ matrix
        taken.append(time.process_time() - started)
    return min(taken) / (2 * size**3)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--images", type=int, default=50_000)
    options.add_argument("--queries", type=int, default=10)
    options.add_argument("--dimension", type=int, default=4096)
    options.add_argument(
        "--methods", nargs="*", default=["das_gn_raw", "das_gn", "raw_kernel", "trak", "das"]
    )
    options.add_argument("--predict", action="store_true")
    options.add_argument("--also", type=Path, nargs="*", default=[])
    options.add_argument("--repeats", type=int, default=1)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--direct", type=Path, help=argparse.SUPPRESS)  # runs itself with it
    arguments = options.parse_args()
    if arguments.direct:
        direct(arguments.direct, arguments.predict)
        return
    config = configuration.load_yaml(ROOT / "config" / "config.yaml")
    arguments.dampings = config["evaluation"]["dampings"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, arguments)
        own = [sys.executable, __file__, "--direct", folder, *["--predict"] * arguments.predict]
        commands = {"direct": own}
        for method in arguments.methods:
            for scripts in (*arguments.also, SCRIPTS):
                label = f"{method}, {scripts}" if arguments.also else method
                commands[label] = command_of(config["methods"][method], scripts, files, arguments)
        peak, taken = [], {label: [] for label in commands}
        for _ in range(arguments.repeats):
            for label, command in commands.items():
                peak.append(seconds_per_flop())
                taken[label].append(measured(command, arguments.threads))
    n, k, q = arguments.images, arguments.dimension, arguments.queries
    flops = n * k**2 + k**3 / 3 + 2 * q * k**2 + 2 * q * n * k
    print(f"product of matrices: {1e-9 / min(peak):.0f} GFLOP/s; direct: {flops / 1e9:.0f} GFLOP")
    print("CPU s   wall s   GB   x direct   of peak")
    for label, each in taken.items():
        least = min(each)
        ratio, share = least.cpu / min(taken["direct"]).cpu, flops * min(peak) / least.cpu
        took = f"{least.cpu:5.1f}   {least.wall:6.1f}   {least.memory:.1f}"
        print(f"{took}   {ratio:8.2f}   {share:7.0%}   {label}")


if __name__ == "__main__":
    main()
