"""Trained pipelines that lie, or say what they are, in ways that are not the usual one."""

import inspect
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from odd_inputs import Row, outcome, rows
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny_sd
from das.diffusion.models.base import ddim_of, require_finite
from das.diffusion.models.stable_diffusion import BaseModel
from das.diffusion.models.unet import UNet
from das.errors import UserError
from das.pipelines import pipeline
from das.pipelines.keys import AUTOENCODER_KEYS, BASE_UNET_KEYS, SCHEDULER_KEYS, SCHEDULERS, UNET_KEYS
from das.plan import own
from workflow.running import UNET

WEIGHTS = "diffusion_pytorch_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:88dd72b2\nsize 454741132\n"
SCHEDULE, NETWORK, INDEX = "scheduler/scheduler_config.json", "unet/config.json", "model_index.json"


@cache
def saved():
    """A pipeline that plain diffusers has saved, of 8 x 8 pixels in one channel."""
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    DDPMPipeline(UNet2DModel.from_config(UNET), DDPMScheduler()).save_pretrained(folder)
    return folder


def copied(folder):
    return shutil.copytree(saved(), folder / "model")


def edited(file, **values):
    """A row's input: the pipeline with other values in a file of JSON."""

    def make(folder):
        path = copied(folder) / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return path.parents[file.count("/")]

    return make


def changed(change):
    """A row's input: the pipeline after `change` was called with its folder."""

    def make(folder):
        model = copied(folder)
        change(model)
        return model

    return make


def pointer(file):
    return changed(lambda model: (model / file).write_text(POINTER))


def with_weights(change):
    """A row's input: the pipeline with tensors changed in place."""

    def change_file(model):
        path = model / "unet" / WEIGHTS
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return changed(change_file)


def sharded(model, variant="", keep=2, left_out=0):
    """Weights in two shards with an index, as large models are saved; with faults."""
    tensors = load_file(model / "unet" / WEIGHTS)
    names = sorted(tensors)
    files = [WEIGHTS.replace(".safetensors", f"{variant}-0000{i}-of-00002.safetensors") for i in (1, 2)]
    where = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files[:keep]:
        part = [name for name in names if where[name] == file][left_out:]
        save_file({name: tensors[name] for name in part}, model / "unet" / file)
    index = {"metadata": {}, "weight_map": where}
    (model / "unet" / f"{WEIGHTS}.index{variant}.json").write_text(json.dumps(index))
    (model / "unet" / WEIGHTS).unlink()


def renamed(*variants):
    def rename(model):
        file = model / "unet" / WEIGHTS
        for variant in variants:
            shutil.copy(file, file.with_name(WEIGHTS.replace(".", f".{variant}.")))
        file.unlink()

    return changed(rename)


def flat(model):
    """Everything at the root, as the first pipelines lie on the hub."""
    for name in (SCHEDULE, NETWORK, f"unet/{WEIGHTS}"):
        (model / name).rename(model / Path(name).name)
    (model / "unet").rmdir()
    (model / "scheduler").rmdir()


def older_names(tensors):
    """Of attentions, as in the first pipelines."""
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        for name in [name for name in tensors if f".{new}." in name]:
            tensors[name.replace(new, old)] = tensors.pop(name)


def not_finite(tensors):
    tensors["conv_out.bias"][0] = float("nan")


def scheduler(**values):
    return edited(SCHEDULE, **values)


def network(**values):
    return edited(NETWORK, **values)


ROWS = [
    # What the network predicts, and of what.
    Row(
        "the older key of predicting x0",
        scheduler(predict_epsilon=False),
        (SCHEDULE, "predict_epsilon is False"),
    ),
    Row("the older key of predicting noise", scheduler(predict_epsilon=True)),
    Row("x0 by today's key", scheduler(prediction_type="sample"), ("'sample', supported is 'epsilon'",)),
    Row(
        "a learned variance", scheduler(variance_type="learned_range"), ("variance_type is 'learned_range'",)
    ),
    Row(
        "continuous timesteps",
        scheduler(_class_name="EulerDiscreteScheduler", timestep_type="continuous"),
        ("timestep_type is 'continuous'",),
    ),
    Row("a flow", scheduler(use_flow_sigmas=True), ("use_flow_sigmas is True",)),
    Row(
        "a key that nobody knows",
        scheduler(rescale_output=2),
        ("rescale_output is 2", "not of DDPMScheduler"),
    ),
    Row("such a key that is false", scheduler(predicts_noise=False), ("predicts_noise is False",)),
    Row("such a key that is null", scheduler(future=None, _note="ours")),
    Row(
        "a beta in text",
        scheduler(beta_start="0.0001"),
        (SCHEDULE, "beta_start is '0.0001'", "a number from"),
    ),
    Row("a beta that is no number", scheduler(beta_end=float("nan")), ("beta_end is nan",)),
    Row("a beta that is null", scheduler(beta_end=None), ("beta_end is null, supported is a number",)),
    Row("half a timestep", scheduler(num_train_timesteps=10.5), ("num_train_timesteps is 10.5",)),
    Row("betas of another number", scheduler(trained_betas=[0.1] * 7), ("trained_betas are 7", "is 1000")),
    Row("betas in text", scheduler(trained_betas="linear"), ("trained_betas is 'linear'",)),
    Row(
        "an unknown schedule",
        scheduler(beta_schedule="cosine"),
        ("beta_schedule is 'cosine'", "'scaled_linear'"),
    ),
    Row(
        "a schedule that only DDPM knows",
        edited(SCHEDULE, _class_name="DDIMScheduler", beta_schedule="sigmoid"),
        ("'sigmoid', which a DDIMScheduler does not know",),
    ),
    Row(
        "keys that another sampler left",
        scheduler(skip_prk_steps=True, use_karras_sigmas=True, solver_order=3),
    ),
    # The network.
    Row(
        "a network of sigmas", network(time_embedding_type="fourier"), (NETWORK, "'fourier'", "'positional'")
    ),
    Row(
        "a middle of another kind", network(mid_block_type="UNetMidBlock2DCrossAttn"), ("mid_block_type is",)
    ),
    Row("no such downsampling", network(downsample_type="pool"), ("downsample_type is 'pool'",)),
    Row("a number in text", network(norm_eps="1e-5"), ("norm_eps is '1e-5', supported is a number",)),
    Row("true is no number", network(layers_per_block=True), ("layers_per_block is True",)),
    Row(
        "an unknown key of a network",
        network(residual_scale=0.5),
        ("residual_scale is 0.5", "not of UNet2DModel"),
    ),
    Row("quantised", network(quantization_config={"bits": 4}), ("quantization_config is",)),
    Row(
        "fewer learned timesteps than there are",
        network(time_embedding_type="learned", num_train_timesteps=10),
        ("num_train_timesteps is 10, fewer than the 1000",),
    ),
    Row("a square as a list", network(sample_size=[8, 8])),
    Row("no square", network(sample_size=[8, 16]), (NETWORK, "sample_size is [8, 16]")),
    Row(
        "fewer timesteps than images take",
        scheduler(num_train_timesteps=20),
        ("generate.steps: found 50", "20"),
    ),
    Row(
        "nothing left of the image where sampling begins",
        scheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"),
        ("timestep_spacing is 'trailing'", "'leading'"),
    ),
    # The index.
    Row(
        "a network of ones own",
        edited(INDEX, unet=["my_lib", "MyUNet"]),
        (INDEX, "unet is ['my_lib', 'MyUNet']"),
    ),
    Row(
        "two schedulers", edited(INDEX, scheduler=["diffusers", "DDIMScheduler"]), ("scheduler is", "DDPMSch")
    ),
    Row("a further component", edited(INDEX, vqvae=["diffusers", "VQModel"]), ("has a vqvae",)),
    Row("a component that is not there", edited(INDEX, vqvae=[None, None], _name_or_path="x")),
    Row(
        "a pipeline of ones own",
        edited(INDEX, _class_name=["pipeline", "Mine"]),
        ("is a ['pipeline', 'Mine']",),
    ),
    # Where files lie, and what is in them.
    *(
        Row(f"a pointer in place of {file}", pointer(file), (f"model/{file}", "Git LFS", "`git lfs pull`"))
        for file in (INDEX, SCHEDULE, NETWORK, f"unet/{WEIGHTS}")
    ),
    Row("one variant", renamed("fp16")),
    Row("two variants", renamed("fp16", "ema"), ("no such file, but", "fp16.safetensors", "copy the one")),
    Row("shards", changed(sharded)),
    Row("shards of a variant", changed(lambda model: sharded(model, ".fp16"))),
    Row("a shard too few", changed(lambda model: sharded(model, keep=1)), ("00002-of-00002", "No such file")),
    Row(
        "a shard cut by name",
        changed(lambda model: sharded(model, left_out=1)),
        ("00001-of-00002", "lacks 'conv_in"),
    ),
    Row(
        "shards without index",
        changed(lambda m: (sharded(m), (m / f"unet/{WEIGHTS}.index.json").unlink())),
        ("index.json: no such file, which the shards",),
    ),
    Row(
        "a shard that is a pointer",
        changed(lambda m: (sharded(m), next((m / "unet").glob("*-00002-*")).write_text(POINTER))),
        ("00002-of-00002", "Git LFS"),
    ),
    Row("a flat folder", changed(flat)),
    Row("a flat folder with a variant", changed(lambda m: (renamed_in(m), flat_variant(m)))),
    Row("older names of attentions", with_weights(older_names)),
    Row(
        "half precision",
        with_weights(lambda tensors: tensors.update({n: t.half() for n, t in tensors.items()})),
        expected="half",
    ),
    Row(
        "eight bits",
        with_weights(lambda tensors: tensors.update({n: t.to(torch.int8) for n, t in tensors.items()})),
        (WEIGHTS, "holds I8, supported are the numbers F64"),
    ),
    Row(
        "a weight that is no number",
        with_weights(not_finite),
        (WEIGHTS, "'conv_out.bias' holds numbers that are not fin"),
    ),
    Row("a layer too few", with_weights(lambda t: t.pop("conv_out.bias")), ("lacks 'conv_out.bias'",)),
    Row(
        "a first layer too wide",
        with_weights(lambda t: t.update({"conv_in.weight": torch.zeros(8, 3, 3, 3)})),
        ("conv_in",),
    ),
    Row(
        "another width inside",
        with_weights(lambda t: t.update({"time_embedding.linear_1.bias": torch.zeros(7)})),
        ("has another shape of 'time_embedding.linear_1.bias', [7], expected [32]",),
    ),
]


def renamed_in(model):
    (model / "unet" / WEIGHTS).rename(model / "unet" / WEIGHTS.replace(".", ".fp16."))


def flat_variant(model):
    (model / "unet" / WEIGHTS.replace(".", ".fp16.")).rename(model / WEIGHTS.replace(".", ".fp16."))
    (model / NETWORK).rename(model / "config.json")
    (model / "unet").rmdir()


def used(model):
    """What planning says of a model, and then the job."""
    images = model.parent / "images/a"
    images.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(images / name)
    settings = {
        "source": {"kind": "folder", "path": str(images.parent), "resize": 8, "channels": 1},
        "split": {"val": 0},
        "model": {"path": str(model)},
        "queries": {},
        "generate": {"count": 1, "steps": 50},
        "train": {},
    }
    own.complete(settings)
    own.require(settings)
    assert all(Path(file).is_file() for file in pipeline.model_files(settings["model"]))
    assert pipeline.read_network(str(model))["sample_size"] == 8
    return UNet.take(model)


@rows(ROWS)
def test_a_model_is_read_as_it_was_saved_or_refused(row, tmp_path):
    taken = outcome(row, tmp_path, used)
    if taken is None:
        return
    expected = UNet2DModel.from_pretrained(saved(), subfolder="unet").state_dict()
    found = taken.network.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor.half().float() if row.expected == "half" else tensor)
    assert taken.network.config.sample_size == 8


# What is refused only by what the weights hold, in the job; all else is said before anything runs.
IN_THE_JOB = {"a weight that is no number", "a layer too few", "another width inside"}


@rows([row for row in ROWS if row.refused and row.what not in IN_THE_JOB])
def test_what_planning_can_know_it_says(row, tmp_path, monkeypatch):
    monkeypatch.setattr(UNet, "take", lambda folder: pytest.fail("the job was asked"))
    outcome(row, tmp_path, used)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    "values",
    [
        {},
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "num_train_timesteps": 400,
        },
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": np.linspace(0.001, 0.3, 50).tolist(), "num_train_timesteps": 50},
        {"rescale_betas_zero_snr": True},
    ],
    ids=["defaults", "scaled", "cosine", "trained", "zero snr"],
)
def test_the_forward_process_is_that_of_the_class_that_the_file_names(name, values, tmp_path):
    kind = getattr(diffusers, name)
    model = scheduler(_class_name=name, **values)(tmp_path)
    index = model / INDEX
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", name]}))
    path = model / SCHEDULE
    content = {
        key: value for key, value in json.loads(path.read_text()).items() if key in values or key[0] == "_"
    }
    path.write_text(json.dumps(content))  # all other keys are missing: the class's defaults
    if name == "PNDMScheduler" and "rescale_betas_zero_snr" in values:
        with pytest.raises(
            UserError, match=r"rescale_betas_zero_snr is True, which a PNDMScheduler does not kn"
        ):
            used(model)
        return
    taken = used(model)
    expected = kind(**values).alphas_cumprod
    # Euler and the solvers keep 2^-24 of the image where DDPM keeps nothing, so that sigma is finite.
    torch.testing.assert_close(taken.schedule.alphas_cumprod, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(taken.ddim.alphas_cumprod, taken.schedule.alphas_cumprod, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sigmoid", "laplace"])
def test_schedules_that_only_ddpm_knows_are_sampled_from(name):
    scheduler = DDPMScheduler(beta_schedule=name)
    torch.testing.assert_close(ddim_of(scheduler).alphas_cumprod, scheduler.alphas_cumprod, rtol=0, atol=0)


def test_a_list_of_defaults_in_a_file_hides_no_value(tmp_path):
    model = scheduler(beta_end=0.05, _use_default_values=["beta_end"])(tmp_path)
    expected = DDPMScheduler(beta_end=0.05).alphas_cumprod
    torch.testing.assert_close(used(model).schedule.alphas_cumprod, expected)


def test_a_key_of_ones_own_network_that_nobody_knows_is_named(tmp_path):
    unet = tmp_path / "unet.json"
    unet.write_text(json.dumps(UNET | {"attention_head_dims": 8}))
    settings = {
        "source": {"kind": "digits"},
        "split": {"train": 4, "val": 0},
        "model": {"family": "unet", "unet": str(unet)},
        "queries": {},
    }
    with pytest.raises(UserError, match=r"unet.json: attention_head_dims is 8, a key that is not of"):
        own.require(settings)


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match=r"images have pixels that are not finite"):
        require_finite(np.array([0.5, np.nan], np.float32))


def test_every_key_of_the_installed_classes_has_its_place():
    """A new version's keys have to be looked at: does one change what a network means?"""
    tables = [(name, SCHEDULER_KEYS) for name in SCHEDULERS]
    tables += [
        ("UNet2DModel", UNET_KEYS),
        ("UNet2DConditionModel", BASE_UNET_KEYS),
        ("AutoencoderKL", AUTOENCODER_KEYS),
    ]
    for name, table in tables:
        parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
        assert parameters.keys() - {"self"} <= table.keys(), name


def test_defaults_of_the_forward_process_are_the_same_in_all_classes():
    """So that a key that is missing means the same in DDPMScheduler, which takes the configuration."""
    keys = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
    )
    for name in SCHEDULERS:
        parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
        found = [parameters[key].default for key in keys]
        assert found == [1000, 0.0001, 0.02, "linear", None, "epsilon"]
        if "rescale_betas_zero_snr" in parameters:
            assert parameters["rescale_betas_zero_snr"].default is False


# Base models


@cache
def base():
    return tiny_sd.build(Path(tempfile.mkdtemp()) / "base")


def base_with(change):
    def make(folder):
        copy = shutil.copytree(base(), folder / "base")
        change(copy)
        return copy

    return make


def base_edited(file, **values):
    return base_with(lambda f: (f / file).write_text(json.dumps(json.loads((f / file).read_text()) | values)))


def base_halves(folder):
    """All weights in half precision, under the name of their variant."""
    for file in [
        *folder.glob("*/diffusion_pytorch_model.safetensors"),
        folder / "text_encoder/model.safetensors",
    ]:
        tensors = {name: tensor.half() for name, tensor in load_file(file).items()}
        save_file(tensors, file.with_name(file.name.replace(".", ".fp16.")), {"format": "pt"})
        file.unlink()


def base_weights(file, change):
    def change_file(folder):
        tensors = load_file(folder / file)
        change(tensors)
        save_file(tensors, folder / file, {"format": "pt"})

    return base_with(change_file)


TEXT, VAE = "text_encoder/model.safetensors", f"vae/{WEIGHTS}"
BASE_ROWS = [
    Row("as it was saved", base_with(lambda folder: None)),
    Row("variants alone", base_with(base_halves), expected="half"),
    *(
        Row(
            f"a pointer for {file}",
            base_with(lambda f, file=file: (f / file).write_text(POINTER)),
            (file, "git lfs pull"),
        )
        for file in (
            INDEX,
            SCHEDULE,
            NETWORK,
            f"unet/{WEIGHTS}",
            TEXT,
            VAE,
            "vae/config.json",
            "tokenizer/vocab.json",
        )
    ),
    Row(
        "v-prediction", base_edited(SCHEDULE, prediction_type="v_prediction"), ("'v_prediction', supported",)
    ),
    Row(
        "a shift of latents",
        base_edited("vae/config.json", shift_factor=0.1),
        ("shift_factor is 0.1", "null"),
    ),
    Row(
        "a network that sees classes", base_edited(NETWORK, num_class_embeds=10), ("num_class_embeds is 10",)
    ),
    Row(
        "a text encoder's layer too few",
        base_weights(TEXT, lambda t: t.pop(min(t))),
        ("text_encoder: missing",),
    ),
    Row(
        "a layer more",
        base_weights(TEXT, lambda t: t.update(more=torch.ones(1))),
        ("unexpected in its weights, more",),
    ),
    Row("an autoencoder's layer too few", base_weights(VAE, lambda t: t.pop(min(t))), (VAE, "lacks")),
    Row("an autoencoder's older names", base_weights(VAE, older_names)),
    Row(
        "no number in the text encoder",
        base_weights(TEXT, lambda t: t[min(t)].fill_(float("inf"))),
        ("text_encoder", "not finite"),
    ),
]


def used_base(folder):
    model = BaseModel(str(folder))
    encoders = model.encoders(torch.device("cpu"))
    return [model.unet(tiny_sd.UNET, "unet.json"), encoders.vae, encoders.text_encoder]


@rows(BASE_ROWS)
def test_a_base_model_is_read_as_it_was_saved_or_refused(row, tmp_path):
    taken = outcome(row, tmp_path, used_base)
    for found, expected in zip(taken or (), used_base(base()), strict=True) if taken else ():
        for name, tensor in expected.state_dict().items():
            wanted = tensor.half().float() if row.expected == "half" else tensor
            assert torch.equal(found.state_dict()[name], wanted), name
