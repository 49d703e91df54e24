"""Score all training images for all queries at one damping."""

from pathlib import Path

import pandas as pd

from das import cli, methods
from das.scoring import score
from das.scoring.options import scoring_options, scoring_sources


def run(arguments):
    method = methods.get(arguments.score, arguments.modules)
    sources = scoring_sources(arguments)
    dampings, rule = choose_dampings(arguments) if method.damped else ([], "none")
    score.score_images(method, sources, dampings, rule, arguments.top, arguments.output)


def choose_dampings(arguments):
    """The relative damping, or those to choose from; and the rule."""
    if arguments.damping == "held_out":
        table = pd.read_csv(arguments.table).set_index(["split", "damping_rule"])
        return [table.loc[(arguments.split, "held_out"), "damping"]], "held_out"
    if arguments.damping == "gcv":
        return arguments.dampings, "gcv"
    return [float(arguments.damping)], "number"


options = scoring_options(cli.parser(__doc__))
options.add_argument("--damping", required=True, help="held_out, gcv or a relative damping")
options.add_argument("--dampings", type=float, nargs="*", default=[], help="those that gcv chooses from")
options.add_argument("--table", type=Path, help="LDS table of the method, for held_out")
options.add_argument("--top", type=int, required=True, help="how many of the highest scores to list")
cli.main(run, options)
