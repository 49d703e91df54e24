"""Download one published file, named by where it is to lie."""

import json
from pathlib import Path

from das import cli
from das.data.download import fetch
from das.data.sources.published import published_file


def run(arguments):
    name = arguments.output.name
    fetch(published_file(name, json.loads(arguments.files).get(name)), arguments.output)


options = cli.parser(__doc__)
options.add_argument(
    "--files", default="{}", help="JSON: url, size and sha256 by name, where not as published"
)
options.add_argument("--output", type=Path, required=True, help="FOLDER/NAME of a published file")
cli.main(run, options)
