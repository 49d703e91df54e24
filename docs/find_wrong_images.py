"""How well scores find the images that wrong.csv lists, among the training images of results/scans.

Each column of suspects.csv ranks the training images; how early the wrong ones come is printed. suspects.png
shows the first fifty by the score of das for itself.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

RESULTS, METHODS = Path("results/scans"), ("das_gn_raw", "das_gn", "das", "trak", "raw_kernel")

with h5py.File(RESULTS / "images/train.h5") as file:
    paths = file["paths"].asstr()[()]
    images = file["images"][()].reshape(-1, 8, 8)
pixels = images.reshape(len(paths), -1) / 255
with h5py.File(RESULTS / "images/gen.h5") as file:
    queries = pd.Index(file["paths"].asstr()[()])
with h5py.File(RESULTS / "errors/train.h5") as file:
    error = file["error"][()].mean(1)
kinds = pd.read_csv("wrong.csv").set_index("path").kind.reindex(paths).fillna("").to_numpy()

ranked = {}
self = queries.get_indexer(paths)
held_out = ~queries.isin(paths)
for method in METHODS:
    with h5py.File(RESULTS / f"scores/{method}/gen.h5") as file:
        scores = np.abs(file["scores"][()])
    ranked[f"{method}, score for itself"] = scores[self, np.arange(len(paths))]
    ranked[f"{method}, share in held-out ones"] = (scores / scores.sum(1, keepdims=True))[held_out].mean(0)
ranked["denoising error"] = error
distances, _ = NearestNeighbors(n_neighbors=6).fit(pixels).kneighbors(pixels)
ranked["distance to 5 nearest in pixels"] = distances[:, 1:].mean(1)
ranked["contrast"] = pixels.std(1)
table = pd.DataFrame(ranked, index=pd.Index(paths, name="path"))
table.assign(kind=kinds).to_csv("suspects.csv")
first = images[ranked["das, score for itself"].argsort()[::-1][:50]]
framed = np.pad(first, ((0, 0), (1, 1), (1, 1)), constant_values=255).reshape(5, 10, 10, 10)
sheet = Image.fromarray(framed.transpose(0, 2, 1, 3).reshape(50, 100))
sheet.resize((800, 400), Image.Resampling.NEAREST).save("suspects.png")

wrong = kinds != ""
found = []
for name, scores in table.items():
    first = scores.to_numpy().argsort()[::-1][: wrong.sum()]
    row = {"ranked by": name, "precision": wrong[first].mean()}
    row["average precision"] = average_precision_score(wrong, scores)
    for kind in ("photograph", "on its side", "mirrored"):
        known = (kinds == kind) | ~wrong
        row[kind] = average_precision_score(kinds[known] == kind, scores[known])
    found.append(row)
print(
    f"{wrong.sum()} of {len(wrong)} training images are wrong:",
    pd.Series(kinds[wrong]).value_counts().to_dict(),
)
print(pd.DataFrame(found).round(2).to_string(index=False))
