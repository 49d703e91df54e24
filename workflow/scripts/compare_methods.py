"""Compare all methods: per query, in pairs, and by the number of subsets that LDS is measured with."""

from pathlib import Path

from das import cli
from das.jobs import artifacts
from das.lds import comparison
from das.report import plots


def run(arguments):
    methods = comparison.read_methods(arguments.statistics)
    subsets = comparison.compare_subsets(methods)
    for table, path in (
        (comparison.compare_queries(methods), arguments.queries),
        (comparison.compare_pairs(methods), arguments.pairs),
        (subsets, arguments.subsets),
    ):
        with artifacts.replacing(path) as beside:
            table.to_csv(beside, index=False, float_format="%.6g")
    plots.plot_subsets(subsets, arguments.plot)


options = cli.parser(__doc__)
options.add_argument("--statistics", type=Path, nargs="+", required=True, help="one file per method")
options.add_argument("--queries", type=Path, required=True, help="table of LDS per query")
options.add_argument("--pairs", type=Path, required=True, help="table of differences")
options.add_argument("--subsets", type=Path, required=True, help="table of LDS by number of subsets")
options.add_argument("--plot", type=Path, required=True, help="picture of that table")
cli.main(run, options)
