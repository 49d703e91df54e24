"""Put a model of the user's own, which has been taken, in the place of the one before it."""

import shutil
from pathlib import Path

from das import cli
from das.diffusion.models import family_of, place


def run(arguments):
    place(arguments.taken, arguments.output, family_of(arguments.taken))
    shutil.rmtree(arguments.taken)


options = cli.parser(__doc__)
options.add_argument("--taken", type=Path, required=True, help="folder of the model as it was taken")
options.add_argument("--output", type=Path, required=True, help="folder of the model")
cli.main(run, options)
