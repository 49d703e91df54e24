"""Take a trained model of the user's own, and check that it fits the training images."""

from pathlib import Path

from das import cli
from das.inputs import read_inputs
from das.models.unet import UNet


def run(arguments):
    model = UNet.take(arguments.model)
    model.require(read_inputs(arguments.inputs), arguments.inputs)
    model.save(arguments.output, {"dataset": arguments.dataset, "taken_from": str(arguments.model)})


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--model", type=Path, required=True, help="folder of a diffusers pipeline")
options.add_argument("--inputs", type=Path, required=True, help="training images")
options.add_argument("--output", type=Path, required=True, help="folder of the model")
cli.main(run, options)
