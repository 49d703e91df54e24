"""Take training images of results/digits away by several rules, train again, and count what the model makes.

Run with workflow/scripts on the path. Writes forgotten.csv, a row for each model and class. Models are kept
in results/forgotten, so that a run that was ended continues; delete them when scores are made anew.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from das.diffusion import models
from das.diffusion.denoising_error import denoising_errors
from das.diffusion.inputs import PixelInputs, read_inputs
from das.diffusion.process import choose_timesteps
from das.diffusion.sampling import GenerationSettings, generate
from das.diffusion.train_jobs import Training, train_models
from das.diffusion.training import TrainSettings

RESULTS, MODELS = Path("results/digits"), Path("results/forgotten")
CLASSES, SEEDS, METHODS = (3, 7), (0, 1, 2), ("das_gn_raw", "das", "raw_kernel")
GENERATED = GenerationSettings(count=200, seed=1, steps=50)

with h5py.File(RESULTS / "images/train.h5") as file:
    labels, used = file["labels"][()], file["source_index"][()]
with h5py.File(RESULTS / "images/val.h5") as file:
    held_out, used = file["labels"][()], np.append(used, file["source_index"][()])
recipe = json.loads((RESULTS / "model/provenance.json").read_text())
inputs = read_inputs(RESULTS / "images/train.h5")
real = load_digits()
pixels = np.round(real.images * 255 / 16).astype(np.uint8)[..., None]
classifier = SVC(C=10).fit(pixels.reshape(-1, 64), real.target)
unseen = np.setdiff1d(np.arange(len(pixels)), used)


def removed(seed: int) -> dict[tuple[str, int | None], np.ndarray]:
    """The images to take away, by rule and by the class to be forgotten; None where that is no matter."""
    some = np.random.default_rng(seed).permutation(len(labels))
    found = {("none", None): some[:0], ("random", None): some[:100]}
    for digit in CLASSES:
        members = np.flatnonzero(labels == digit)
        for method in METHODS:
            with h5py.File(RESULTS / f"scores/{method}/val.h5") as file:
                total = file["scores"][held_out == digit].sum(0)
            found[method, digit] = np.argsort(-total, kind="stable")[: len(members)]
        found["label", digit] = members
    return found


def train(name: str, members: np.ndarray, seed: int) -> Path:
    """The folder of a model of some of the images; trained where it is not there."""
    folder = MODELS / name
    if not (folder / "provenance.json").exists():
        train_models(
            inputs,
            [Training(name, members, seed, folder)],
            recipe["model"],
            TrainSettings(**recipe["train"]),
            {"dataset": "digits", "inputs": recipe["inputs"]},
            device="cpu",
            resume=Path(".resume"),
            checkpoint_seconds=60,
            tracking="none",
        )
    return folder


def losses(model: models.Model) -> np.ndarray:
    """Denoising loss of each real digit that nothing has seen until now."""
    images = PixelInputs(pixels[unseen])
    errors = denoising_errors(
        model.network,
        model.schedule,
        images,
        range(len(images)),
        choose_timesteps("uniform", 50, len(model.schedule)),
        purpose="losses/unseen",
        seed=0,
        draw=0,
        rows=500,
    )
    return errors.mean(1)


torch.set_num_threads(1)
rows = []
for seed in SEEDS:
    for (rule, digit), away in removed(seed).items():
        members = np.setdiff1d(np.arange(len(labels)), away)
        name = rule if digit is None else f"{rule}-{digit}"
        model = models.load(train(f"{name}-seed-{seed}", members, seed), torch.device("cpu"))
        made = generate(model, range(GENERATED.count), GENERATED)
        seen = np.bincount(classifier.predict(made.reshape(len(made), -1)), minlength=10)
        loss = losses(model)
        for wanted in CLASSES if digit is None else [digit]:
            own, of_class = int((labels[away] == wanted).sum()), real.target[unseen] == wanted
            counts = (len(away), own, int(seen[wanted]))
            rows.append((rule, wanted, seed, *counts, loss[of_class].mean(), loss[~of_class].mean()))
        columns = ["rule", "class", "seed", "away", "of_class", "made", "loss", "loss_of_others"]
        pd.DataFrame(rows, columns=columns).to_csv("forgotten.csv", index=False)
        print(*rows[-1], flush=True)
