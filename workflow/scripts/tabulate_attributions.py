"""List the most influential training images of every query."""

from pathlib import Path

from das import cli
from das.attributions import tabulate
from das.jobs import artifacts


def run(arguments):
    table = tabulate(arguments.scores, arguments.train_images, arguments.query_images, count=arguments.count)
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")


options = cli.parser(__doc__)
options.add_argument("--scores", type=Path, required=True)
options.add_argument("--train-images", type=Path, required=True)
options.add_argument("--query-images", type=Path, required=True)
options.add_argument("--count", type=int, required=True, help="how many of each")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
