"""Download the official binary archive of CIFAR-10."""

from pathlib import Path

from das import cli, sources
from das.download import fetch


def run(arguments):
    archive = sources.archive(sources.SourceSettings("cifar10"))
    fetch(archive.url, arguments.output, archive.size, archive.sha256)


options = cli.parser(__doc__)
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
