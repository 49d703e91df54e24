"""AUC of whether a model saw an image: the Mann-Whitney statistic, with an interval that covers."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

seen_above_unseen = runpy.run_path(str(Path(__file__).parents[2] / "docs/was_it_trained_on.py"))[
    "seen_above_unseen"
]


def test_the_auc_is_the_mean_of_the_mann_whitney_statistic_over_queries():
    random = np.random.default_rng(0)
    scores, seen = random.integers(0, 5, (7, 40)).astype(float), random.permutation(40) < 15
    expected = [mannwhitneyu(row[seen], row[~seen]).statistic / (15 * 25) for row in scores]
    assert seen_above_unseen(scores, seen)[0] == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_its_interval_covers(shift):
    """Queries have a part of the images' scores in common, as methods have that prefer some images."""
    random, seen = np.random.default_rng(1), np.arange(200) < 100
    found = []
    for _ in range(400):
        own = random.normal(size=200) + shift * seen
        found.append(seen_above_unseen(own + random.normal(size=(20, 200)), seen))
    auc, variance = np.array(found).T
    covered = np.abs(auc - auc.mean()) < 1.96 * np.sqrt(variance)
    assert 0.92 < covered.mean() < 0.98
    assert auc.mean() == pytest.approx(0.5, abs=0.01) if shift == 0 else auc.mean() > 0.6
