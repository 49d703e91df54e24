"""Generate a shard of the query images with DDIM."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from das import cli
from das.data.images import write_texts
from das.diffusion import models, sampling
from das.diffusion.sampling import GenerationSettings
from das.jobs import artifacts, resume
from das.jobs.device import choose_device
from das.jobs.progress import progress


def run(arguments):
    settings = GenerationSettings(**json.loads(arguments.settings))
    model = models.load(arguments.model, choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    record = dataclasses.asdict(settings)
    first = arguments.shard * arguments.images_per_shard
    indices = range(first, min(first + arguments.images_per_shard, settings.count))
    blocks = resume.image_blocks(indices.start, indices.stop, sampling.IMAGES_PER_BATCH)
    identity = record | {"weights": weights, "indices": [indices.start, indices.stop]}
    key = resume.job_key(identity, model.family, "generate_images.py")
    with resume.job_state(arguments.resume, "generate", key) as state:
        parts = resume.compute_blocks(
            state,
            "images",
            progress(blocks, "generate"),
            lambda block: sampling.generate(model, block, settings),
        )
        with artifacts.write(
            arguments.output, "images", arguments.dataset, record, weights, first=indices.start
        ) as file:
            file["images"] = np.concatenate(list(parts))
            file["seeds"] = [sampling.image_seed(settings.seed, index) for index in indices]
            if (captions := settings.captions()) is not None:
                write_texts(file, "captions", captions[indices.start : indices.stop])


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="model folder")
options.add_argument("--settings", required=True, help="JSON of das.diffusion.sampling.GenerationSettings")
options.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
options.add_argument("--images-per-shard", type=int, required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
