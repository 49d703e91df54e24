"""Whether scores tell the training images that a model saw from those that it did not: AUC of every method.

    .venv/bin/python docs/was_it_trained_on.py digits

reads the stored scores of results/digits_0 and results/digits_1, whose models were trained on the subsets 0
and 1 of results/digits/subsets.h5, and prints a table.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

RESULTS = Path("results")


def seen_above_unseen(scores, seen):
    """AUC and its variance: how probable it is that an image that was seen has a higher score than another.

    Of scores [Q, N] and seen, bool [N], the mean over queries of the Mann-Whitney statistic; ties count half.
    Images are the sample, and queries have them in common. So the variance is that of DeLong et al. (1988),
    from how often each image is above, or below, those of the other kind.
    """
    rank = rankdata(scores, axis=1)
    above = (rank[:, seen] - rankdata(scores[:, seen], axis=1)) / (~seen).sum()
    below = 1 - (rank[:, ~seen] - rankdata(scores[:, ~seen], axis=1)) / seen.sum()
    by_image = above.mean(0), below.mean(0)
    return by_image[0].mean(), sum(values.var(ddof=1) / len(values) for values in by_image)


def table(name):
    """A row for each method and split: AUC of scores and of their sizes, with half of each 95% interval."""
    with h5py.File(RESULTS / name / "subsets.h5") as file:
        subsets = file["membership"][()]
    found = []
    folders = sorted(path.parents[1] for path in RESULTS.glob(f"{name}_[0-9]/errors/train.h5"))
    if not folders:
        sys.exit(f"error: {RESULTS}/{name}_0: no scores yet; docs/was-it-trained-on.md says how to make them")
    for folder in folders:
        seen = subsets[int(folder.name[-1])]
        with h5py.File(folder / "errors/train.h5") as file:
            auc, variance = seen_above_unseen(-file["error"][()].mean(1)[None], seen)
        row = {"method": "less denoising error", "split": "", "model": folder.name}
        found.append(row | {"auc": auc, "v": variance, "size": np.nan, "size_v": np.nan})
        for split in ("val", "gen"):
            for path in sorted(folder.glob(f"scores/*/{split}.h5")):
                with h5py.File(path) as file:
                    scores = file["scores"][()]
                auc, variance = seen_above_unseen(scores, seen)
                size, size_variance = seen_above_unseen(np.abs(scores), seen)
                where = {"method": path.parent.name, "split": split, "model": folder.name}
                found.append(where | {"auc": auc, "v": variance, "size": size, "size_v": size_variance})
    grouped = pd.DataFrame(found).groupby(["split", "method"])
    means, models = grouped.mean(numeric_only=True), grouped.size()
    half = {
        name: norm.ppf(0.975) * np.sqrt(means[v] / models) for name, v in (("", "v"), ("size_", "size_v"))
    }
    return pd.DataFrame(
        {
            "models": models,
            "auc": means["auc"],
            "half_width": half[""],
            "auc_of_size": means["size"],
            "size_half_width": half["size_"],
        }
    ).reset_index()


if __name__ == "__main__":
    print(table(sys.argv[1]).round(3).to_string(index=False))
