"""Predict the loss of every subset model on every query from the scores of its training images."""

from pathlib import Path

from das import cli, methods
from das.scoring import score
from das.scoring.options import scoring_options, scoring_sources


def run(arguments):
    score.predict_losses(
        methods.get(arguments.score, arguments.modules),
        scoring_sources(arguments),
        arguments.subsets,
        arguments.dampings,
        arguments.output,
    )


options = scoring_options(cli.parser(__doc__))
options.add_argument("--subsets", type=Path, required=True)
options.add_argument("--dampings", type=float, nargs="*", default=[], help="relative dampings")
cli.main(run, options)
