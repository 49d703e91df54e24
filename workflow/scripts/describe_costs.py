"""Put the estimated costs of several data sets on one page."""

from pathlib import Path

import pandas as pd

from das import cli
from das.cost.page import describe_costs
from das.jobs import artifacts


def run(arguments):
    given = (arguments.tables, arguments.published, arguments.economical)
    page = describe_costs(*([pd.read_csv(path) for path in paths] for paths in given))
    with artifacts.replacing(arguments.output) as beside:
        beside.write_text(page)


options = cli.parser(__doc__)
options.add_argument("--tables", type=Path, nargs="+", required=True)
options.add_argument("--published", type=Path, nargs="+", required=True, help="of das alone, in their order")
options.add_argument("--economical", type=Path, nargs="+", required=True, help="the same, by that protocol")
options.add_argument("--output", type=Path, required=True, help="Markdown")
cli.main(run, options)
