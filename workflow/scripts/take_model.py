"""Take a trained model of the user's own, and check that it fits the training images."""

from pathlib import Path

from das import cli
from das.inputs import read_inputs
from das.models.lora import Lora
from das.models.unet import UNet


def run(arguments):
    inputs = read_inputs(arguments.inputs)
    model = (
        Lora.take(arguments.model, arguments.base, inputs) if arguments.base else UNet.take(arguments.model)
    )
    model.require(inputs, arguments.inputs)
    model.save(arguments.output, {"dataset": arguments.dataset, "taken_from": str(arguments.model)})


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--model", type=Path, required=True, help="folder of a pipeline, or file of adapters")
options.add_argument("--base", help="the base model of adapters")
options.add_argument("--inputs", type=Path, required=True, help="training images, or their latents")
options.add_argument("--output", type=Path, required=True, help="folder of the model")
cli.main(run, options)
