"""Cut the two photographs in scikit-learn into a folder of small images, photographs/china and flower."""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 24
for name, photograph in zip(("china", "flower"), load_sample_images().images, strict=True):
    folder = Path("photographs", name)
    folder.mkdir(parents=True, exist_ok=True)
    height, width, _ = photograph.shape
    for top in range(0, height - SIDE + 1, SIDE):
        for left in range(0, width - SIDE + 1, SIDE):
            patch = photograph[top : top + SIDE, left : left + SIDE]
            Image.fromarray(patch).save(folder / f"{top:03d}-{left:03d}.png")
