"""Command line options of scripts that score training images."""

from __future__ import annotations

import argparse
from pathlib import Path

from das.plan.methods import Candidates
from das.scoring.scorer import Sources


def scoring_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of scripts that score training images, among them the files to score from."""
    options.add_argument("--score", required=True, help="a scoring rule of das.methods")
    options.add_argument("--modules", type=Path, nargs="*", default=[], help="files with further rules")
    options.add_argument(
        "--read",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "FILE"),
        help="files of an input, by their name in das.methods.inputs; once for each part that has its own",
    )
    options.add_argument("--by-timestep", action="store_true", help="timesteps of the features are parts")
    options.add_argument("--dimension", type=int, help="fold features to so many numbers")
    options.add_argument("--split", required=True, help="which the queries are, val or gen")
    options.add_argument("--candidates-by", choices=["raw", "clip"], help="score the nearest images alone")
    options.add_argument("--candidates", type=int, help="how many of them")
    options.add_argument("--output", type=Path, required=True)
    return options


def scoring_sources(arguments: argparse.Namespace) -> Sources:
    """The `das.scoring.scorer.Sources` that `scoring_options` read."""
    files: dict[str, list[list[Path]]] = {}
    for name, *paths in arguments.read:
        files.setdefault(name, []).append([Path(path) for path in paths])
    by = arguments.candidates_by
    candidates = Candidates(by, arguments.candidates) if by else None
    return Sources(files, arguments.by_timestep, arguments.dimension, arguments.split, candidates)
