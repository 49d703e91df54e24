"""Put the LDS tables of all methods together, and plot them."""

from pathlib import Path

import pandas as pd

from das import cli
from das.jobs import artifacts
from das.report import plots


def run(arguments):
    table = pd.concat([pd.read_csv(path) for path in arguments.tables])
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    plots.plot_lds(table, arguments.plot)


options = cli.parser(__doc__)
options.add_argument("--tables", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True)
options.add_argument("--plot", type=Path, required=True)
cli.main(run, options)
