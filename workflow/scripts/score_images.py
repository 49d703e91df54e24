"""Score all training images for all queries at one damping."""

from pathlib import Path

import pandas as pd

from das import cli, methods, scoring


def run(arguments):
    method = methods.get(arguments.score, arguments.modules)
    damping, rule = None, "none"
    if method.damped:
        damping, rule = chosen_damping(arguments)
    scoring.score_images(
        method, cli.scoring_sources(arguments), damping, rule, arguments.top, arguments.output
    )


def chosen_damping(arguments):
    """The relative damping, or None for one that the features choose; and how it was chosen."""
    if arguments.damping == "held_out":
        table = pd.read_csv(arguments.table).set_index(["split", "damping_rule"])
        return table.loc[(arguments.split, "held_out"), "damping"], "held_out"
    if arguments.damping == "gcv":
        return None, "gcv"
    return float(arguments.damping), "number"


options = cli.scoring_options(cli.parser(__doc__))
options.add_argument("--damping", required=True, help="held_out, gcv or a relative damping")
options.add_argument("--table", type=Path, help="LDS table of the method, for held_out")
options.add_argument("--top", type=int, required=True, help="how many of the highest scores to list")
cli.main(run, options)
