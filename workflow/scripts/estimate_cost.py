"""Estimate what the workflow costs on a data set, from its configuration alone; and say what jobs took."""

import json
from pathlib import Path

from das import cli, methods
from das.cost.estimate import estimate_costs
from das.cost.measured import beside_measured, measured_jobs
from das.jobs import artifacts


def run(arguments):
    for module in arguments.modules:
        methods.load(module)
    settings, config, tflops = map(json.loads, (arguments.settings, arguments.config, arguments.tflops))
    table = estimate_costs(arguments.dataset, settings, config, tflops)
    table = beside_measured(table, measured_jobs(arguments.measured))
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.4g")


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True, help="its name")
options.add_argument("--settings", required=True, help="JSON of the data set's settings")
options.add_argument("--config", required=True, help="JSON of sections of config/config.yaml")
options.add_argument("--modules", type=Path, nargs="*", default=[], help="files with further scoring rules")
options.add_argument("--tflops", required=True, help="JSON of sustained TFLOP/s by precision")
options.add_argument("--measured", type=Path, required=True, help="folder of the data set's logs")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
