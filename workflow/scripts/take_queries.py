"""Take pictures of the user's own as queries, of the size of the training images."""

from pathlib import Path

from das import cli
from das.data.images import read_images
from das.data.prepare import take_images
from das.data.sources.listing import list_folder
from das.report.sheet import contact_sheet


def run(arguments):
    cli.log.info("%s", list_folder(arguments.folder))
    shape = read_images(arguments.train).shape[1:]
    take_images(arguments.folder, shape, arguments.dataset, arguments.output)
    contact_sheet(read_images(arguments.output)[:100], arguments.sheet)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--folder", type=Path, required=True, help="of PNG, JPEG or WebP images")
options.add_argument("--train", type=Path, required=True, help="training images")
options.add_argument("--output", type=Path, required=True)
options.add_argument("--sheet", type=Path, required=True, help="PNG of the first hundred images")
cli.main(run, options)
