"""Predict the loss of every subset model on every query from the scores of its training images."""

from pathlib import Path

from das import cli, methods, scoring


def run(arguments):
    scoring.predict_losses(
        methods.get(arguments.score, arguments.modules),
        cli.scoring_sources(arguments),
        arguments.subsets,
        arguments.dampings,
        arguments.output,
    )


options = cli.scoring_options(cli.parser(__doc__))
options.add_argument("--subsets", type=Path, required=True)
options.add_argument("--dampings", type=float, nargs="*", default=[], help="relative dampings")
cli.main(run, options)
