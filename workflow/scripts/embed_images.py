"""Embed the images of a split with CLIP."""

from pathlib import Path

import numpy as np

from das import cli
from das.diffusion.clip import Clip
from das.jobs import artifacts
from das.jobs.device import choose_device
from das.jobs.progress import progress


def run(arguments):
    clip = Clip(arguments.clip, choose_device(arguments.device))
    with artifacts.read(arguments.images, "images") as artifact:
        count = artifact.shape("images")[0]
        blocks = [range(first, min(first + 1024, count)) for first in range(0, count, 1024)]
        embeddings = [
            clip.embed(artifact.read("images", (None,) * 4, np.uint8, slice(block.start, block.stop)))
            for block in progress(blocks, "embedding images")
        ]
    with artifacts.write(arguments.output, "embeddings", arguments.dataset, {}, clip.sha256) as file:
        file["embeddings"] = np.concatenate(embeddings)


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--clip", type=Path, required=True, help="folder of the CLIP model")
options.add_argument("--images", type=Path, required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
