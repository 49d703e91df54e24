"""Counterfactual evaluation: models without the images that a method names generate the queries anew."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import euclidean

from das import models
from das.counterfactual import COLUMNS
from das.inputs import read_inputs
from workflow.test_dag import datasets

TARGET = "results/tiny/counterfactual.csv"
FOLDER = "results/tiny/counterfactual"


@pytest.fixture(scope="module")
def finished(undisturbed, tmp_path_factory):
    workflow = undisturbed.copy(tmp_path_factory.mktemp("counterfactual"))
    workflow.config["datasets"]["tiny"]["counterfactual"] = {"queries": 3, "images": 20}
    workflow.config["counterfactual"] = {"methods": ["das", "raw_cos"]}
    workflow.make(TARGET)
    return workflow


def test_the_table(finished):
    results = finished.folder / "results/tiny"
    print(pd.read_csv(results / "counterfactual.csv").to_string())
