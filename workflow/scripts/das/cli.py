"""What every script of the workflow has in common: options, logging, progress and how it fails."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from das.errors import UserError
from das.jobs import stop
from das.jobs.device import describe_job

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
    options.add_argument("--settings", required=True, help="JSON of das.diffusion.training.TrainSettings")
    options.add_argument("--checkpoint-seconds", type=float, default=60, help="between two saved states")
    options.add_argument("--tracking", choices=["none", "tensorboard"], default="none")
    return options


def shard_options(options: argparse.ArgumentParser, outputs: str | None = None) -> argparse.ArgumentParser:
    """Add the options of scripts that run a saved model on one shard of a split.

    Args:
        outputs: how many there are, as argparse's `nargs`.
    """
    compute_options(options)
    options.add_argument("--model", type=Path, required=True, help="model folder")
    options.add_argument("--inputs", type=Path, required=True, help="images, or their latents")
    options.add_argument("--shard", type=int, required=True)
    options.add_argument("--images-per-shard", type=int, required=True)
    options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
    options.add_argument("--output", type=Path, nargs=outputs, required=True)
    return options


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


def _start_logging(path: Path | None) -> None:
    logging.captureWarnings(True)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None and os.environ.get("RANK", "0") == "0":  # of several processes one keeps the log
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="a"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handlers[0].setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
