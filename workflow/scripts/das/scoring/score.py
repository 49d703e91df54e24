"""Scores of training images, streamed over blocks of them.

`predict_losses` sums scores over the members of each subset, for a grid of dampings at once, and
`score_images` stores them at one damping. Neither holds an N x Q array: memory depends on the dimension of
the features, the block and the number of queries Q, not on the number of training images N (of which the
dual kernel holds N x N where that is smaller than k x k).

Sign convention: a positive score means that having the image in training lowers the query's loss. So the
prediction for the loss of a model is minus the sum of the scores of the images that it was trained on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from das.errors import UserError
from das.jobs import artifacts
from das.jobs.progress import progress
from das.methods import Method
from das.scoring.scorer import Best, Scorer, Sources, require_finite

SIGNED = "positive: having the image in training lowers the query's loss"
MAGNITUDE = "magnitude: taken as positive, having the image in training lowers the query's loss"


def predict_losses(
    method: Method, sources: Sources, subsets: Path, dampings: Sequence[float], output: Path
) -> None:
    """Write what a method predicts for the loss of every subset's model on every query.

    The artifact "predictions" holds `prediction` float64 [L, S, Q] and the attributes `method` and
    `damping_relative`, `damping_absolute`, `damping_unscaled`, each [L], the last two a mean over parts. An
    undamped method has L = 1 and NaN there. Of a method with residuals and the features' own kernel it also
    holds `prediction_gcv` [S, Q], at the damping that generalised cross-validation chooses, in each part for
    itself, and the attribute `damping_gcv`, their geometric mean. `cost_seconds` and `cost_bytes` are what
    the computed files took that it reads, and its own scoring.

    Args:
        subsets: artifact with `membership` bool [S, N].
        dampings: relative dampings, see `das.scoring.kernel.Damping`; ignored for undamped methods.

    Raises:
        UserError: inputs are missing, disagree or are not finite, or a score is not finite.
    """
    if method.damped and not dampings:
        raise UserError(f"method {method.name}: no dampings were given")
    scorer = Scorer(method, sources)
    with artifacts.read(subsets, "subsets") as artifact:
        scorer.require_same_dataset(artifact)
        membership = artifact.read("membership", (None, scorer.n), np.bool_)
    relative = list(dampings) if method.damped else [math.nan]
    prediction = np.zeros((len(relative), len(membership), scorer.queries))
    by_gcv, chosen_by_gcv = np.zeros(prediction.shape[1:]), list[float]()
    scales = np.zeros((2, len(relative)))
    for part in scorer.parts():
        chosen = part.dampings(relative)
        scales += np.array([[d.absolute for d in chosen], [d.unscaled for d in chosen]]) / len(scorer)
        best = part.choose(chosen) if part.chooses else None
        if best is not None:
            chosen_by_gcv.append(relative[best])
        cuts = progress(list(scorer.blocks()), f"{method.name}: blocks of images")
        for index, sums in enumerate(part.sums(membership, cuts, chosen)):
            prediction[index] -= sums / len(scorer)
            if index == best:
                by_gcv -= sums / len(scorer)
        del part  # or its kernel would live on while the next one is built

    settings = scorer.settings | {"dampings": relative if method.damped else []}
    steps = _costs(sources)
    with artifacts.write(
        output,
        "predictions",
        scorer.dataset,
        settings,
        scorer.weights,
        method=method.name,
        damping_relative=np.array(relative),
        damping_absolute=scales[0],
        damping_unscaled=scales[1],
        cost_seconds=sum(step["seconds"] for step in steps) + artifacts.seconds_since_last(),
        cost_bytes=sum(step["bytes"] for step in steps),
    ) as file:
        file["prediction"] = prediction
        if chosen_by_gcv:
            file["prediction_gcv"] = by_gcv
            file.attrs["damping_gcv"] = float(np.exp(np.log(chosen_by_gcv).mean()))


def score_images(
    method: Method, sources: Sources, dampings: Sequence[float], damping_rule: str, top: int, output: Path
) -> None:
    """Write the scores of all training images for all queries at one damping.

    The artifact "scores" holds `scores` float32 [Q, N], `top_index` int64 [Q, M] and `top_score` float32
    [Q, M], the M = min(top, N) highest in descending order, equal ones by index. Attributes: `method`,
    `sign_convention`, `magnitude`, `damping` (relative) and `damping_absolute`, geometric and plain mean over
    parts, `damping_rule`, and `costs`, JSON of what the files took that the scores are computed from.

    Args:
        dampings: the relative damping, or those among which the rule "gcv" chooses; unused without a kernel.
        damping_rule: how the damping is, or was, chosen.

    Raises:
        UserError: inputs are missing, disagree or are not finite, a score is not finite, or the method gives
            "gcv" nothing to choose by.
    """
    if method.damped and not dampings:
        raise UserError(f"method {method.name}: needs a damping, none was given")
    relative = list(dampings) if method.damped else [math.nan]
    rule = damping_rule if method.damped else "none"
    scorer = Scorer(method, sources, one_damping=rule != "gcv")
    settings = scorer.settings | {
        "dampings": relative if method.damped else [],
        "damping_rule": rule,
        "top": top,
    }
    with artifacts.write(
        output,
        "scores",
        scorer.dataset,
        settings,
        scorer.weights,
        method=method.name,
        sign_convention=MAGNITUDE if method.magnitude else SIGNED,
        magnitude=method.magnitude,
        damping_rule=rule,
        costs=json.dumps(_costs(sources)),
    ) as file:
        # The mean over parts, to which each adds its share.
        stored = file.create_dataset("scores", (scorer.queries, scorer.n), np.float32)
        used = []
        for part in scorer.parts():
            chosen = part.dampings(relative)
            if rule == "gcv":
                if not part.chooses:
                    raise UserError(
                        f"scores.damping: gcv needs residuals and the features' own kernel, which "
                        f"{method.name} lacks; name a damping, such as 0.1"
                    )
                chosen = [chosen[part.choose(chosen)]]
            used.append(chosen[0])
            for rows in progress(list(scorer.blocks()), f"{method.name}: blocks of images"):
                for scores in part.scores(rows, chosen):
                    stored[:, rows.start : rows.stop] += (scores / len(scorer)).astype(np.float32)
            del part  # or its kernel would live on while the next one is built
        file.attrs["damping"] = float(np.exp(np.mean([np.log(damping.relative) for damping in used])))
        file.attrs["damping_absolute"] = float(np.mean([damping.absolute for damping in used]))
        best = Best.none(scorer.queries)
        for rows in scorer.blocks():
            scores = stored[:, rows.start : rows.stop]
            require_finite(method, scores, rows)
            best = best.merge(scores, rows, top)
        file["top_index"] = best.index
        file["top_score"] = best.score


def _costs(sources: Sources) -> list[dict[str, Any]]:
    """What files that a method reads took to compute: `step`, `files`, `seconds` and `bytes` of each kind.

    Models that were trained for their sake count once each.
    """
    steps: list[dict[str, Any]] = []
    training: dict[str, float] = {}
    for step, files in sources.computed().items():
        seconds = 0.0
        for path in files:
            with artifacts.read(path) as artifact:
                if "seconds" not in artifact.attributes:
                    raise UserError(f"{path}: made by an older version; delete it and make it again")
                seconds += artifact.attributes["seconds"]
                spent = float(artifact.attributes.get("training_seconds", 0.0))
                training[artifact.weights] = max(spent, training.get(artifact.weights, 0.0))
        size = sum(path.stat().st_size for path in files)
        steps.append({"step": step, "files": len(files), "seconds": seconds, "bytes": size})
    trained = [seconds for seconds in training.values() if seconds]
    if trained:
        step, seconds = "training of further models", sum(trained)
        steps.append({"step": step, "files": len(trained), "seconds": seconds, "bytes": 0})
    return steps
