"""Choose the training images that the model of each query is trained without, or on which alone."""

import json
from pathlib import Path

from das import cli
from das.counterfactual.removals import at_random, highest, membership
from das.data import subsets
from das.jobs import artifacts
from das.plan.paths import RANDOM, TESTS


def run(arguments):
    settings = json.loads(arguments.settings)
    queries, count = settings["queries"], settings["images"]
    with artifacts.read(arguments.images, "images") as artifact:
        n = artifact.shape("images")[0]
    if arguments.method == RANDOM:
        chosen = at_random(n, queries, count, settings["seed"])
    else:
        chosen = highest(arguments.scores, queries, count)
    record = settings | {"test": arguments.test, "method": arguments.method}
    subsets.write(arguments.output, membership(chosen, n, arguments.test), arguments.dataset, record)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--method", required=True, help=f"whose scores these are, or {RANDOM}")
options.add_argument("--test", choices=TESTS, required=True)
options.add_argument("--scores", type=Path, help=f"of the generated images; none for {RANDOM}")
options.add_argument("--images", type=Path, required=True, help="training images")
options.add_argument("--settings", required=True, help="JSON: queries, images, seed")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
