"""Download a Stable Diffusion 1 from the Hugging Face hub, or convert a folder of one to safetensors."""

from pathlib import Path

from das import cli
from das.models import hub


def run(arguments):
    if arguments.convert is not None:
        hub.convert(arguments.convert)
    else:
        hub.fetch(arguments.base, arguments.output)


options = cli.parser(__doc__)
todo = options.add_mutually_exclusive_group(required=True)
todo.add_argument("--base", help="name on the hub, such as lambdalabs/miniSD-diffusers")
todo.add_argument("--convert", type=Path, help="a folder whose weights are in the older format")
options.add_argument("--output", type=Path, help="folder to download to")
cli.main(run, options)
