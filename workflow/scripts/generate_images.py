"""Generate the query images with DDIM."""

from pathlib import Path

import numpy as np

from das import artifacts, cli, diffusion, generation, models, resume
from das.plots import contact_sheet

IMAGES_PER_BATCH = 50


def run(arguments):
    pipeline = models.load_pipeline(arguments.model, cli.choose_device(arguments.device))
    weights = models.weights_sha256(arguments.model)
    settings = {"count": arguments.count, "seed": arguments.seed, "steps": arguments.steps}
    blocks = resume.image_blocks(0, arguments.count, IMAGES_PER_BATCH)
    key = resume.job_key(settings | {"weights": weights}, code=(generation, diffusion))
    with resume.job_state(arguments.resume, "generate", key) as state:
        parts = resume.compute_blocks(
            state,
            "images",
            cli.progress(blocks, "generate"),
            lambda block: generation.generate(pipeline, block, arguments.seed, arguments.steps),
        )
        images = np.concatenate(list(parts))
        with artifacts.write(arguments.output, "images", arguments.dataset, settings, weights) as file:
            file["images"] = images
            file["seeds"] = [generation.image_seed(arguments.seed, i) for i in range(arguments.count)]
        contact_sheet(images[:100], arguments.sheet)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--model", type=Path, required=True, help="pipeline folder")
options.add_argument("--count", type=int, required=True)
options.add_argument("--seed", type=int, required=True)
options.add_argument("--steps", type=int, required=True)
options.add_argument("--output", type=Path, required=True)
options.add_argument("--sheet", type=Path, required=True, help="PNG of the first hundred images")
cli.main(run, options)
