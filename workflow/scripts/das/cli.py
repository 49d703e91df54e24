"""What every script of the workflow has in common: options, logging, progress and how it fails."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tqdm import tqdm

from das import stop
from das.device import cuda_facts, describe_job, why_no_gpu
from das.errors import UserError

log = logging.getLogger("das")

# Out-of-memory errors of the allocators in use; torch raises its own, or a plain RuntimeError on the CPU.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that all scripts share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--log", type=Path, help="log file, beside the standard error")
    options.add_argument("--threads", type=int, default=1, help="CPU threads to use")
    return options


def compute_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of scripts that run a model: where to run and where unfinished work is kept."""
    options.add_argument("--dataset", required=True, help="name that is stored in what is written")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0, ...")
    options.add_argument("--resume", type=Path, default=Path(".resume"), help="folder for unfinished work")
    return options


def training_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of scripts that train models."""
    compute_options(options)
    options.add_argument("--inputs", type=Path, required=True, help="training images, or their latents")
    options.add_argument("--model", required=True, help="JSON: the section model of a data set")
    options.add_argument("--settings", required=True, help="JSON of das.training.TrainSettings")
    options.add_argument("--checkpoint-seconds", type=float, default=60, help="between two saved states")
    options.add_argument("--tracking", choices=["none", "tensorboard"], default="none")
    return options


def shard_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of scripts that run a saved model on one shard of a split."""
    compute_options(options)
    options.add_argument("--model", type=Path, required=True, help="model folder")
    options.add_argument("--inputs", type=Path, required=True, help="images, or their latents")
    options.add_argument("--shard", type=int, required=True)
    options.add_argument("--images-per-shard", type=int, required=True)
    options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
    options.add_argument("--output", type=Path, required=True)
    return options


def scoring_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of scripts that score training images, among them the files to score from.

    What belongs to one model is given once for each part that scores are averaged over, in the same order.
    """
    options.add_argument("--score", required=True, help="a scoring rule of das.methods")
    options.add_argument("--modules", type=Path, nargs="*", default=[], help="files with further rules")
    options.add_argument("--train-features", type=Path, nargs="+", action="append", default=[], help="shards")
    options.add_argument("--query-features", type=Path, nargs="+", action="append", default=[], help="shards")
    options.add_argument("--train-errors", type=Path, nargs="+", default=[], help="one for each part")
    options.add_argument("--kernels", type=Path, nargs="+", default=[], help="one for each part")
    options.add_argument("--by-timestep", action="store_true", help="timesteps of the features are parts")
    options.add_argument("--dimension", type=int, help="fold features to so many numbers")
    options.add_argument("--train-images", type=Path)
    options.add_argument("--query-images", type=Path)
    options.add_argument("--train-embeddings", type=Path)
    options.add_argument("--query-embeddings", type=Path)
    options.add_argument("--retrained-subsets", type=Path)
    options.add_argument("--retrained-losses", type=Path, nargs="+", default=[])
    options.add_argument("--split", required=True, help="which the queries are, val or gen")
    options.add_argument("--candidates-by", choices=["raw", "clip"], help="score the nearest images alone")
    options.add_argument("--candidates", type=int, help="how many of them")
    options.add_argument("--output", type=Path, required=True)
    return options


def scoring_sources(arguments: argparse.Namespace) -> Any:
    """The `das.scorer.Sources` that `scoring_options` read."""
    # Here, since scripts that score nothing need not load them.
    from das.attribution import Candidates
    from das.scorer import Part, Sources

    each = zip_longest(
        arguments.train_features, arguments.query_features, arguments.train_errors, arguments.kernels
    )
    parts = [Part(train or (), query or (), errors, kernel) for train, query, errors, kernel in each]
    by = arguments.candidates_by
    return Sources(
        parts or [Part()],
        arguments.by_timestep,
        arguments.dimension,
        arguments.train_images,
        arguments.query_images,
        arguments.train_embeddings,
        arguments.query_embeddings,
        arguments.retrained_subsets,
        arguments.retrained_losses,
        arguments.split,
        Candidates(by, arguments.candidates) if by else None,
    )


def main(script: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser) -> None:
    """Run a script; a user's mistake ends it with one line and status 1."""
    arguments = options.parse_args()
    _start_logging(arguments.log)
    stop.listen()
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # that share the work, and the threads
    threads = max(1, arguments.threads // processes)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    log.info("%s", describe_job(vars(arguments).get("device"), threads))
    try:
        script(arguments)
    except UserError as error:
        log.error("error: %s", error)
    except OSError as error:
        # A full, protected or broken disk, a file that is gone. If it is none of these, the log says more.
        log.info("%s", traceback.format_exc())
        if error.errno is None:  # safetensors gives none, and says all in its text
            log.error("error: %s", str(error).split("\n")[0])
        else:
            log.error("error: %s: %s", error.filename or "reading or writing", os.strerror(error.errno))
    except SafetensorError as error:
        log.error("error: a model's weights cannot be read or written: %s", error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(s in str(error) for s in _OUT_OF_MEMORY):
            raise
        log.error("error: out of memory; lower jobs.rows_per_batch or gradients.dimension")
    except stop.Stopped as stopped:
        log.error("stopped by %s; what is done is kept, and the job continues there", stopped.signal.name)
        sys.exit(128 + stopped.signal)
    else:
        return
    sys.exit(1)


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


def progress(
    items: Iterable[Any] | None, description: str, total: int | None = None, initial: int = 0
) -> Any:
    """A tqdm bar with rate and time left: redrawn on a terminal, a line now and then in the log."""
    return tqdm(
        items,
        desc=description,
        total=total,
        initial=initial,
        file=_ProgressLines(),
        mininterval=0.5,
        ncols=100,
    )


class _ProgressLines(io.TextIOBase):
    """Where tqdm draws: a terminal's line as often as it likes, the log file every ten seconds."""

    def __init__(self) -> None:
        self._logged = 0.0

    def write(self, text: str) -> int:
        if sys.stderr.isatty():
            sys.stderr.write(text)
        line = text.strip("\r\n ")
        if line and (time.monotonic() - self._logged > 10 or "100%" in line):
            self._logged = time.monotonic()
            log.info(line)
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _start_logging(path: Path | None) -> None:
    logging.captureWarnings(True)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None and os.environ.get("RANK", "0") == "0":  # of several processes one keeps the log
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="a"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handlers[0].setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
