"""Download a model from the Hugging Face hub, or convert a folder of one to safetensors."""

from pathlib import Path

from das import cli
from das.diffusion.models import hub
from das.diffusion.models.stable_diffusion import BaseModel
from das.pipelines.families import BASE_MODEL_FILES, CLIP_FILES, PIPELINE_FILES, base_model_folder


def run(arguments):
    if arguments.convert is not None:
        hub.convert(arguments.convert, (*BASE_MODEL_FILES, *CLIP_FILES))
    elif arguments.pipeline is not None:
        folder = Path(base_model_folder(arguments.pipeline))
        hub.fetch(arguments.pipeline, folder, PIPELINE_FILES, "model.path")
        print(f"{folder} holds what model.path: {arguments.pipeline} needs")
    elif arguments.clip is not None:
        hub.fetch(arguments.clip, arguments.output, CLIP_FILES, "clip.model")
    else:
        hub.fetch(arguments.base, arguments.output, BASE_MODEL_FILES, "model.base")
        BaseModel(str(arguments.output))


options = cli.parser(__doc__)
todo = options.add_mutually_exclusive_group(required=True)
todo.add_argument("--base", help="a Stable Diffusion 1 on the hub, such as lambdalabs/miniSD-diffusers")
todo.add_argument("--clip", help="a CLIP model on the hub, such as openai/clip-vit-base-patch32")
todo.add_argument("--pipeline", help="a DDPM or DDIM pipeline on the hub, such as google/ddpm-cifar10-32")
todo.add_argument("--convert", type=Path, help="a folder whose weights are in the older format")
options.add_argument("--output", type=Path, help="folder to download to")
cli.main(run, options)
