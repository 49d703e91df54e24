"""Each change of an ablation is the base method with one factor changed, compared with it in pairs."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_lds import DAMPINGS, write_losses, write_predictions

from das.errors import UserError
from das.lds import measure_lds
from das.lds.changes import COLUMNS, summarise_changes
from das.plan import ablation
from das.plan.ablation import Change
from das.plan.methods import configured_methods
from das.report.plots import plot_ablation

CONFIG = {
    "features": {
        "mean": {"output": "mean", "normalise": True, "by_timestep": False},
        "loss": {"output": "loss", "normalise": False, "by_timestep": False},
    },
    "kernels": {},
    "methods": {"das": {"score": "das", "features": "mean"}, "raw_cos": {"score": "raw_cos"}},
    "ablation": {
        "base": "das",
        "changes": {
            "timesteps": [5, 100],
            "dimension": [512, 8192, "exact"],
            "normalise": [False],
            "parameters": ["^up_blocks"],
            "score": ["das_linear"],
            "candidates": [{"by": "raw", "count": 10}],
        },
    },
}


def changed(**ablation_settings):
    config = copy.deepcopy(CONFIG)
    config["ablation"] |= ablation_settings
    return config


def test_one_factor_is_changed_at_a_time():
    config = ablation.extended(CONFIG)
    features, methods = config["features"], configured_methods(config)
    base = methods["das"]
    own = CONFIG["features"]["mean"]

    def of(name):
        return methods[f"ablation_{name}"]

    assert features["ablation_timesteps_5"] == own | {"timesteps": 5}
    assert of("timesteps_5") == replace(base, name="ablation_timesteps_5", features="ablation_timesteps_5")
    assert features["ablation_normalise_False"] == own | {"normalise": False}
    assert features["ablation_parameters_up_blocks"] == own | {"parameters": "^up_blocks"}
    assert features["ablation_dimension_exact"] == own | {"projection": "none"}
    assert of("score_das_linear").rule.name == "das_linear"
    assert of("score_das_linear").features == "mean"
    assert (of("candidates_raw_10").candidates.by, of("candidates_raw_10").candidates.count) == ("raw", 10)
    assert len(methods) == len(CONFIG["methods"]) + 9
    assert set(CONFIG["features"]) == {"mean", "loss"}  # as it was


def test_one_gradient_pass_serves_all_dimensions():
    config = ablation.extended(CONFIG)
    features, methods = config["features"], configured_methods(config)
    assert features["ablation_dimension"] == CONFIG["features"]["mean"] | {"dimension": 8192}
    for size in (512, 8192):
        method = methods[f"ablation_dimension_{size}"]
        assert (method.features, method.dimension) == ("ablation_dimension", size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": "raw_cos"}, r"ablation\.base: found 'raw_cos', allowed are das$"),
        ({"base": "daz"}, r"ablation\.base: found 'daz', allowed are das$"),
        ({"changes": {"parameters": ["a.b", "a:b"]}}, "two changes would be called ablation_parameters_a_b"),
        ({"changes": {"score": ["nothing"]}}, r"methods\.ablation_score_nothing\.score: found 'nothing'"),
        ({"changes": {"score": ["raw_cos"]}}, r"features: raw_cos works on no features"),
    ],
)
def test_changes_that_make_no_method_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        configured_methods(ablation.extended(changed(**settings)))


@pytest.fixture
def measured(tmp_path):
    """Tables and statistics of a base method and of one change, for the same losses."""
    random = np.random.default_rng(0)
    truth = random.normal(1, 0.2, (2, 16, 12))
    losses = write_losses(tmp_path, truth)
    tables, statistics = [], []
    for name, noise in [("das", 0.1), ("ablation_timesteps_5", 0.5)]:
        prediction = truth.mean(0) + random.normal(0, noise, (len(DAMPINGS), 16, 12))
        path = write_predictions(tmp_path / f"{name}.h5", prediction, method=name)
        table, found = measure_lds(name, {"val": path}, losses, replicates=100)
        tables.append(tmp_path / f"{name}.csv")
        statistics.append(tmp_path / f"{name}-statistics.h5")
        table.to_csv(tables[-1], index=False)
        found.write(statistics[-1])
    return tables, statistics


def test_the_table_holds_differences_to_the_base_method(measured):
    tables, statistics = measured
    table = summarise_changes("das", [Change("ablation_timesteps_5", "timesteps", "5")], tables, statistics)
    assert list(table.columns) == COLUMNS
    base, change = table.iloc[0], table.iloc[1]
    assert (base["factor"], change["factor"], change["value"]) == ("base", "timesteps", "5")
    assert base["difference"] == base["difference_ci_low"] == base["difference_ci_high"] == 0
    assert change["difference"] == pytest.approx(change["lds"] - base["lds"], abs=1e-6)
    assert change["difference_ci_high"] < 0  # noise of half the size of what there is to predict
    for row, path in zip((base, change), tables, strict=True):
        own = pd.read_csv(path).set_index("damping_rule").loc["held_out"]
        assert row["lds"] == pytest.approx(own["lds"])
        assert (row["seconds"], row["bytes"]) == (12.5, 3000)


def test_the_plot_is_made_and_is_the_same_each_time(measured, tmp_path):
    tables, statistics = measured
    table = summarise_changes("das", [Change("ablation_timesteps_5", "timesteps", "5")], tables, statistics)
    plot_ablation(table, tmp_path / "a.png")
    plot_ablation(table, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).std() > 10
