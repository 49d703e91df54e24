"""Put the estimated costs of several data sets on one page."""

from pathlib import Path

import pandas as pd

from das import cli
from das.cost.page import describe_costs
from das.jobs import artifacts


def run(arguments):
    page = describe_costs([pd.read_csv(path) for path in arguments.tables])
    with artifacts.replacing(arguments.output) as beside:
        beside.write_text(page)


options = cli.parser(__doc__)
options.add_argument("--tables", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True, help="Markdown")
cli.main(run, options)
