"""Write the page that shows which training images mattered for each picture."""

from pathlib import Path

from das import cli
from das.report.page import write_report


def run(arguments):
    write_report(
        arguments.scores,
        arguments.train_images,
        arguments.query_images,
        arguments.model,
        arguments.lds,
        arguments.statistics,
        queries=arguments.queries,
        most=arguments.most,
        output=arguments.output,
        counterfactual=arguments.counterfactual,
        outcomes=arguments.outcomes,
    )


options = cli.parser(__doc__)
options.add_argument("--scores", type=Path, nargs="+", required=True, help="of each method")
options.add_argument("--train-images", type=Path, required=True)
options.add_argument("--query-images", type=Path, required=True)
options.add_argument("--model", type=Path, required=True, help="its folder")
options.add_argument("--lds", type=Path, nargs="*", default=[], help="table of each method, if any")
options.add_argument("--counterfactual", type=Path, nargs=2, default=[], help="its table and plot, if any")
options.add_argument("--outcomes", type=Path, nargs="*", default=[], help="of each of its tests and methods")
options.add_argument("--statistics", type=Path, nargs="*", default=[], help="the same, of that LDS")
options.add_argument("--queries", type=int, required=True, help="how many of the first are shown")
options.add_argument("--most", type=int, required=True, help="training images of each kind")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
