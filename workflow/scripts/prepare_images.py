"""Read a source and draw its training and held-out images."""

import json
from pathlib import Path

from das import cli, sources
from das.images import ImageSettings, prepare


def run(arguments):
    source = json.loads(arguments.source)
    classes = source.pop("classes", None)
    split = ImageSettings(classes=tuple(classes) if classes else None, **json.loads(arguments.split))
    settings = sources.SourceSettings(path=arguments.archive, **source)
    prepare(sources.open_source(settings), split, arguments.dataset, arguments.train, arguments.val)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--source", required=True, help="JSON of das.sources.SourceSettings, and classes")
options.add_argument("--archive", type=Path, help="for sources that are read from a file")
options.add_argument("--split", required=True, help="JSON: train, val, seed")
options.add_argument("--train", type=Path, required=True, help="images to write")
options.add_argument("--val", type=Path, required=True, help="images to write")
cli.main(run, options)
