"""Generate a shard of the query images with DDIM."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from das import artifacts, cli, generation, models, resume
from das.generation import GenerationSettings
from das.images import write_texts


def run(arguments):
    settings = GenerationSettings(**json.loads(arguments.settings))
    model = models.load(arguments.model, cli.choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    record = dataclasses.asdict(settings)
    first = arguments.shard * arguments.images_per_shard
    indices = range(first, min(first + arguments.images_per_shard, settings.count))
    blocks = resume.image_blocks(indices.start, indices.stop, generation.IMAGES_PER_BATCH)
    identity = record | {"weights": weights, "indices": [indices.start, indices.stop]}
    key = resume.job_key(identity, "generate", model.family)
    with resume.job_state(arguments.resume, "generate", key) as state:
        parts = resume.compute_blocks(
            state,
            "images",
            cli.progress(blocks, "generate"),
            lambda block: generation.generate(model, block, settings),
        )
        with artifacts.write(
            arguments.output, "images", arguments.dataset, record, weights, first=indices.start
        ) as file:
            file["images"] = np.concatenate(list(parts))
            file["seeds"] = [generation.image_seed(settings.seed, index) for index in indices]
            if (captions := settings.captions()) is not None:
                write_texts(file, "captions", captions[indices.start : indices.stop])


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="model folder")
options.add_argument("--settings", required=True, help="JSON of das.generation.GenerationSettings")
options.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
options.add_argument("--images-per-shard", type=int, required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
