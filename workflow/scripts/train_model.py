"""Train the model whose training images are to be attributed."""

from pathlib import Path

import numpy as np

from das import cli
from das.diffusion import train_jobs
from das.diffusion.train_jobs import Training


def run(arguments):
    def whole(count):
        checkpoints = tuple(arguments.checkpoints)
        return [Training("model", np.arange(count), arguments.seed, arguments.output, checkpoints)]

    train_jobs.run(arguments, whole)


options = cli.training_options(cli.parser(__doc__))
options.add_argument("--seed", type=int, required=True)
options.add_argument(
    "--checkpoints",
    type=int,
    nargs="*",
    default=[],
    help="percents of the steps after which it is also saved",
)
options.add_argument("--output", type=Path, required=True, help="pipeline folder to write")
cli.main(run, options)
