"""Put the generated images together, and show the first of them."""

from pathlib import Path

from das import cli
from das.data.images import read_images
from das.data.joins import join_images
from das.report.sheet import contact_sheet


def run(arguments):
    join_images(arguments.shards, arguments.output)
    contact_sheet(read_images(arguments.output)[:100], arguments.sheet)


options = cli.parser(__doc__)
options.add_argument("--shards", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True)
options.add_argument("--sheet", type=Path, required=True, help="PNG of the first hundred images")
cli.main(run, options)
