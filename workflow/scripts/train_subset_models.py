"""Train models on subsets of the training images, one after another."""

from pathlib import Path

from das import cli
from das.data.subsets import members
from das.diffusion import train_jobs
from das.diffusion.train_jobs import Training
from das.plan.paths import parse_model_name


def run(arguments):
    def subset_model(name):
        subset, seed = parse_model_name(name)
        return Training(name, members(arguments.subsets, subset), seed, arguments.output / name)

    train_jobs.run(arguments, lambda count: [subset_model(name) for name in arguments.models])


options = cli.training_options(cli.parser(__doc__))
options.add_argument("--subsets", type=Path, required=True)
options.add_argument("--models", nargs="+", required=True, help="names such as subset-07_seed-1")
options.add_argument("--output", type=Path, required=True, help="folder of the models' folders")
cli.main(run, options)
