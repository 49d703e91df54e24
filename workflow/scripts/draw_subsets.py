"""Draw the subsets of the training images on which models are retrained."""

from pathlib import Path

from das import cli, images, subsets


def run(arguments):
    labels, class_names = images.read_labels(arguments.images)
    settings = {name: getattr(arguments, name) for name in ("count", "fraction", "seed", "seed_step")}
    membership = subsets.draw(labels, **settings, class_names=class_names)
    subsets.write(arguments.output, membership, arguments.dataset, settings)


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--images", type=Path, required=True)
options.add_argument("--count", type=int, required=True)
options.add_argument("--fraction", type=float, required=True)
options.add_argument("--seed", type=int, required=True)
options.add_argument("--seed-step", type=int, required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
