"""Train models on subsets of the training images, one after another."""

from pathlib import Path

from das import cli, train_jobs
from das.images import read_images
from das.models import load_unet_config
from das.paths import parse_model_name
from das.subsets import members
from das.train_jobs import Training, train_models


def run(arguments):
    settings = train_jobs.parse_settings(arguments.settings)
    if train_jobs.start_processes(settings.processes):
        return
    images = read_images(arguments.images)
    trainings = [
        Training(name, members(arguments.subsets, subset), seed, arguments.output / name)
        for name in arguments.models
        for subset, seed in [parse_model_name(name)]
    ]
    train_models(
        images,
        trainings,
        load_unet_config(arguments.unet, images.shape[1:]),
        settings,
        {"dataset": arguments.dataset},
        device=arguments.device,
        resume=arguments.resume,
        checkpoint_seconds=arguments.checkpoint_seconds,
        tracking=arguments.tracking,
    )


options = cli.training_options(cli.parser(__doc__))
options.add_argument("--subsets", type=Path, required=True)
options.add_argument("--models", nargs="+", required=True, help="names such as subset-07_seed-1")
options.add_argument("--output", type=Path, required=True, help="folder of the models' folders")
cli.main(run, options)
