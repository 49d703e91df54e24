"""Read a source and draw its training and held-out images."""

import json
from pathlib import Path

from das import cli
from das.data import sources
from das.data.prepare import ImageSettings, prepare
from das.data.sources.base import SourceSettings
from das.data.sources.listing import list_folder
from das.errors import UserError


def run(arguments):
    source = json.loads(arguments.source)
    classes = source.pop("classes", None)
    split = ImageSettings(classes=tuple(classes) if classes else None, **json.loads(arguments.split))
    settings = SourceSettings(located=tuple(arguments.files), folder=arguments.folder, **source)
    if settings.folder and settings.table is None:
        cli.log.info("%s", list_folder(settings.folder))
    opened, side = sources.open_source(settings), arguments.side
    if side and opened.image_shape[:2] != (side, side):
        height, width = opened.image_shape[:2]
        raise UserError(
            f"source: images have {width} x {height} pixels, but model.path works on {side} x {side}; "
            "set source.crop and source.resize"
        )
    prepare(opened, split, arguments.dataset, arguments.train, arguments.val)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--source", required=True, help="JSON of SourceSettings without its files, and classes")
options.add_argument("--files", type=Path, nargs="+", default=[], help="for sources that are read from files")
options.add_argument("--folder", type=Path, help="for kind folder")
options.add_argument("--side", type=int, help="of the images that the model works on, where it is there")
options.add_argument("--split", required=True, help="JSON: train, val, seed, stratify")
options.add_argument("--train", type=Path, required=True, help="images to write")
options.add_argument("--val", type=Path, required=True, help="images to write")
cli.main(run, options)
