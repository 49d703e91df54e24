"""Encode the images and captions of a split with a base model's autoencoder and text encoder."""

from pathlib import Path

from das import cli
from das.diffusion import latents
from das.diffusion.models import lora, stable_diffusion
from das.jobs import artifacts, resume
from das.jobs.device import choose_device


def run(arguments):
    base = stable_diffusion.BaseModel(arguments.base)
    sha256 = base.sha256(*lora.ENCODERS)
    settings = {"flip": arguments.flip}
    identity = settings | {"images": artifacts.file_sha256(arguments.images), "encoders": sha256}
    key = resume.job_key(identity, "lora", "encode_latents.py")
    with resume.job_state(arguments.resume, "latents", key) as state:
        latents.encode(
            base.encoders(choose_device(arguments.device)),
            sha256,
            arguments.images,
            arguments.output,
            arguments.dataset,
            settings,
            state,
        )


options = cli.compute_options(cli.parser(__doc__))
options.add_argument("--base", required=True, help="base model: a folder, or its name on the hub")
options.add_argument("--images", type=Path, required=True)
options.add_argument("--flip", action="store_true", help="encode mirror images too, for training")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
