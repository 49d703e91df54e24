"""A user's mistake is one line that names it, with status 1, and loses nothing."""

import pytest

from workflow.running import Workflow

MISTAKES = {
    "unknown data set": (
        {},
        "results/nothing/lds.csv",
        "error: results/nothing: no data set 'nothing', known are",
    ),
    "unknown method": ({}, "results/tiny/lds_magic.csv", "error: methods: no 'magic', known are raw_dot"),
    "unknown features": (
        {},
        "results/tiny/gradients/magic/train/shard-000.h5",
        "error: features: no 'magic', known are loss",
    ),
    "unknown kernel": (
        {},
        "results/tiny/kernels/magic.h5",
        "error: kernels: no 'magic', known are gauss_newton",
    ),
    "expression that is not valid": (
        {"features": {"mine": {"output": "loss", "parameters": "("}}},
        "results/tiny/gradients/mine/train/shard-000.h5",
        "config/config.yaml: features.mine.parameters: found '(', allowed is a regular expression",
    ),
    "checkpoints that are not saved": (
        {"datasets": {"digits": {"train": {"checkpoints": []}}}},
        "results/digits/lds_tracin.csv",
        "error: digits: tracin needs train.checkpoints: none are saved; list percentages",
    ),
    "checkpoint that is not saved": (
        {},
        "results/tiny/gradients/loss@checkpoint-10/train/shard-000.h5",
        "error: tiny: train.checkpoints: no 10, known are 25, 50, 75",
    ),
    "journey of held-out images": (
        {},
        "results/tiny/predictions/journey_trak/val.h5",
        "error: tiny: journey_trak scores generated queries alone",
    ),
    "CLIP without a model": (
        {},
        "results/tiny/lds_clip_cos.csv",
        "error: tiny: clip_cos needs clip.model: not set; name a folder with a CLIP model, or one on the hub",
    ),
    "CLIP that is not there": (
        {"clip": {"model": "nowhere/at/all"}},
        "results/tiny/lds_clip_cos.csv",
        "error: clip.model: no file 'nowhere/at/all/config.json', expected a folder with config.json",
    ),
    "ensemble of one": (
        {},
        "results/tiny/lds_das_ensemble.csv",
        "error: tiny: das_ensemble needs ensemble.seeds: no further models are trained; list their seeds",
    ),
    "models that are not retrained": (
        {},
        "results/tiny/lds_datamodel.csv",
        "error: tiny: datamodel needs retrain.subsets: found 0, needed are 8 or more",
    ),
    "timesteps without errors": (
        {"datasets": {"digits": {"errors": {"timesteps": 30}}}},
        "results/digits/lds_das_per_timestep.csv",
        "das_per_timestep needs errors.timesteps: found 30, needed is a multiple of the gradients' 25",
    ),
    "module that is not there": (
        {"method_modules": ["nowhere.py"]},
        "results/tiny/lds.csv",
        "error: method_modules: no file",
    ),
    "member of no ensemble": (
        {},
        "results/tiny/model/seeds/5/model_index.json",
        "error: tiny: ensemble.seeds: no 5, known are none",
    ),
    "unknown key": (
        {"datasets": {"digits": {"trane": {}}}},
        "results/digits/lds.csv",
        "(changed by datasets.digits): top level: found unknown key 'trane'",
    ),
    "text for a number": (
        {"datasets": {"digits": {"train": {"learning_rate": "1e-4"}}}},
        "results/digits/lds.csv",
        "train.learning_rate: found the text '1e-4', expected a number",
    ),
    "out of range": (
        {"evaluation": {"bootstrap": 3}},
        "results/tiny/lds.csv",
        "bootstrap: found 3, allowed is at least 100",
    ),
    "unknown scoring rule": (
        {"methods": {"mine": {"score": "magic"}}},
        "results/tiny/lds_mine.csv",
        "methods.mine.score: found 'magic', allowed are clip_cos",
    ),
    "UNet that is not there": (
        {"datasets": {"digits": {"model": {"unet": "config/models/nowhere.json"}}}},
        "results/digits/model/model_index.json",
        "error: digits: model.unet: no file",
    ),
    "base model that is not there": (
        {"datasets": {"artbench2": {"model": {"base": "/nowhere/model"}}}},
        "results/artbench2/lds_das.csv",
        "error: artbench2: model.base: no file '/nowhere/model/model_index.json', expected a Stable",
    ),
    "no base model": (
        {"datasets": {"digits": {"model": {"family": "lora"}}}},
        "results/digits/lds_das.csv",
        "model.base: not set, model.family lora needs it",
    ),
    "base model of a model on pixels": (
        {"datasets": {"digits": {"model": {"base": "somewhere"}}}},
        "results/digits/lds_das.csv",
        "model.base: model.family unet has no use for it",
    ),
    "prompts of another number": (
        {"datasets": {"artbench2": {"generate": {"count": 999}}}},
        "results/artbench2/lds_das.csv",
        "generate.count: found 999, but the prompts make 1000",
    ),
    "folder without a path": (
        {"datasets": {"digits": {"source": {"kind": "folder"}}}},
        "results/digits/lds_das.csv",
        "source.path: not set, source.kind folder needs it",
    ),
    "folder that is not there": (
        {"datasets": {"digits": {"source": {"kind": "folder", "path": "nowhere"}}}},
        "results/digits/lds_das.csv",
        "error: digits: source.path: no file or folder 'nowhere', expected a folder of images",
    ),
    "published file of another source": (
        {"datasets": {"celeba": {"source": {"files": {"celeba.zip": {"size": 1}}}}}},
        "results/celeba/lds_das.csv",
        "celeba: source.files: unknown file 'celeba.zip', allowed are img_align_celeba.zip",
    ),
    "archive that is not there": (
        {"datasets": {"cifar2": {"source": {"path": "nowhere.tar.gz"}}}},
        "results/cifar2/lds_das.csv",
        "cifar2: source.path: no file or folder 'nowhere.tar.gz'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_or_the_target(tmp_path, mistake):
    change, target, message = MISTAKES[mistake]
    workflow = Workflow(tmp_path)
    workflow.config |= change
    if "tiny" in target:
        workflow.config["datasets"] = (
            workflow.config.get("datasets", {}) | Workflow(tmp_path).config["datasets"]
        )
    done = workflow.run(target, "--dry-run")
    assert done.returncode == 1
    assert message in done.stdout
    assert sum("error:" in line for line in done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stdout


def test_a_mistake_in_one_data_set_stops_no_other(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["odd"] = {"source": {"kind": "digits"}, "surprise": 1}
    assert workflow.planned("results/tiny/subsets.h5")["draw_subsets"] == 1
    # By name, also where no rule makes such a file.
    done = workflow.run("results/odd/anything", "--dry-run")
    assert (done.returncode, "Traceback" in done.stdout) == (1, False)
    assert "error: datasets.odd: top level: found unknown key 'surprise'" in done.stdout


def test_a_class_that_is_too_small_for_the_subsets_is_named(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["tiny"]["split"]["train"] = 11
    done = workflow.run("results/tiny/subsets.h5")
    assert done.returncode == 1
    assert "error: lds.fraction: " in done.stdout
    assert "Traceback" not in done.stdout


def test_more_images_than_there_are_is_named(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config["datasets"]["tiny"]["split"]["train"] = 5000
    done = workflow.run("results/tiny/images/train.h5")
    assert done.returncode == 1
    assert "the split needs 5012 images, but the chosen classes have 1797" in done.stdout
