"""Features and kernels are of the model, parameters and timesteps that their names and settings say."""

import hashlib
import json

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from das.diffusion.models import weights_sha256
from das.scoring.feature_shards import Shards

MINE = {"output": "loss", "timesteps": 2, "dimension": 32, "parameters": "^up_blocks", "by_timestep": True}
PRECONDITIONER = {"name": "ekfac", "damping": 0.5}


@pytest.fixture(scope="module")
def chosen(undisturbed, tmp_path_factory):
    """A copy with features that have settings of their own."""
    copied = undisturbed.copy(tmp_path_factory.mktemp("chosen"))
    copied.config["features"] = {
        "mine": MINE | {"preconditioner": PRECONDITIONER},
        "nothing": {"output": "loss", "parameters": "nowhere"},
    }
    copied.config["preconditioners"] = {"ekfac": {"timesteps": 1, "draws": 2}}
    copied.make(
        "results/tiny/gradients/mine/train/shard-001.h5", "results/tiny/kernels/gauss_newton@seed-5.h5"
    )
    return copied


def test_features_take_settings_of_their_own(chosen):
    with h5py.File(chosen.folder / "results/tiny/gradients/mine/train/shard-001.h5") as file:
        settings = json.loads(file.attrs["settings"])
        assert settings | MINE == settings
        preconditioner = chosen.folder / "results/tiny/preconditioners/ekfac.h5"
        sha256 = hashlib.sha256(preconditioner.read_bytes()).hexdigest()
        assert settings["preconditioner"] == PRECONDITIONER | {"sha256": sha256}
        assert settings["projection"] == "count-sketch"
        assert file["features"].shape == (30, 2, 32)
        assert file["features"].dtype == np.float32
        assert file["timesteps"][()].tolist() == [0, 500]


def test_a_preconditioner_is_of_all_parameters_of_the_model(chosen):
    results = chosen.folder / "results/tiny"
    with h5py.File(results / "preconditioners/ekfac.h5") as file:
        assert file.attrs["weights"] == weights_sha256(results / "model")
        assert file.attrs["rows"] == 60 * 1 * 2
        weights = load_file(results / "model/unet/diffusion_pytorch_model.safetensors")
        assert {name: len(values) for name, values in file["eigenvalues"].items()} == {
            name: values.size for name, values in weights.items()
        }


@pytest.mark.parametrize(
    ("base", "artifact"),
    [
        ("gradients/mean/train/shard-000.h5", "gradients/mean@seed-5/train/shard-000.h5"),
        ("errors/train.h5", "errors@seed-5/train.h5"),
        ("kernels/gauss_newton.h5", "kernels/gauss_newton@seed-5.h5"),
    ],
)
def test_variants_are_of_the_model_that_they_name(chosen, base, artifact):
    results = chosen.folder / "results/tiny"
    with h5py.File(results / base) as model, h5py.File(results / artifact) as variant:
        assert model.attrs["weights"] == weights_sha256(results / "model")
        assert variant.attrs["weights"] == weights_sha256(results / "model/seeds/5")
        assert model.attrs["settings"] == variant.attrs["settings"]


def test_journeys_can_be_compared_with_the_training_features(undisturbed):
    folder = undisturbed.folder / "results/tiny/gradients"
    journeys = folder / "loss@journey/gen/shard-000.h5"
    Shards([journeys]).require_same(Shards(sorted((folder / "loss/train").glob("*.h5"))))
    with h5py.File(journeys) as file:
        assert file.attrs["queries"] == "journey"
        assert len(file["timesteps"]) == 3, "the steps of the sampler"


def test_parameters_that_match_none_are_named(chosen):
    failed = chosen.run("results/tiny/gradients/nothing/train/shard-000.h5")
    assert failed.returncode == 1
    [log] = (chosen.folder / "logs/tiny/project_gradients").glob("nothing_train_000.*.log")
    assert "error: features.nothing.parameters: found 'nowhere', allowed is what some of" in log.read_text()
    assert "Traceback" not in failed.stdout
