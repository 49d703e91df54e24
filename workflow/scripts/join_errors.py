"""Put the shards of the training errors together."""

from pathlib import Path

from das import cli
from das.data import joins


def run(arguments):
    joins.join_errors(arguments.shards, arguments.output)


options = cli.parser(__doc__)
options.add_argument("--shards", type=Path, nargs="+", required=True)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
