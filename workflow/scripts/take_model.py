"""Take a trained model of the user's own, and check that it fits the training images."""

from pathlib import Path

from das import cli
from das.diffusion import models
from das.diffusion.inputs import read_inputs


def run(arguments):
    inputs = read_inputs(arguments.inputs)
    if arguments.base:
        model = models.family("lora").take(arguments.model, arguments.base, inputs)
    else:
        model = models.family("unet").take(arguments.model)
    model.require(inputs, arguments.inputs)
    model.save(arguments.output, {"dataset": arguments.dataset, "taken_from": str(arguments.model)})


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True)
options.add_argument("--model", type=Path, required=True, help="folder of a pipeline, or file of adapters")
options.add_argument("--base", help="the base model of adapters")
options.add_argument("--inputs", type=Path, required=True, help="training images, or their latents")
options.add_argument("--output", type=Path, required=True, help="folder of the model")
cli.main(run, options)
