"""Sum up the Gram matrix of the features of all training images."""

from pathlib import Path

from das import cli
from das.scoring import gram


def run(arguments):
    gram.sum_gram(arguments.features, arguments.output)


options = cli.parser(__doc__)
options.add_argument("--features", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
