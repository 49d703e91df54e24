"""The page: complete, without any request, with every text as text."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from das.data.images import write_texts
from das.errors import UserError
from das.jobs import artifacts
from das.report.page import NEARLY_SAME, write_report

NASTY = "</script><b onclick='x()'>&amp;"
SIDE = 6
COSTS = [{"step": NASTY, "files": 7, "seconds": 1234.56, "bytes": 98_700_000}]


@pytest.fixture
def folder(tmp_path):
    """Two methods' scores [3, 9] of small pictures; query 0 is training image 4, nearly."""
    random = np.random.default_rng(0)
    train = random.integers(10, 240, (9, SIDE, SIDE, 3), dtype=np.uint8)
    queries = random.integers(10, 240, (3, SIDE, SIDE, 3), dtype=np.uint8)
    queries[0] = train[4] + 2
    with artifacts.write(
        tmp_path / "train.h5", "images", "mine", {}, class_names=[NASTY, "b"], published=False
    ) as file:
        file["images"] = train
        file["labels"] = np.arange(9) % 2
        file["source_index"] = np.arange(9)
        write_texts(file, "paths", [f"{NASTY}{i}.png" for i in range(9)])
    with artifacts.write(tmp_path / "gen.h5", "images", "mine", {}) as file:
        file["images"] = queries
    for method in ("one", "two"):
        settings = {"note": NASTY}
        attributes = {"method": "x", "sign_convention": "positive: good", "damping": np.nan}
        attributes |= {"damping_rule": "none", "magnitude": method == "two", "costs": json.dumps(COSTS)}
        path = tmp_path / method / "gen.h5"
        with artifacts.write(path, "scores", "mine", settings, "0" * 64, **attributes) as file:
            file["scores"] = random.standard_normal((3, 9)).astype(np.float32)
    return tmp_path


def page_of(folder, lds=(), **options):
    scores, images = [folder / "one/gen.h5", folder / "two/gen.h5"], [folder / "train.h5", folder / "gen.h5"]
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/provenance.json").write_text('{"seconds": 31.44}')
    write_report(
        scores,
        *images,
        folder / "model",
        lds,
        output=folder / "page.html",
        **{"queries": 2, "most": 3} | options,
    )
    return (folder / "page.html").read_text()


class Tags(HTMLParser):
    """All tags with their attributes, and the text of each script."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)


def data_of(page):
    return json.loads(Tags(page).scripts[0])


def scores_of(folder, method):
    with artifacts.read(folder / method / "gen.h5", "scores") as artifact:
        return artifact.read("scores", (3, 9), np.float32)


def test_each_query_shows_the_highest_and_lowest_scores_of_each_method(folder):
    data = data_of(page_of(folder))
    assert data["methods"] == ["one", "two"]
    assert [query["query"] for query in data["queries"]] == [0, 1]
    for method in data["methods"]:
        for scores, entry in zip(scores_of(folder, method), data["attributions"][method], strict=False):
            order = np.argsort(-scores)
            assert [e["image"] for e in entry["highest"]] == order[:3].tolist()
            lowest = [] if method == "two" else order[::-1][:3].tolist()  # magnitudes have none
            assert [e["image"] for e in entry["lowest"]] == lowest
            magnitude = np.sort(abs(scores))[::-1]
            assert magnitude[: entry["half"]].sum() >= abs(scores).sum() / 2
            assert magnitude[: entry["half"] - 1].sum() < abs(scores).sum() / 2


def test_pictures_are_those_of_the_files_each_training_image_once(folder):
    data = data_of(page_of(folder))
    with artifacts.read(folder / "train.h5", "images") as artifact:
        train = artifact.read("images", (None,) * 4, np.uint8)
    entries = [e for m in data["attributions"].values() for q in m for e in (*q["highest"], *q["lowest"])]
    assert {str(e["image"]) for e in entries} == set(data["images"]) == set(data["train"])
    for image, uri in data["images"].items():
        with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), train[int(image)])


def test_near_duplicates_are_found_by_their_pixels(folder):
    data = data_of(page_of(folder, most=9))
    assert [query["near"] for query in data["queries"]] == [1, 0]
    near = [e for e in data["attributions"]["one"][0]["highest"] if e["near"]]
    assert [e["image"] for e in near] == [4]
    assert near[0]["difference"] == pytest.approx(2)
    assert NEARLY_SAME > 2


def test_the_page_makes_no_request_and_text_stays_text(folder):
    page = page_of(folder)
    found = Tags(page)
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert "http" not in re.sub(r"http-equiv", "", page)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not [tag for tag, attributes in found.tags if tag == "b" or "onclick" in attributes]
    assert len(found.scripts) == 2
    assert data_of(page)["train"]["0"]["label"] == NASTY


def test_the_lds_stands_in_the_page_where_there_is_one(folder):
    table = pd.DataFrame(
        {
            "dataset": "mine",
            "method": "one",
            "split": ["val", "gen"],
            "damping_rule": "none",
            "damping": np.nan,
            "lds": [43.21, 23.9],
            "ci_low": [36.7, 15.9],
            "ci_high": [44.2, 25.7],
            "ceiling": np.nan,
            "n_subsets": 16,
            "n_seeds": 2,
            "n_queries": 3,
            "seconds": 3.0,
            "bytes": 2e6,
        }
    )
    table.to_csv(folder / "lds_one.csv", index=False)
    page = page_of(folder, [folder / "lds_one.csv"])
    assert "<td>43.2</td><td>36.7 to 44.2</td>" in page
    assert "against 32 retrained models" in page
    assert "seed against seed" not in page
    assert 'alt="LDS of the methods with intervals" src="data:image/png;base64,' in page
    assert "No models were retrained" in page_of(folder)


def test_new_pictures_stand_beside_the_old_ones_and_the_table_in_the_page(folder):
    made = np.random.default_rng(3).integers(0, 256, (2, 4, SIDE, SIDE, 3), dtype=np.uint8)
    outcomes = []
    for test, images in zip(("remove", "keep"), made, strict=True):
        outcomes.append(folder / f"{test}.h5")
        settings = {"removal": {"test": test, "method": "one", "images": 5}}
        with artifacts.write(outcomes[-1], "counterfactual", "mine", settings) as file:
            file["images"], file["l2"] = images, np.arange(4.0)
    row = {"test": "keep", "method": "one", "measure": "l2", "n_images": 5, "n_queries": 4}
    row |= {"median": 2.5, "ci_low": 2, "ci_high": 3}
    names = ("minus_random", "minus_random_ci_low", "minus_random_ci_high")
    files = [folder / f"counterfactual.{suffix}" for suffix in ("csv", "png")]
    pd.DataFrame(row | {name: [-0.25, np.nan] for name in names}).to_csv(files[0], index=False)
    Image.new("L", (2, 2)).save(files[1])
    page = page_of(folder, counterfactual=files, outcomes=outcomes)
    assert "<td>2.5 (2 to 3)</td><td>-0.25 (-0.25 to -0.25)</td>" in page
    assert "<td>2.5 (2 to 3)</td><td></td>" in page
    anew = data_of(page)["anew"]
    assert set(anew) == {"0", "1"}  # of four, the page shows two
    for test, images in zip(("remove", "keep"), made, strict=True):
        [entry] = anew["1"][test]
        assert (entry["method"], entry["l2"]) == ("one", 1)
        content = base64.b64decode(entry["image"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(content)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[1])
    assert "What becomes of the pictures" not in page_of(folder)


def test_what_each_step_took_stands_in_the_page(folder):
    page = page_of(folder)
    assert f"<td>two</td><td>{html.escape(NASTY)}</td><td>7</td><td>1234.6</td><td>98.7</td>" in page
    assert "<td>all</td><td>model</td><td>1</td><td>31.4</td><td>0.0</td>" in page
    assert page.count("<td>scores</td>") == 2
    with h5py.File(folder / "two/gen.h5", "a") as file:
        del file.attrs["costs"]
    with pytest.raises(UserError, match=r"two/gen.h5: made by an older version; delete it and make it again"):
        page_of(folder)


def test_large_pictures_are_reduced(folder):
    photograph = np.random.default_rng(1).integers(0, 256, (2, 400, 400, 3), dtype=np.uint8)
    with artifacts.write(folder / "gen.h5", "images", "mine", {}) as file:
        file["images"] = photograph
    with artifacts.write(
        folder / "train.h5", "images", "mine", {}, class_names=["a"], published=False
    ) as file:
        file["images"] = np.repeat(photograph[:1], 9, axis=0)
        file["labels"] = file["source_index"] = np.zeros(9, np.int64)
    uri = data_of(page_of(folder))["queries"][0]["image"]
    assert uri.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.size == (192, 192)


def test_more_than_there_are_is_refused(folder):
    with pytest.raises(UserError, match=r"count: found 10, allowed is at most 9"):
        page_of(folder, most=10)
    assert not (folder / "page.html").exists()
