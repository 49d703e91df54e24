"""Score all training images for all queries, at the damping that the LDS table chose."""

from pathlib import Path

import pandas as pd

from das import cli, methods, scoring

TOP = 100


def run(arguments):
    method = methods.get(arguments.score)
    rule = "held_out" if method.damped else "none"
    table = pd.read_csv(arguments.table).set_index(["split", "damping_rule"])
    damping = table.loc[(arguments.split, rule), "damping"] if method.damped else None
    scoring.score_images(method, cli.scoring_sources(arguments), damping, rule, TOP, arguments.output)


options = cli.scoring_options(cli.parser(__doc__))
options.add_argument("--table", type=Path, required=True, help="LDS table of the method")
options.add_argument("--split", required=True, help="val or gen")
cli.main(run, options)
