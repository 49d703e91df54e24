"""Measure the linear datamodeling score of one method."""

from pathlib import Path

from das import artifacts, cli, lds


def run(arguments):
    predictions = {"val": arguments.val, "gen": arguments.gen}
    table = lds.measure_lds(predictions, arguments.losses, replicates=arguments.bootstrap)
    # The configuration may use one scoring rule under several names.
    table["method"] = arguments.method
    with artifacts.replacing(arguments.output) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")


options = cli.parser(__doc__)
options.add_argument("--method", required=True, help="name of the method in the table")
options.add_argument("--val", type=Path, required=True, help="predictions")
options.add_argument("--gen", type=Path, required=True, help="predictions")
options.add_argument("--losses", type=Path, nargs="+", required=True)
options.add_argument("--bootstrap", type=int, required=True, help="resamples of the subsets")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
