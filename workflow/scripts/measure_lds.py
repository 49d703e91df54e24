"""Measure the linear datamodeling score of one method."""

from pathlib import Path

from das import cli, lds
from das.jobs import artifacts


def run(arguments):
    given = {"val": arguments.val, "gen": arguments.gen}
    table, statistics = lds.measure_lds(
        arguments.method,
        {split: path for split, path in given.items() if path is not None},
        arguments.losses,
        replicates=arguments.bootstrap,
    )
    statistics.write(arguments.statistics)
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")


options = cli.parser(__doc__)
options.add_argument("--method", required=True, help="name of the method in what is written")
options.add_argument("--val", type=Path, help="predictions for held-out images")
options.add_argument("--gen", type=Path, help="predictions for generated images")
options.add_argument("--losses", type=Path, nargs="+", required=True)
options.add_argument("--bootstrap", type=int, required=True, help="resamples of the subsets, for the oracle")
options.add_argument("--output", type=Path, required=True, help="table")
options.add_argument("--statistics", type=Path, required=True, help="what comparisons are made of")
cli.main(run, options)
