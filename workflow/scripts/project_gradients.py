"""Project the per-image gradients of one shard of a split into HDF5."""

import dataclasses
import json
from pathlib import Path

from das import artifacts, cli, diffusion, features, gradients, models, noise, projection, resume
from das.diffusion import Schedule
from das.images import read_images


def run(arguments):
    settings = features.FeatureSettings(**json.loads(arguments.settings))
    pipeline = models.load_pipeline(arguments.model, cli.choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    images = read_images(arguments.images)
    first = arguments.shard * arguments.images_per_shard
    indices = range(first, min(first + arguments.images_per_shard, len(images)))

    identity = dataclasses.asdict(settings) | {
        "weights": weights,
        "images": artifacts.file_sha256(arguments.images),
        "split": arguments.split,
        "indices": [indices.start, indices.stop],
    }
    code = (features, gradients, projection, diffusion, noise)
    with resume.job_state(arguments.resume, "gradients", resume.job_key(identity, code)) as state:
        dimension, blocks = features.project(
            pipeline.unet,
            Schedule.of(pipeline.scheduler),
            images,
            indices,
            settings,
            split=arguments.split,
            rows=arguments.rows,
            state=state,
        )
        with artifacts.write(
            arguments.output,
            "features",
            arguments.dataset,
            dataclasses.asdict(settings),
            weights,
            split=arguments.split,
            first=indices.start,
            count=len(indices),
        ) as file:
            array = file.create_dataset("features", (len(indices), dimension), "float32")
            row = 0
            for block in blocks:
                array[row : row + len(block)] = block
                row += len(block)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="pipeline folder")
options.add_argument("--images", type=Path, required=True)
options.add_argument("--split", required=True, help="train, val or gen")
options.add_argument("--settings", required=True, help="JSON of das.features.FeatureSettings")
options.add_argument("--shard", type=int, required=True)
options.add_argument("--images-per-shard", type=int, required=True)
options.add_argument("--rows", type=int, default=128, help="(image, timestep) pairs to run at once")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
