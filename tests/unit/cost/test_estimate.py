"""What a run will cost follows from the configuration: FLOPs, memory and jobs against counts by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from das.cost import architecture, counting, estimate, page
from das.errors import UserError
from das.plan.configuration import load_datasets, load_yaml, validate
from das.plan.unet_size import unet_size

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "workflow/schemas"
PUBLISHED = ("cifar2", "cifar10", "celeba", "artbench2", "artbench5", "artbench10")
TFLOPS = {"fp32": 10.0, "fp16": 40.0, "bf16": 40.0}


@pytest.fixture(scope="module")
def datasets():
    loaded = load_datasets(ROOT / "config/datasets", {}, SCHEMAS / "dataset.schema.yaml")
    for settings in loaded.values():
        settings["model"]["unet"] = str(ROOT / settings["model"]["unet"])
    return loaded


@pytest.fixture(scope="module")
def config():
    return validate(load_yaml(ROOT / "config/config.yaml"), SCHEMAS / "config.schema.yaml", "config.yaml")


def changed(settings, **sections):
    return settings | {name: settings[name] | values for name, values in sections.items()}


def by_rule(name, settings, config, tflops=TFLOPS):
    return estimate.estimate_costs(name, settings, config, tflops).set_index("rule")


def tiny():
    """A convolution of 2 to 5 channels on 6 x 6 pixels and a layer of 180 to 7 numbers."""
    with torch.device("meta"):
        module = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(180, 7))
    return counting.Network(module, [(2, 6, 6)])


CONVOLUTION, LINEAR = 2 * 36 * 5 * 2 * 9, 2 * 180 * 7


def test_flops_of_a_tiny_network_are_those_by_hand():
    """A multiply-add is two FLOPs; backward leaves out the gradient of the pixels alone."""
    network = tiny()
    assert network.forward(3).flops == 3 * (CONVOLUTION + LINEAR)
    assert network.training(3).flops == 3 * (2 * CONVOLUTION + 3 * LINEAR)
    assert network.gradients(3).flops == network.training(3).flops
    assert network.parameters == network.trained == 5 * 2 * 9 + 5 + 180 * 7 + 7


def test_attention_is_counted():
    """Two products of 4 heads, 10 queries, 10 keys and 8 channels; backward has five."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, device="meta"))

        def forward(self, x):
            x = x * self.scale
            return nn.functional.scaled_dot_product_attention(x, x, x)

    network = counting.Network(Attention(), [(4, 10, 8)])
    product = 2 * 4 * 10 * 10 * 8
    assert network.forward(3).flops == 3 * 2 * product
    assert network.training(3).flops == 3 * (2 + 5) * product


def test_memory_of_a_tiny_network_is_that_by_hand():
    """Two maps live at once; backward waits for both, SiLU's input and output, beside the result."""
    network, rows = tiny(), 3
    map_bytes, output = 4 * rows * 180, 4 * rows * 7
    assert network.forward(rows).bytes == 2 * map_bytes
    assert network.gradients(rows).bytes == 2 * map_bytes + output


def test_activations_of_a_unet_are_those_that_autograd_saves():
    """On real tensors: what backward keeps, each storage once, without parameters and inputs."""
    path = ROOT / "config/models/digits.json"
    rows, kept = 4, {}
    unet = UNet2DModel.from_config(json.loads(path.read_text())).eval()
    images, steps = torch.rand(rows, 1, 8, 8), torch.zeros(rows, dtype=torch.int64)
    given = {t.untyped_storage().data_ptr() for t in [*unet.parameters(), images, steps]}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = unet(images, steps).sample
    saved = sum(t.untyped_storage().nbytes() for p, t in kept.items() if p not in given)
    estimated = (
        architecture.build_architecture({"family": "unet", "unet": str(path)}).network.gradients(rows).bytes
    )
    assert saved <= estimated <= 1.1 * saved + output.nbytes


@pytest.mark.parametrize(
    ("name", "trained", "tensors"),
    [("cifar2", 38_306_691, None), ("celeba", 118_793_987, None), ("artbench2", 25_509_888, 256)],
)
def test_parameters_are_the_published_ones(datasets, name, trained, tensors):
    network = architecture.build_architecture(datasets[name]["model"]).network
    assert network.trained == trained
    if tensors:
        assert network.parameters == 859_520_964 + trained
        assert len(network.tensors) == tensors


def test_jobs_of_cifar2_are_those_of_the_published_protocol(datasets, config):
    jobs = by_rule("cifar2", datasets["cifar2"], config).jobs
    # All but those that need CLIP, further models or an ensemble; journey_trak has no validation queries.
    methods = len(config["methods"]) - 2 - 2 - 3
    expected = {
        "fetch_file": 1,
        "prepare_images": 1,
        "place_images": 1,
        "draw_subsets": 1,
        "train_model": 1,
        "generate_images": 1,
        "join_images": 1,
        "compare_patches": 2 * 2,
        "measure_errors": 5,
        "join_errors": 1,
        "estimate_preconditioner": 1,
        # Six kinds of features together, four with shared noise, two preconditioned ones with noise of either
        # kind, the loss at three checkpoints.
        "project_gradients": (1 + 1 + 2 + 3) * (5 + 1 + 1),
        "place_gradients": (6 + 4 + 2 + 3) * (5 + 1 + 1),
        "project_journeys": 1,
        "sum_gram": 7,
        "sketch_kernel": 2 * 5,
        "join_kernel": 2,
        "train_subset_models": 64 * 3,
        "evaluate_subset_models": 64 * 3,
        "predict_losses": 2 * methods - 1,
        "measure_lds": methods,
        "summarise_lds": 1,
    }
    assert jobs.drop("total").to_dict() == expected
    assert jobs["total"] == sum(expected.values())


def test_methods_add_the_models_that_they_need(datasets, config):
    """An ensemble of three, a second pool of ten models, CLIP from the hub; nothing of it by default."""
    digits = datasets["digits"]
    more = digits | {"ensemble": {"seeds": [1, 2]}, "retrain": digits["retrain"] | {"subsets": 10}}
    base = by_rule("d", digits, config)
    found = by_rule("d", more, config | {"clip": {"model": "openai/clip-vit-base-patch32"}})
    jobs = found.jobs
    assert (jobs["train_ensemble"], jobs["measure_errors"], jobs["join_errors"]) == (2, 3, 3)
    assert (jobs["draw_retrain_subsets"], jobs["train_retrain_models"], jobs["embed_images"]) == (1, 2, 3)
    assert (jobs["fetch_clip_model"], jobs["sketch_kernel"], jobs["join_kernel"]) == (1, 4, 4)
    # das, dtrak and das_gn of two more models, for three splits; in passes that they share.
    assert jobs["project_gradients"] == base.jobs["project_gradients"] + 2 * 3
    assert jobs["place_gradients"] == base.jobs["place_gradients"] + 2 * 3 * 3
    hours = found.hours
    assert hours["train_ensemble"] == pytest.approx(2 * hours["train_model"])
    assert hours["train_retrain_models"] == pytest.approx(hours["train_subset_models"] * 10 / 32)
    assert hours["evaluate_retrain_models"] == pytest.approx(hours["evaluate_subset_models"] * 10 / 32)
    assert found.disk_gb["train_ensemble"] == pytest.approx(2 * 4 * 176_849 / 1e9)
    assert found.disk_gb["train_model"] == pytest.approx(4 * 4 * 176_849 / 1e9)  # with three checkpoints


def test_a_kernel_costs_a_gradient_pass_and_its_products(datasets, config):
    """H takes k² multiply-adds per image and timestep, and k x k numbers per shard and in all."""
    found, kernels = by_rule("digits", datasets["digits"], config), len(config["kernels"])
    per_row = found.gflop_per_row["project_journeys"] + 2 * 4096**2 / 1e9
    assert found.gflop_per_row["sketch_kernel"] == pytest.approx(per_row)
    assert found.rows["sketch_kernel"] == kernels * 1000 * 25
    size = pytest.approx(kernels * 8 * 4096**2 / 1e9)
    assert found.disk_gb["sketch_kernel"] == found.disk_gb["join_kernel"] == size


def test_a_preconditioner_costs_two_passes_and_their_products(datasets, config):
    found = by_rule("digits", datasets["digits"], config)
    size = unet_size(datasets["digits"]["model"]["unet"])
    per_row = found.gflop_per_row["project_journeys"] + (size.factoring + size.rotating) / 2 / 1e9
    assert found.gflop_per_row["estimate_preconditioner"] == pytest.approx(per_row)
    assert found.rows["estimate_preconditioner"] == 2 * 1000 * 25
    # Eigenvectors of the factors, and an eigenvalue of each parameter.
    assert found.disk_gb["estimate_preconditioner"] == pytest.approx(4 * (1_720_375 + 176_849) / 1e9)


def test_features_share_the_forward_pass(datasets, config):
    """Three output functions, each with a backward pass over the same rows."""
    methods = {
        name: {"score": "trak", "features": name} for name in ("loss", "loss_normalised", "mean", "squared")
    }
    found = by_rule("digits", datasets["digits"], config | {"methods": methods})
    network = architecture.build_architecture(datasets["digits"]["model"]).network
    forward, both = (play(128).flops / 128 for play in (network.forward, network.gradients))
    gflop = 1.3 * (forward + 3 * (both - forward)) / 1e9
    assert found.gflop_per_row["project_gradients"] == pytest.approx(gflop)
    assert found.rows["project_gradients"] == 25 * 1400
    assert (found.jobs["project_gradients"], found.jobs["place_gradients"]) == (3, 4 * 3)
    other = config["features"] | {"mean": {"output": "mean", "seed": 5}}
    apart = by_rule("digits", datasets["digits"], config | {"methods": methods, "features": other})
    assert apart.jobs["project_gradients"] == 2 * 3


def test_only_what_methods_need_is_planned(datasets, config):
    digits = changed(datasets["digits"], jobs={"images_per_shard": 150, "models_per_job": 5})
    pixels = by_rule("digits", digits, config | {"methods": {"raw_cos": {"score": "raw_cos"}}}).jobs
    assert not {"measure_errors", "join_errors", "project_gradients", "place_gradients"} & set(pixels.index)
    trak = by_rule("digits", digits, config | {"methods": {"t": {"score": "trak", "features": "loss"}}}).jobs
    assert trak["project_gradients"] == 7 + 2 + 2  # 1000, 200 and 200 images by 150
    assert trak["train_subset_models"] == trak["evaluate_subset_models"] == 7  # 32 models by 5
    assert "measure_errors" not in trak


def test_files_of_ones_own_are_not_fetched(datasets, config):
    mine = changed(datasets["cifar2"], source={"path": "/data/cifar"})
    assert "fetch_file" not in by_rule("mine", mine, config).index


def test_hours_are_work_by_speed(datasets, config):
    """The training of digits' model by hand, and proportions of everything else."""
    digits = datasets["digits"]
    base = by_rule("digits", digits, config)
    network = architecture.build_architecture(digits["model"]).network
    flops = 60 * 1000 * network.training(1).flops * estimate.OVERHEADS["training"]
    assert base.hours["train_model"] == pytest.approx(flops / 10e12 / 3600)
    assert base.hours["train_subset_models"] == pytest.approx(16 * base.hours["train_model"])
    assert base.hours_per_job["train_subset_models"] == pytest.approx(4 * base.hours["train_model"])

    twice = {name: 2 * speed for name, speed in TFLOPS.items()}
    assert by_rule("d", digits, config, twice).hours["total"] == pytest.approx(base.hours["total"] / 2)
    longer = by_rule("d", changed(digits, train={"epochs": 180}), config)
    assert longer.hours["train_model"] == pytest.approx(3 * base.hours["train_model"])
    assert longer.hours["measure_errors"] == base.hours["measure_errors"]
    more = by_rule("d", changed(digits, lds={"draws": 6}), config)
    assert more.hours["evaluate_subset_models"] == pytest.approx(3 * base.hours["evaluate_subset_models"])
    half = by_rule("d", changed(digits, train={"precision": {"cuda": "fp16", "cpu": "fp32"}}), config)
    assert half.hours["train_model"] == pytest.approx(base.hours["train_model"] / 4)


def test_a_budget_of_timesteps_costs_a_pilot(datasets, config):
    """4 models on 50 queries of each split, 100 timesteps in 2 draws; auto counts with 1000 timesteps."""
    digits = datasets["digits"]
    base, half, auto = (
        by_rule("d", changed(digits, lds=change), config)
        for change in ({}, {"budget": 10}, {"budget": "auto"})
    )
    assert base.hours["evaluate_subset_models"] == 2 * half.hours["evaluate_subset_models"]
    assert auto.rows["evaluate_subset_models"] == 50 * base.rows["evaluate_subset_models"]
    assert auto.rows["measure_pilot"] == half.rows["measure_pilot"] == 4 * 2 * 50 * 100 * 2
    assert half.disk_gb["measure_pilot"] == pytest.approx(4 * half.rows["measure_pilot"] / 1e9)
    assert (half.jobs["measure_pilot"], half.jobs["choose_timesteps"]) == (1, 1)


def test_disk_is_the_size_of_what_is_left(datasets, config):
    disk = by_rule("digits", datasets["digits"], config).disk_gb * 1e9
    # Eleven means over timesteps, the loss at three checkpoints, and 25 timesteps kept apart.
    assert disk["place_gradients"] == pytest.approx((11 + 3 + 25) * 1400 * 4096 * 4)
    assert disk["train_subset_models"] == pytest.approx(32 * 4 * 176_849)
    assert disk["place_images"] == pytest.approx(1200 * 64)
    assert disk["total"] == pytest.approx(disk.drop("total").sum())


def test_a_job_without_a_gpu_takes_main_memory(datasets, config):
    without = by_rule("d", changed(datasets["digits"], jobs={"gpus": 0}), config)
    given = by_rule("d", changed(datasets["digits"], jobs={"gpus": 1}), config)
    assert without.gpu_memory_gb.max() == 0 < given.gpu_memory_gb["train_model"]
    assert without.memory_gb["train_model"] > given.memory_gb["train_model"]


MEASURED = """
import json, re, sys, torch
from diffusers import UNet2DModel
torch.set_num_threads(1)
unet = UNet2DModel.from_config(json.loads(sys.argv[1]))
optimizer = torch.optim.AdamW(unet.parameters(), fused=True)
def step(rows):
    unet(torch.rand(rows, 3, 16, 16), torch.zeros(rows, dtype=torch.int64)).sample.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
for rows in (1, 64, 64):
    step(rows)
    print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


# Not by getrusage, whose peak a process inherits from the one that starts it.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
def test_the_memory_of_a_training_is_the_measured_one(tmp_path):
    """What 64 rows take more than one, in a process of its own; a CPU's kernels take half more to work in."""
    path = tmp_path / "unet.json"
    config = {"sample_size": 16, "in_channels": 3, "out_channels": 3, "block_out_channels": [32, 64]}
    config |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    path.write_text(json.dumps(config))
    command = [sys.executable, "-c", MEASURED, path.read_text()]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    one, *_, many = map(int, output)
    network = architecture.build_architecture({"family": "unet", "unet": str(path)}).network
    estimated = architecture.training_bytes(network, 64) - architecture.training_bytes(network, 1)
    assert estimated < 1.1 * (many - one)
    assert many - one < 1.6 * estimated


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not a readable JSON file"), ('{"block_out_channels": [3]}', "not a UNet2D")],
)
def test_a_broken_unet_is_one_line(tmp_path, content, message):
    path = tmp_path / "unet.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        architecture.build_architecture({"family": "unet", "unet": str(path)})
    assert "\n" not in str(error.value)


def test_the_committed_page_is_what_the_configuration_costs(datasets, config, tmp_path):
    """docs/cost.md cannot go stale: `snakemake --cores 1 describe_costs -R describe_costs` makes it again."""
    das = config | {"evaluation": config["evaluation"] | {"methods": ["das"]}}
    economical = load_yaml(ROOT / "config/economical.yaml")["datasets"]
    schema = ROOT / "workflow/schemas/dataset.schema.yaml"
    changed = load_datasets(ROOT / "config/datasets", economical, schema)
    tables = ([], [], [])
    for name in PUBLISHED:
        for found, settings, of in zip(
            tables, (datasets[name], datasets[name], changed[name]), (config, das, das), strict=True
        ):
            table = estimate.estimate_costs(name, settings, of, config["execution"]["gpu_tflops"])
            table.to_csv(tmp_path / "cost.csv", index=False, float_format="%.4g")
            found.append(pd.read_csv(tmp_path / "cost.csv"))
    assert page.describe_costs(*tables) == (ROOT / "docs/cost.md").read_text()
