"""Put the LDS of a method and of its changes together, and plot them."""

import json
from pathlib import Path

from das import cli
from das.jobs import artifacts
from das.lds import changes
from das.plan.ablation import Change
from das.report import plots


def run(arguments):
    given = [Change(**change) for change in json.loads(arguments.changes)]
    table = changes.summarise_changes(arguments.base, given, arguments.tables, arguments.statistics)
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    plots.plot_ablation(table, arguments.plot)


options = cli.parser(__doc__)
options.add_argument("--base", required=True, help="name of the method that is changed")
options.add_argument("--changes", required=True, help="JSON: a list of das.plan.ablation.Change")
options.add_argument("--tables", type=Path, nargs="+", required=True)
options.add_argument("--statistics", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True)
options.add_argument("--plot", type=Path, required=True)
cli.main(run, options)
