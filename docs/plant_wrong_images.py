"""Write scans/, 1200 images of 8 x 8 pixels of which 60 are wrong, and wrong.csv, which says which.

20 pieces of photographs, each with the grey values of some digit, so that brightness and contrast tell
nothing; 20 digits on their side; and 20 digits mirrored left to right. The argument is a seed, 0 without it.
"""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

OF_KIND, CLEAN = 20, 1140
rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 0)

digits = load_digits()
pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
order = rng.permutation(len(pixels))
clean, rest = order[:CLEAN], order[CLEAN:]
# 0, 1 and 8 are left out: they look much the same, or as a plain stroke.
changed = [i for i in rest if digits.target[i] not in (0, 1, 8)][: 2 * OF_KIND]
others = [i for i in rest if i not in changed][:OF_KIND]


def photograph(like: np.ndarray) -> np.ndarray:
    """A piece of 48 x 48 pixels of a photograph, made small, with the grey values of `like` in its order."""
    image = Image.fromarray(load_sample_images().images[rng.integers(2)]).convert("L")
    left, top = rng.integers(0, np.array(image.size) - 48)
    piece = np.asarray(image.resize((8, 8), Image.Resampling.BOX, (left, top, left + 48, top + 48)))
    ranks = (piece.ravel() + rng.random(64)).argsort().argsort()
    return np.sort(like.ravel())[ranks].reshape(8, 8)


images = [
    *((pixels[i], "") for i in clean),
    *((photograph(pixels[i]), "photograph") for i in others),
    *((np.rot90(pixels[i]), "on its side") for i in changed[:OF_KIND]),
    *((np.fliplr(pixels[i]), "mirrored") for i in changed[OF_KIND:]),
]
shutil.rmtree("scans", ignore_errors=True)
Path("scans").mkdir()
with Path("wrong.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["path", "kind"])
    for number, position in enumerate(rng.permutation(len(images))):
        image, kind = images[position]
        Image.fromarray(image).save(f"scans/{number:04d}.png")
        if kind:
            table.writerow([f"{number:04d}.png", kind])
