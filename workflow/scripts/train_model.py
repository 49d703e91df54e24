"""Train the model whose training images are to be attributed."""

from pathlib import Path

import numpy as np

from das import cli, train_jobs
from das.images import read_images
from das.models import load_unet_config
from das.train_jobs import Training, train_models


def run(arguments):
    settings = train_jobs.parse_settings(arguments.settings)
    if train_jobs.start_processes(settings.processes):
        return
    images = read_images(arguments.images)
    training = Training("model", np.arange(len(images)), arguments.seed, arguments.output)
    train_models(
        images,
        [training],
        load_unet_config(arguments.unet, images.shape[1:]),
        settings,
        {"dataset": arguments.dataset},
        device=arguments.device,
        resume=arguments.resume,
        checkpoint_seconds=arguments.checkpoint_seconds,
        tracking=arguments.tracking,
    )


options = cli.training_options(cli.parser(__doc__))
options.add_argument("--seed", type=int, required=True)
options.add_argument("--output", type=Path, required=True, help="pipeline folder to write")
cli.main(run, options)
