"""What jobs ask a scheduler for: formulas against the networks themselves, and against cost.csv."""

import json
import math
from pathlib import Path

import pytest

from das.cost import architecture, estimate
from das.errors import UserError
from das.plan import configuration
from das.plan.needs import START, TIME_MARGIN, JobNeeds
from das.plan.unet_size import UNetSize, unet_size

ROOT = Path(__file__).parents[3]
MODELS = sorted((ROOT / "config/models").glob("*.json"))
SCHEMAS = ROOT / "workflow/schemas"
CONFIG = configuration.validate(
    configuration.load_yaml(ROOT / "config/config.yaml"), SCHEMAS / "config.schema.yaml", "config"
)
DATASETS = configuration.load_datasets(ROOT / "config/datasets", {}, SCHEMAS / "dataset.schema.yaml")
for _settings in DATASETS.values():
    _settings["model"]["unet"] = str(ROOT / _settings["model"]["unet"])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_size_of_a_network_is_that_of_the_network(path):
    """Parameters and FLOPs to the last one; Stable Diffusion's has adapters of rank 1 besides."""
    family = "lora" if "stable" in path.stem else "unet"
    built = architecture.build_architecture({"family": family, "unet": str(path), "rank": 1}).network
    found, adapters = unet_size(str(path)), built.trained if family == "lora" else 0
    assert found.parameters == built.parameters - adapters
    assert found.flops == pytest.approx(built.forward(2).flops / 2, rel=1e-3 if adapters else 0)
    # A bias is one more input; of adapters, of rank 1 here, the larger factor of each matrix.
    matrices = {name: shape for name, shape in built.tensors.items() if len(shape) > 1}
    sides = [
        (math.prod(shape[1:]) + (name.replace("weight", "bias") in built.tensors), shape[0])
        for name, shape in matrices.items()
    ]
    factors = sum(inputs**2 + outputs**2 for inputs, outputs in sides)
    assert found.factors == factors - (len(sides) if adapters else 0)


def test_a_wider_and_deeper_network_is_that_of_the_network(tmp_path):
    config = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [32, 64, 64],
        "layers_per_block": 3,
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    }
    (tmp_path / "unet.json").write_text(json.dumps(config))
    model = {"family": "unet", "unet": str(tmp_path / "unet.json")}
    built, found = architecture.build_architecture(model).network, UNetSize(config)
    assert (found.parameters, found.flops) == (built.parameters, built.forward(1).flops)


def test_what_a_configuration_leaves_out_is_diffusers_default(tmp_path):
    path = tmp_path / "unet.json"
    path.write_text('{"sample_size": 32}')
    built = architecture.build_architecture({"family": "unet", "unet": str(path)}).network
    assert unet_size(str(path)).parameters == built.parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable configuration of a UNet"),
        ("7", "not a readable configuration of a UNet"),
        ('{"in_channels": 1}', "no 'sample_size'"),
        ('{"sample_size": 8, "down_block_types": ["DownBlock2D"]}', "not a readable configuration of a UNet"),
    ],
)
def test_a_broken_configuration_is_one_line(tmp_path, text, message):
    path = tmp_path / "unet.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        unet_size(str(path))
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_memory_that_no_gpu_takes_over_is_asked_for_with_one_too():
    settings = configuration.merge(DATASETS["digits"], {"jobs": {"gpus": 1}})
    needs = JobNeeds(settings, CONFIG["execution"])
    wide = settings["gradients"] | CONFIG["kernels"]["gauss_newton"] | {"dimension": 32768}
    for need in (needs.kernel(1000, wide), needs.join_kernel(wide)):
        assert need.mem_mb > 2 * 8 * 32768**2 / 1e6


def jobs(name, settings):
    """What jobs ask for, by the rule of cost.csv."""
    needs, split, jobs = JobNeeds(settings, CONFIG["execution"]), settings["split"], settings["jobs"]
    shard = min(split["train"], jobs["images_per_shard"])
    features = [settings["gradients"] | entry for entry in CONFIG["features"].values()]
    kernel = settings["gradients"] | CONFIG["kernels"]["gauss_newton"]
    half, queries = int(settings["lds"]["fraction"] * split["train"]), settings["generate"]["count"]
    compared = [needs.patches(max(queries, split["val"]), each) for each in CONFIG["patches"].values()]
    return {
        "train_model": needs.train(split["train"], saved=4),
        "train_subset_models": needs.train(half, jobs["models_per_job"]),
        "evaluate_subset_models": needs.evaluate(jobs["models_per_job"]),
        "measure_pilot": needs.pilot(),
        "generate_images": needs.generate(queries),
        "compare_patches": max(compared, key=lambda need: need.runtime),
        "measure_errors": needs.errors(shard),
        "project_gradients": needs.gradients(shard, *features),
        "sketch_kernel": needs.kernel(shard, kernel),
        "estimate_preconditioner": needs.preconditioner(
            settings["gradients"] | CONFIG["preconditioners"]["ekfac"]
        ),
        "predict_losses": needs.score(settings["gradients"]["dimension"]),
    }


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("name", DATASETS)
def test_a_job_asks_for_more_than_is_estimated_and_not_for_much_more(name, gpus):
    settings = configuration.merge(DATASETS[name], {"jobs": {"gpus": gpus}, "lds": {"budget": 1000}})
    speeds = CONFIG["execution"]["gpu_tflops"]
    if not gpus:
        speeds = dict.fromkeys(speeds, CONFIG["execution"]["cpu_tflops"])
    table = estimate.estimate_costs(name, settings, CONFIG, speeds).set_index("rule")
    for rule, need in jobs(name, settings).items():
        expected = table.loc[rule]
        minutes = (need.runtime - START / 60) / TIME_MARGIN
        hours = 0 if math.isnan(expected.tflops) else expected.hours_per_job
        assert expected.memory_gb * 1000 < need.mem_mb < 3.5 * expected.memory_gb * 1000 + 2000, rule
        if rule != "predict_losses":
            assert 0.8 * 60 * hours - 1 < minutes < 1.7 * 60 * hours + 1, rule


def test_more_work_asks_for_more():
    settings = DATASETS["digits"]
    needs = JobNeeds(settings, CONFIG["execution"])
    assert needs.train(500, models=8).runtime > needs.train(500).runtime
    assert needs.train(500, saved=4).disk_mb > needs.train(500).disk_mb
    wide = settings["gradients"] | CONFIG["kernels"]["gauss_newton"] | {"dimension": 16384}
    narrow = wide | {"dimension": 512}
    assert needs.kernel(1000, wide).mem_mb > needs.kernel(1000, narrow).mem_mb + 2 * 8 * 16384**2 / 1e6
    loss, mean = (settings["gradients"] | CONFIG["features"][name] for name in ("loss", "mean"))
    alone, both = (
        (need.runtime - START / 60) / TIME_MARGIN
        for need in (needs.gradients(1000, loss), needs.gradients(1000, loss, mean))
    )
    assert both == pytest.approx(5 / 3 * alone, abs=1)  # one forward pass and two of twice its work
    several = configuration.merge(settings, {"train": {"processes": 2}})
    shared = JobNeeds(several, CONFIG["execution"]).train(1000)
    assert shared.mem_mb > needs.train(1000).mem_mb
    in_parts = configuration.merge(settings, {"train": {"accumulation": 4}})
    assert JobNeeds(in_parts, CONFIG["execution"]).train(1000).mem_mb < needs.train(1000).mem_mb


def test_generating_anew_holds_two_models():
    settings = DATASETS["cifar2"] | {"jobs": DATASETS["digits"]["jobs"]}
    needs = JobNeeds(settings, CONFIG["execution"])
    weights = 4 * 35_746_307 / 1e6  # MB; config/models/cifar.json
    assert needs.regenerate().mem_mb > needs.evaluate().mem_mb + weights
    # 50 steps by one model, and 1000 timesteps in 3 draws by two.
    assert needs.regenerate(60).runtime - START / 60 == pytest.approx(
        needs.evaluate().runtime * 60 * 6050 / (2000 * 3000), abs=3, rel=0.01
    )
