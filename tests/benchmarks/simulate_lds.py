"""How often the intervals of LDS tables hold what they should, where the truth is known (by hand, minutes).

Needs predictions and losses of a data set, such as `make demo` leaves. They are samples of a few subsets;
their covariances make a normal population of subsets, whose LDS is known: where r is Pearson's correlation
of a query's predictions and losses, Spearman's is 6 / pi asin(r / 2). From it as many subsets are drawn as a
user has, again and again, and every interval is asked whether it covers the population's value:

    lds, lds_centred   with the damping as it is chosen on half of the subsets
    equals             the difference from a method with other errors that is exactly as good
    lds_corrected      of losses that were measured twice with normal noise, at several reliabilities
    R seeds            of as many models, R training seeds of 1 / R of the subsets, where --agreement is the
                       correlation of the losses of two seeds: truth / half_width says what it tells from 0

    .venv/bin/python tests/benchmarks/simulate_lds.py results/digits das dtrak raw_cos --subsets 32 64
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/scripts"))

from das.diffusion.losses import read_losses
from das.jobs.progress import progress
from das.lds.correlation import centre
from das.lds.damping import held_out
from das.lds.reading import Predicted
from das.lds.reliability import corrected, reliability
from das.lds.resampling import Resamples

RELIABILITIES = (0.2, 0.35, 0.5, 0.75, 0.9)
SEEDS = (1, 2, 3)


class Population:
    """Normal predictions and losses of random subsets, with the covariances of those that were measured.

    A subset is a combination of the measured ones with normal weights. `equal` are predictions whose errors
    have the other sign: of the same variance, and the same covariance with the losses of their query.
    """

    def __init__(self, prediction, measured):
        self.prediction = _standard(prediction)
        self.measured = _standard(measured)
        slope = (self.prediction * self.measured).mean(-2, keepdims=True)
        self.equal = 2 * slope * self.measured - self.prediction

    def draw(self, random, subsets):
        """Predictions, equally good ones [L, S, Q], and losses [S, Q]."""
        weights = random.normal(size=(subsets, self.measured.shape[0])) / np.sqrt(len(self.measured))
        return weights @ self.prediction, weights @ self.equal, weights @ self.measured

    def lds(self, centring=lambda values: values, noise=0.0):
        """LDS in percent at each damping, [L], of losses with more noise of that deviation."""
        x, y = _standard(centring(self.prediction)), _standard(centring(self.measured))
        r = (x * y).mean(-2) / np.sqrt(1 + noise**2)
        return (600 / np.pi * np.arcsin(r / 2)).mean(-1)


def _standard(values):
    return (values - values.mean(-2, keepdims=True)) / values.std(-2, keepdims=True)


class Coverage:
    """Counts for a kind of interval how often it covers, and how wide it is."""

    def __init__(self):
        self.found = {}

    def add(self, what, estimate, truth):
        """An estimate, None if none was given, and the value to cover."""
        self.found.setdefault(what, []).append(
            [np.nan] * 4 if estimate is None else [truth, estimate.value, *estimate.interval]
        )

    def rows(self):
        """Per kind: the mean truth, by which coverage is judged, mean estimate, coverage, half width."""
        for what, found in self.found.items():
            truth, value, low, high = np.array(found).T
            given = ~np.isnan(value)
            row = {"interval": what, "given": given.mean()}
            if given.any():
                mean = truth[given].mean()
                row |= {
                    "truth": mean,
                    "estimate": value[given].mean(),
                    "covers": ((low <= mean) & (mean <= high))[given].mean(),
                    "half_width": (high - low)[given].mean() / 2,
                }
            yield row


def simulate(population, subsets, trials, seed, agreement):
    """Coverage of all kinds of intervals with so many subsets."""
    coverage, random = Coverage(), np.random.default_rng(seed)
    parts = {seeds: Resamples.draw(subsets // seeds, 1, seed=0).splits for seeds in SEEDS}
    splits = parts[1]
    lds, centred = population.lds(), population.lds(centre)
    for _ in progress(range(trials), f"{subsets} subsets"):
        prediction, equal, measured = population.draw(random, subsets)
        estimate, chosen = held_out(prediction, measured, splits)
        coverage.add("lds", estimate, lds[chosen].mean())
        coverage.add("equals", estimate - held_out(equal, measured, splits)[0], 0.0)
        estimate, chosen = held_out(centre(prediction), centre(measured), splits)
        coverage.add("lds_centred", estimate, centred[chosen].mean())
        for share in RELIABILITIES:
            scale = np.sqrt(
                2 * (1 - share) / share
            )  # of the noise of one of two draws, of losses of variance 1
            draws = measured + random.normal(0, scale, (2, *measured.shape))
            estimate, chosen = held_out(prediction, draws.mean(0), splits)
            found = corrected(estimate, reliability(draws))
            coverage.add(f"lds_corrected at {share}", found, lds[chosen].mean())
        for seeds in SEEDS:
            fewer = subsets // seeds
            scale = np.sqrt((1 - agreement) / agreement / seeds)  # of what seeds do not share
            losses = measured[:fewer] + random.normal(0, scale, measured[:fewer].shape)
            estimate, chosen = held_out(prediction[:, :fewer], losses, parts[seeds])
            coverage.add(f"{seeds} seeds", estimate, population.lds(noise=scale)[chosen].mean())
    return coverage.rows()


def main():
    """Print a table of coverage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("results", type=Path, help="folder of a data set, such as results/digits")
    options.add_argument("methods", nargs="+")
    options.add_argument("--subsets", type=int, nargs="+", default=[32, 64])
    options.add_argument("--trials", type=int, default=300)
    options.add_argument("--queries", type=int, help="the first so many; all without it")
    options.add_argument("--agreement", type=float, default=0.32, help="of the losses of two training seeds")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    losses = sorted(arguments.results.glob("lds/losses/*.h5"))
    rows = []
    for method in arguments.methods:
        for path in sorted(arguments.results.glob(f"predictions/{method}/*.h5")):
            predicted = Predicted.read(path)
            _, subsets, queries = predicted.prediction.shape
            measured = read_losses(losses, path.stem, predicted.artifact, subsets, queries).mean((0, 1))
            chosen = slice(arguments.queries)
            population = Population(predicted.prediction[:, :, chosen], measured[:, chosen])
            for number in arguments.subsets:
                found = simulate(population, number, arguments.trials, arguments.seed, arguments.agreement)
                rows += [{"method": method, "split": path.stem, "subsets": number, **row} for row in found]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
