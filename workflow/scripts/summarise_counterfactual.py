"""Summarise the counterfactual evaluation: medians and intervals, each query, a plot."""

from pathlib import Path

from das import cli
from das.counterfactual.outcomes import read_outcomes, summarise
from das.jobs import artifacts
from das.report import plots


def run(arguments):
    outcomes = read_outcomes(arguments.outcomes)
    table = summarise(outcomes, arguments.bootstrap)
    for written, path in ((table, arguments.output), (outcomes, arguments.queries)):
        with artifacts.replacing(path) as beside:
            written.to_csv(beside, index=False, float_format="%.6g")
    plots.plot_counterfactual(outcomes, arguments.plot)


options = cli.parser(__doc__)
options.add_argument("--outcomes", type=Path, nargs="+", required=True, help="of every test and method")
options.add_argument("--bootstrap", type=int, required=True, help="resamples behind every interval")
options.add_argument("--output", type=Path, required=True)
options.add_argument("--queries", type=Path, required=True)
options.add_argument("--plot", type=Path, required=True)
cli.main(run, options)
