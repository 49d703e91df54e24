"""Which modules decide the result of each kind of job.

Rules depend on their files, and keys of unfinished work on their text: an edit makes again what it changes,
and nothing else. Imports nothing heavy: the workflow reads it while it plans.
"""

from __future__ import annotations

from pathlib import Path

HOME = Path(__file__).parent

_MODEL = {
    "unet": ("models/base", "models/unet", "models/weights"),
    "lora": ("models/base", "models/lora", "models/stable_diffusion", "models/weights"),
}
_RUN = ("inputs", "clean", "diffusion", "noise", "precision")
_GRADIENTS = ("features", "gradients", "gradients_loop", "outputs", "projection", *_RUN)
_JOBS: dict[str, tuple[str, ...]] = {
    "train": ("train_jobs", "training", *_RUN),
    "encode": ("latents", *_RUN),
    "generate": ("generation", *_RUN),
    "errors": ("evaluation", *_RUN),
    "gradients": _GRADIENTS,
    "journeys": ("journey", "generation", *_GRADIENTS),
    "kernels": ("gauss_newton", *_GRADIENTS),
}
# Modules that these import and that decide no result.
NEUTRAL = (
    "artifacts",
    "cli",
    "device",
    "errors",
    "images",
    "locks",
    "memory",
    "models",
    "paths",
    "resume",
    "stop",
    # What is taken of a user's files, and what is refused.
    *("adapters", "base_files", "git_lfs", "own", "pipeline_keys", "weight_files"),
)


def code_of(job: str, family: str) -> list[str]:
    """Files of the modules that decide the result of a job with a family's model, seen from this folder."""
    return [f"{name}.py" for name in (*_JOBS[job], *_MODEL[family])]
