"""Generate the query images with DDIM."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from das import artifacts, cli, generation, models, resume
from das.generation import GenerationSettings
from das.images import write_captions
from das.plots import contact_sheet


def run(arguments):
    settings = GenerationSettings(**json.loads(arguments.settings))
    model = models.load(arguments.model, cli.choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    record = dataclasses.asdict(settings)
    blocks = resume.image_blocks(0, settings.count, generation.IMAGES_PER_BATCH)
    key = resume.job_key(record | {"weights": weights}, "generate", model.family)
    with resume.job_state(arguments.resume, "generate", key) as state:
        parts = resume.compute_blocks(
            state,
            "images",
            cli.progress(blocks, "generate"),
            lambda block: generation.generate(model, block, settings),
        )
        made = np.concatenate(list(parts))
        with artifacts.write(arguments.output, "images", arguments.dataset, record, weights) as file:
            file["images"] = made
            file["seeds"] = [generation.image_seed(settings.seed, i) for i in range(settings.count)]
            if (captions := settings.captions()) is not None:
                write_captions(file, captions)
        contact_sheet(made[:100], arguments.sheet)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="model folder")
options.add_argument("--settings", required=True, help="JSON of das.generation.GenerationSettings")
options.add_argument("--output", type=Path, required=True)
options.add_argument("--sheet", type=Path, required=True, help="PNG of the first hundred images")
cli.main(run, options)
