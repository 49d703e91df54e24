"""One self-contained page: which training images mattered for each picture, and how far to trust that.

The page makes no request: pictures lie in it as data URIs, each training image once, and a policy forbids
everything else. Text that comes from users is escaped, or set as text by the page's script.
"""

from __future__ import annotations

import base64
import html
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from das.attributions import tabulate
from das.counterfactual.outcomes import KIND
from das.data.images import read_images
from das.errors import UserError
from das.jobs import artifacts
from das.lds import MAIN_RULES
from das.lds.statistics import MethodStatistics
from das.report.plots import plot_dampings, plot_lds

TEMPLATE = Path(__file__).with_name("page.html")
LARGEST = 192  # pixels of a side; larger pictures are reduced
SMALL = 64  # pixels of a side up to which pictures are enlarged without smoothing, and lossless
# Root mean square difference of pixels, 0 to 255, up to which two pictures count as nearly the same.
NEARLY_SAME = 8.0
PLOTS = ("LDS of the methods with intervals", "LDS of each method with every damping that was tried")
_MEDIAN = ["median", "ci_low", "ci_high"]
_BESIDE = ["minus_random", "minus_random_ci_low", "minus_random_ci_high"]


def write_report(
    scores: Sequence[Path],
    train_images: Path,
    query_images: Path,
    model: Path,
    lds: Sequence[Path] = (),
    statistics: Sequence[Path] = (),
    *,
    queries: int,
    most: int,
    output: Path,
    counterfactual: Sequence[Path] = (),
    outcomes: Sequence[Path] = (),
) -> None:
    """Write the page.

    Args:
        scores: of each method, in the order in which the page offers them.
        model: folder of the model.
        lds, statistics: tables and statistics of the methods' LDS; none where no models were retrained.
        queries: how many of the first queries are shown.
        most: how many training images of each, with the highest scores; where signed, with the lowest too.
        counterfactual: table and plot of the counterfactual evaluation, or nothing.
        outcomes: what was generated in it, a file for each test and method.

    Raises:
        UserError: files cannot be read, or there are fewer training images than `most`.
    """
    train, pictures = read_images(train_images), read_images(query_images)
    shown = pictures[:queries]
    some = f"The first {len(shown)} of " if len(shown) < len(pictures) else ""
    chosen = range(len(shown))
    difference = np.stack([_differences(query, train) for query in shown])
    attributions: dict[str, list[dict[str, Any]]] = {}
    about: dict[Any, dict[Any, Any]] = {}
    settings, costs = [], []
    for path in scores:
        table = tabulate(path, train_images, query_images, count=most, queries=chosen)
        with artifacts.read(path, "scores") as artifact:
            halves = [_half(artifact.read("scores", (None, len(train)), np.float32, _row(q))) for q in chosen]
            settings.append(_settings(path.parent.name, artifact))
            costs.append(_costs(path.parent.name, artifact))
        attributions[path.parent.name] = [
            _of_query(rows, difference[query], halves[query]) for query, rows in table.groupby("query")
        ]
        known = table.drop_duplicates("image").set_index("image")
        about |= known[["path", "label", "caption", "source_index"]].to_dict("index")
        names = table.drop_duplicates("query").set_index("query")[["query_path", "query_caption"]]
    data = {
        "count": len(train),
        "methods": list(attributions),
        "attributions": attributions,
        "train": about,
        "images": {image: _data_uri(train[image]) for image in sorted(about)},
        "queries": [
            {
                "query": query,
                "image": _data_uri(shown[query]),
                "path": names["query_path"][query],
                "caption": names["query_caption"][query],
                "near": int((difference[query] <= NEARLY_SAME).sum()),
            }
            for query in chosen
        ],
        "anew": _anew(outcomes, len(shown)),
    }
    with artifacts.read(train_images, "images") as artifact:
        dataset = artifact.dataset
    page = TEMPLATE.read_text()
    for marker, content in {
        "TITLE": html.escape(f"{dataset}: which training images mattered"),
        "SIZE": "small" if max(train.shape[1:3]) <= SMALL else "",
        "SUMMARY": html.escape(
            f"{some}{len(pictures)} pictures, {len(train)} training images, by {', '.join(attributions)}."
        ),
        "NEAR": f"{NEARLY_SAME:g}",
        "LDS": _lds(lds, statistics),
        "COUNTERFACTUAL": _counterfactual(counterfactual),
        "SETTINGS": _html_table(pd.DataFrame(settings)),
        "COSTS": _html_table(pd.concat([_before(model, query_images), *costs])),
        "DATA": json.dumps(data).replace("<", "\\u003c"),
    }.items():
        page = page.replace(f"%%{marker}%%", content)
    with artifacts.replacing(output) as beside:
        beside.write_text(page)


def _row(query: int) -> slice:
    return slice(query, query + 1)


def _differences(query: NDArray[np.uint8], train: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean square difference of pixels, 0 to 255, to each training image."""
    return np.array([np.sqrt(np.square(image.astype(np.float64) - query).mean()) for image in train])


def _half(scores: NDArray[np.float32]) -> int:
    """The least number of training images that hold half of the sum of absolute scores."""
    magnitude = np.sort(np.abs(scores, dtype=np.float64).ravel())[::-1]
    return int(np.searchsorted(np.cumsum(magnitude), magnitude.sum() / 2) + 1)


def _of_query(rows: pd.DataFrame, difference: NDArray[np.float64], half: int) -> dict[str, Any]:
    entries = rows[["image", "rank", "score", "share"]].assign(
        difference=difference[rows["image"]], near=difference[rows["image"]] <= NEARLY_SAME
    )
    highest, lowest = entries[entries["rank"] > 0], entries[entries["rank"] < 0][::-1]
    return {"half": half, "highest": highest.to_dict("records"), "lowest": lowest.to_dict("records")}


def _settings(method: str, artifact: artifacts.Artifact) -> dict[str, str]:
    """What made a method's scores, for a row of a table."""
    found = artifact.attributes
    return {
        "method": method,
        "scores are": str(found["sign_convention"]),
        "damping": f"{found['damping']:.3g}" if np.isfinite(found["damping"]) else "",
        "chosen by": str(found["damping_rule"]),
        "settings": json.dumps(artifact.settings, sort_keys=True),
        "model": artifact.weights[:12],
        "versions": f"das {found['das_version']}, torch {found['torch_version']}",
    }


def _before(model: Path, query_images: Path) -> pd.DataFrame:
    """What the model and the pictures took, which all methods share, in the form of `_costs`."""
    provenance = json.loads((model / "provenance.json").read_text())
    size = sum(path.stat().st_size for path in model.rglob("*.safetensors"))
    with artifacts.read(query_images, "images") as artifact:
        seconds = artifact.attributes["seconds"]
    rows = [
        {"step": "model", "files": 1, "seconds": provenance.get("seconds", np.nan), "bytes": size},
        {"step": "pictures", "files": 1, "seconds": seconds, "bytes": query_images.stat().st_size},
    ]
    return _cost_table("all", rows)


def _costs(method: str, artifact: artifacts.Artifact) -> pd.DataFrame:
    """Files, seconds and megabytes of each step of a method."""
    if "costs" not in artifact.attributes:
        raise UserError(f"{artifact.path}: made by an older version; delete it and make it again")
    seconds, size = artifact.attributes["seconds"], artifact.path.stat().st_size
    scores = {"step": "scores", "files": 1, "seconds": seconds, "bytes": size}
    return _cost_table(method, [*json.loads(artifact.attributes["costs"]), scores])


def _cost_table(method: str, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return pd.DataFrame(
        {
            "method": method,
            "step": table["step"],
            "files": table["files"],
            "seconds": table["seconds"].map("{:.1f}".format).replace("nan", "not known"),
            "MB": (table["bytes"] / 1e6).map("{:.1f}".format),
        }
    )


def _lds(paths: Sequence[Path], statistics: Sequence[Path]) -> str:
    """The section on how far to trust the methods."""
    if not paths:
        return (
            "<h2>How far to trust it</h2><p>No models were retrained for this data set, so how well these "
            "methods predict what retraining does is not known here.</p>"
        )
    table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    main = table[table["damping_rule"].isin(MAIN_RULES)]
    shown = pd.DataFrame(
        {
            "method": main["method"],
            "queries": main["split"].map({"val": "validation (held out)", "gen": "generated"}),
            "LDS (%)": main["lds"].map("{:.1f}".format),
            "95% interval": [
                f"{low:.1f} to {high:.1f}" for low, high in zip(main["ci_low"], main["ci_high"], strict=True)
            ],
            "seed against seed": main["ceiling"].map("{:.1f}".format).replace("nan", ""),
            "seconds": main["seconds"].map("{:.0f}".format),
            "MB": (main["bytes"] / 1e6).map("{:.1f}".format),
        }
    )
    if not shown["seed against seed"].any():  # one seed
        shown = shown.drop(columns="seed against seed")
    models = int(main["n_subsets"].iloc[0] * main["n_seeds"].iloc[0])
    with tempfile.TemporaryDirectory() as folder:
        plots = [Path(folder, "lds.png")]
        plot_lds(table, plots[0])
        by_damping = Path(folder, "damping.png")
        if plot_dampings([MethodStatistics.read(path) for path in statistics], by_damping):
            plots.append(by_damping)
        pictures = [base64.b64encode(plot.read_bytes()).decode() for plot in plots]
    shown_plots = "".join(
        f'<img class="plot" alt="{text}" src="data:image/png;base64,{picture}">'
        for text, picture in zip(PLOTS, pictures, strict=False)
    )
    return (
        f"<h2>How far to trust it</h2><p>Measured against {models} retrained models: the rank correlation, "
        "over subsets of the training images, between what a method predicts and what models trained on them "
        "do. Methods whose intervals overlap may differ all the same, or not at all: lds_pairs.csv compares "
        "them on the same models.</p>"
        f'<div class="wide">{_html_table(shown)}</div>'
        f"{shown_plots}"
    )


def _anew(outcomes: Sequence[Path], queries: int) -> dict[int, dict[str, list[dict[str, Any]]]]:
    """Of the first queries, by test, what models that were trained on other images have made of them."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for path in outcomes:
        with artifacts.read(path, KIND) as artifact:
            removal = artifact.settings["removal"]
            images = artifact.read("images", (None,) * 4, np.uint8)
            distances = artifact.read("l2", (len(images),), np.float64)
        for query, (image, distance) in enumerate(zip(images[:queries], distances, strict=False)):
            entry = {"method": removal["method"], "image": _data_uri(image), "l2": float(distance)}
            found.setdefault(query, {}).setdefault(removal["test"], []).append(entry)
    return found


def _counterfactual(paths: Sequence[Path]) -> str:
    """The section on what becomes of the pictures, from a table and a plot."""
    if not paths:
        return ""
    table = pd.read_csv(paths[0])
    interval = ["{:.3g} ({:.3g} to {:.3g})".format(*row) for row in table[_MEDIAN].to_numpy()]
    beside = ["{:+.3g} ({:+.3g} to {:+.3g})".format(*row) for row in table[_BESIDE].to_numpy()]
    shown = table[["test", "method", "measure"]].assign(
        **{"median": interval, "difference to random": ["" if "nan" in text else text for text in beside]}
    )
    picture = base64.b64encode(paths[1].read_bytes()).decode()
    images, queries = table.iloc[0][["n_images", "n_queries"]]
    return (
        f"<h2>What becomes of the pictures without them</h2><p>For each of {queries} pictures the model was "
        f"trained again, from the same seed, without the {images} training images that a method ranks "
        "highest (remove), or with them alone (keep), and generated the picture again from the same noise. "
        "Random images are the control. Medians over the pictures, with 95% intervals; differences are taken "
        "picture by picture. The new pictures stand in the cards below.</p>"
        f'<img class="plot" alt="Box plots of every method" src="data:image/png;base64,{picture}">'
        f'<div class="wide">{_html_table(shown)}</div>'
    )


def _html_table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    rows = [
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """An image [H, W, C] as a data URI: PNG where it is small, else JPEG, at most `LARGEST` pixels wide."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    kind, options = ("PNG", {}) if max(picture.size) <= SMALL else ("JPEG", {"quality": 88})
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
