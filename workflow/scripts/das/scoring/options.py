"""Command line options of scripts that score training images."""

from __future__ import annotations

import argparse
from itertools import zip_longest
from pathlib import Path

from das.plan.methods import Candidates
from das.scoring.scorer import Part, Sources


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


def scoring_sources(arguments: argparse.Namespace) -> Sources:
    """The `das.scoring.scorer.Sources` that `scoring_options` read."""
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
