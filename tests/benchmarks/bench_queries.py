"""What it takes to score further pictures once the features of 50,000 training images exist.

Run `python tests/benchmarks/bench_queries.py [--images 50000] [--methods das_gn_raw das_gn] [--threads 2]`;
it takes 1.2 GB of disk. Features, kernel and images are synthetic, of the form and size of CIFAR-10's:
k = 4096, 32 pixels, ten pictures. Each method runs as the workflow runs it, in a process of its own. Seconds
and the peak of memory are printed, beside the seconds of reading the files of features, which the system may
still hold in memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from das import artifacts, configuration  # noqa: E402

DIMENSION, SHARD, QUERIES, SIDE = 4096, 1000, 10, 32
SETTINGS = {"projection": "count-sketch", "dimension": DIMENSION, "projection_seed": 0, "parameters": ""}


def write_features(folder: Path, count: int, random: np.random.Generator) -> list[Path]:
    """Shards of features, as `das.gradients.features` writes them."""
    paths = []
    for first in range(0, count, SHARD):
        paths.append(folder / f"shard-{first // SHARD:03d}.h5")
        rows = min(SHARD, count - first)
        named = {"precision": "torch.float32", "first": first, "count": rows}
        with artifacts.write(paths[-1], "features", "bench", SETTINGS, "w", **named) as file:
            file["features"] = random.standard_normal((rows, DIMENSION), np.float32)
            file["timesteps"] = np.arange(1)
    return paths


def write_rest(folder: Path, count: int, random: np.random.Generator) -> None:
    """Kernel, errors and images."""
    factor = random.standard_normal((DIMENSION, DIMENSION), np.float32).astype(np.float64)
    with artifacts.write(folder / "kernel.h5", "kernel", "bench", SETTINGS, "w") as file:
        file["kernel"] = factor @ factor.T
    with artifacts.write(folder / "errors.h5", "errors", "bench", {}, "w") as file:
        file["error"] = random.random((count, 50), np.float32)
        file["timesteps"] = np.arange(50)
    for name, number in (("train", count), ("gen", QUERIES)):
        with artifacts.write(folder / f"{name}.h5", "images", "bench", {}) as file:
            file["images"] = random.integers(0, 256, (number, SIDE, SIDE, 3), np.uint8)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=50_000)
    options.add_argument("--methods", nargs="+", default=["das_gn_raw", "das_gn", "raw_kernel"])
    options.add_argument("--threads", type=int, default=2)
    arguments = options.parse_args()
    configured = configuration.load_yaml(ROOT / "config" / "config.yaml")["methods"]
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = write_features(folder / "train", arguments.images, random)
        query = write_features(folder / "gen", QUERIES, random)
        write_rest(folder, arguments.images, random)
        started = time.perf_counter()
        for path in train:
            path.read_bytes()
        print(f"reading the features: {time.perf_counter() - started:.2f} s")
        for method in arguments.methods:
            entry = configured[method]
            command = [
                sys.executable,
                SCRIPTS / "score_images.py",
                "--score",
                entry["score"],
                "--split",
                "gen",
            ]
            command += [
                "--damping",
                str(entry.get("damping", 0.1)),
                "--top",
                "100",
                "--output",
                folder / "scores.h5",
            ]
            command += ["--threads", str(arguments.threads)]
            if "features" in entry:
                command += ["--train-features", *train, "--query-features", *query]
            if "kernel" in entry:
                command += ["--kernels", folder / "kernel.h5"]
            if entry["score"] in ("das", "dtrak"):
                command += ["--train-errors", folder / "errors.h5"]
            if "raw" in method:
                command += ["--train-images", folder / "train.h5", "--query-images", folder / "gen.h5"]
            started = time.perf_counter()
            threads = {
                "OMP_NUM_THREADS": str(arguments.threads),
                "OPENBLAS_NUM_THREADS": str(arguments.threads),
            }
            subprocess.run(list(map(str, command)), check=True, env=os.environ | threads)
            seconds = time.perf_counter() - started
            # Of the largest process until now, so that methods that take more come last.
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            print(f"{method}: {seconds:.1f} s for {QUERIES} pictures, at most {memory:.1f} GB")


if __name__ == "__main__":
    main()
