"""Draw the subsets of the training images on which models are retrained."""

import argparse
import json
from pathlib import Path

from das import cli
from das.data import images, subsets


def run(arguments):
    labels, class_names = images.read_labels(arguments.images)
    drawing = {name: getattr(arguments, name) for name in ("fraction", "seed", "seed_step", "stratify")}
    membership = subsets.draw(
        labels, arguments.count, **drawing, class_names=class_names, pool=arguments.pool
    )
    published = {int(subset): first for subset, first in json.loads(arguments.published_indices).items()}
    drawn = {subset: subsets.draw_one(labels, subset, **drawing) for subset in published}
    check = subsets.check_published(drawn, *images.read_source_index(arguments.images), published)
    settings = {"pool": arguments.pool, "count": arguments.count} | drawing
    subsets.write(arguments.output, membership, arguments.dataset, settings, check)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--pool", required=True, help="whose subsets: lds, or retrain")
options.add_argument("--images", type=Path, required=True)
options.add_argument("--count", type=int, required=True)
options.add_argument("--fraction", type=float, required=True)
options.add_argument("--seed", type=int, required=True)
options.add_argument("--seed-step", type=int, required=True)
options.add_argument("--stratify", action=argparse.BooleanOptionalAction, default=True)
options.add_argument("--published-indices", default="{}", help="JSON: first source indices by subset")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
