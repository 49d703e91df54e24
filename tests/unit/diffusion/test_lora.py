"""Low-rank adapters of a Stable Diffusion: nothing of the base is trained or lost, and the known traps."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_training import model as pixel_model

import tiny_sd
from das.data.images import write_texts
from das.diffusion import denoising_error, latents, models, sampling, training
from das.diffusion.inputs import LatentInputs, PixelInputs, read_inputs
from das.diffusion.models.lora import ENCODERS, Lora
from das.diffusion.models.stable_diffusion import BaseModel
from das.diffusion.process import predict_noise, to_model_space
from das.diffusion.sampling import GenerationSettings
from das.diffusion.training import TrainSettings, train
from das.errors import UserError
from das.gradients import features, journey
from das.gradients.extractor import Feature, Gradient
from das.gradients.features import FeatureSettings
from das.gradients.hooks import ImageGradients
from das.gradients.projection import make_projection
from das.jobs import artifacts
from das.noise import image_noise

CPU = torch.device("cpu")
CAPTIONS = ["a red painting", "a blue painting", "a red painting", "a blue painting"]
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
SETTINGS = TrainSettings(3, 4, 1e-2, 1e-6, 0.9, 0.999, 0.1, 1.0, flip=True, caption_dropout=0.5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny_sd.build(tmp_path_factory.mktemp("base") / "tiny")
    (folder / "unet.json").write_text(json.dumps(tiny_sd.UNET))
    return folder


@pytest.fixture(scope="module")
def encoded(base, tmp_path_factory):
    """Path of the latents of IMAGES, with mirror images."""
    folder = tmp_path_factory.mktemp("latents")
    with artifacts.write(folder / "images.h5", "images", "toy", {}) as file:
        file["images"] = IMAGES
        write_texts(file, "captions", CAPTIONS)
    model = BaseModel(str(base))
    (folder / "state").mkdir()
    latents.encode(
        model.encoders(CPU),
        model.sha256(*ENCODERS),
        folder / "images.h5",
        folder / "latents.h5",
        "toy",
        {"flip": True},
        folder / "state",
    )
    return folder / "latents.h5"


def settings_of(base, **changes):
    return {"base": str(base), "unet": str(base / "unet.json"), "rank": 3, "dropout": 0.1} | changes


@pytest.fixture(scope="module")
def inputs(encoded):
    return read_inputs(encoded)


@pytest.fixture
def initial(base, inputs):
    return Lora.initial(Lora.resolve(settings_of(base), inputs), seed=1)


def trained(base, inputs, state, **options):
    model = Lora.initial(Lora.resolve(settings_of(base), inputs), seed=1)
    model.network = train(
        Accelerator(cpu=True),
        model.network,
        model.schedule,
        inputs,
        np.arange(4),
        SETTINGS,
        1,
        state,
        name="toy",
        **options,
    )
    return model


def adapters(network):
    return {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}


def test_latents_are_those_of_diffusers_own_encoder(base, inputs):
    """Mean and deviation of the posterior, of the images and of their mirror images, times 0.18215."""
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    scale = pipeline.vae.config.scaling_factor
    with torch.no_grad():
        plain = pipeline.vae.encode(to_model_space(IMAGES)).latent_dist
        mirrored = pipeline.vae.encode(to_model_space(IMAGES[:, :, ::-1].copy())).latent_dist
    assert inputs.shape == (4, 8, 8)
    torch.testing.assert_close(inputs.clean(range(1, 3)), plain.mode()[1:3] * scale, rtol=1e-4, atol=1e-6)
    # Mirrored latents are not the latents of mirrored images: both are stored.
    assert not torch.allclose(mirrored.mean, plain.mean.flip(-1), atol=1e-3)

    class Fixed:
        """A generator that mirrors the images with odd numbers and draws ones for noise."""

        def random(self, n):
            return np.arange(n) % 2 == 0

        def standard_normal(self, shape, dtype):
            return np.ones(shape, dtype)

    found = inputs.sample(np.arange(4), True, Fixed())
    for i, part in enumerate([plain, mirrored, plain, mirrored]):
        expected = (part.mean[i] + part.std[i]) * scale
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-6)


def test_captions_are_embedded_as_the_pipeline_does_and_dropped_to_the_empty_one(base, inputs):
    pipeline = StableDiffusionPipeline.from_pretrained(base)
    with torch.no_grad():
        text, empty = pipeline.encode_prompt(CAPTIONS, CPU, 1, True)
    torch.testing.assert_close(inputs.condition(range(4)), text, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(text[0], text[1])
    dropped = inputs.condition(np.arange(4), np.array([True, False, False, True]))
    torch.testing.assert_close(dropped[[0, 3]], empty[[0, 3]], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dropped[[1, 2]], text[[1, 2]], rtol=1e-4, atol=1e-6)


def test_captions_are_dropped_at_the_rate_of_the_recipe(inputs):
    schedule, members = models.family("unet").initial({"unet": {}}, 0).schedule, np.arange(4)
    empty = inputs.condition(np.zeros(1, int), np.array([True]))[0]
    dropped = sum(
        int(torch.equal(row, empty))
        for step in range(200)
        for row in training.draw_batch(inputs, members, SETTINGS, schedule, 0, step, 0).condition
    )
    assert abs(dropped / 800 - SETTINGS.caption_dropout) < 4 * np.sqrt(0.25 / 800)


def test_only_adapters_are_trained_and_a_fresh_one_changes_nothing(base, inputs, initial):
    own = StableDiffusionPipeline.from_pretrained(base).unet
    noisy, t = inputs.clean(range(4)), torch.tensor([3, 400, 700, 999])
    with torch.no_grad():
        expected = own(noisy, t, inputs.condition(range(4))).sample
        found = predict_noise(initial.network.eval(), noisy, t, inputs.condition(range(4)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    names = [n for n, p in initial.network.named_parameters() if p.requires_grad]
    # Four projections of two attention layers in each of the five transformer blocks, two matrices each.
    blocks = sum(1 for n, _ in own.named_modules() if n.endswith("transformer_blocks.0"))
    assert len(names) == blocks * 2 * 4 * 2
    assert all(".lora_A." in n or ".lora_B." in n for n in names)


def test_initial_adapters_depend_on_the_seed_alone(base, inputs):
    resolved = Lora.resolve(settings_of(base), inputs)
    one, two = (adapters(Lora.initial(resolved, 5).network) for _ in range(2))
    other = adapters(Lora.initial(resolved, 6).network)
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_a_saved_model_is_loaded_to_the_bit_and_holds_the_adapters_alone(base, inputs, tmp_path):
    model = trained(base, inputs, tmp_path / "state")
    model.save(tmp_path / "model", {"dataset": "toy"})
    files = {p.relative_to(tmp_path / "model").as_posix() for p in (tmp_path / "model").rglob("*.*")}
    assert files == {
        "base_model.json",
        "provenance.json",
        "pytorch_lora_weights.safetensors",
        "scheduler/scheduler_config.json",
    }
    held = load_file(tmp_path / "model/pytorch_lora_weights.safetensors")
    assert sum(t.numel() for t in held.values()) == sum(p.numel() for p in adapters(model.network).values())

    loaded = models.load(tmp_path / "model", CPU)
    before, after = adapters(model.network), adapters(loaded.network)
    assert before.keys() == after.keys(), "adapters keep their names"
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert any(t.abs().max() > 0 for n, t in after.items() if ".lora_B." in n), "training moved them"
    # Attention layers are the base model's, not fresh ones.
    own = StableDiffusionPipeline.from_pretrained(base).unet.state_dict()
    for name, tensor in loaded.network.state_dict().items():
        if ".lora_" not in name:
            assert torch.equal(own[name.replace(".base_layer", "")], tensor)
    noisy, t = inputs.clean(range(4)), torch.tensor([3, 400, 700, 999])
    with torch.no_grad():
        predictions = [
            predict_noise(network.eval(), noisy, t, inputs.condition(range(4)))
            for network in (model.network, loaded.network)
        ]
    assert torch.equal(*predictions)


def test_alpha_is_kept(initial, tmp_path):
    """An adapter saved without its alpha is scaled otherwise when it is loaded."""
    initial.save(tmp_path / "model", {})
    with safe_open(tmp_path / "model/pytorch_lora_weights.safetensors", "pt") as file:
        assert '"lora_alpha": 3' in json.dumps(
            {k: json.loads(v) for k, v in file.metadata().items() if v[0] == "{"}
        )
    loaded = models.load(tmp_path / "model", CPU)
    scalings = {m.scaling["default"] for m in loaded.network.modules() if hasattr(m, "scaling")}
    assert scalings == {1.0}


def test_the_scheduler_does_not_clip(base, initial, tmp_path):
    """The base's configuration does not mention clip_sample, whose default would clip latents."""
    assert "clip_sample" not in json.loads((base / "scheduler/scheduler_config.json").read_text())
    initial.save(tmp_path / "model", {})
    loaded = models.load(tmp_path / "model", CPU)
    sampler = DDIMScheduler.from_config(loaded.scheduler.config)
    assert sampler.config.clip_sample is False
    assert sampler.config.steps_offset == 1
    assert not sampler.config.set_alpha_to_one
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(loaded.schedule.betas, betas)


def test_dropout_stands_behind_attention_and_nowhere_else(initial):
    active = {n for n, m in initial.network.named_modules() if isinstance(m, torch.nn.Dropout) and m.p}
    assert active
    assert all(name.endswith(("attn1.to_out.1", "attn2.to_out.1")) for name in active)


def test_a_killed_training_ends_with_the_same_bits(base, inputs, tmp_path, monkeypatch):
    whole = adapters(trained(base, inputs, tmp_path / "whole").network)
    save = training.save_state

    def kill(path, network, optimizer, step, *others):
        save(path, network, optimizer, step, *others)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", kill)
    with pytest.raises(KeyboardInterrupt):
        trained(base, inputs, tmp_path / "killed", checkpoint_seconds=0)
    monkeypatch.undo()
    # The state holds what is trained, not the base model again.
    state = load_file(tmp_path / "killed")
    assert {n.split("/")[1] for n in state if n.startswith("weights/")} == whole.keys()
    ended = adapters(trained(base, inputs, tmp_path / "killed").network)
    assert all(torch.equal(whole[n], ended[n]) for n in whole)


def test_a_checkpoint_holds_the_adapters_after_its_step_and_changes_no_training(base, inputs, tmp_path):
    """After all steps they are those of the finished training; before that, neither these nor the first."""
    whole = adapters(trained(base, inputs, tmp_path / "whole").network)
    model = trained(base, inputs, tmp_path / "state", checkpoints=[2, 3])
    ended = adapters(model.network)
    assert all(torch.equal(whole[n], ended[n]) for n in whole)
    found = {}
    for step in (2, 3):
        training.load_weights(training.checkpoint_file(tmp_path / "state", step), model.network)
        found[step] = adapters(model.network)
    assert all(torch.equal(whole[n], found[3][n]) for n in whole)
    first = adapters(Lora.initial(Lora.resolve(settings_of(base), inputs), seed=1).network)
    assert not any(torch.equal(found[2][n], other[n]) for n in whole for other in (whole, first))


@pytest.mark.parametrize("output", ["mean", "loss"])
def test_gradients_of_the_adapters_equal_a_float64_loop(base, inputs, tmp_path, output):
    model = trained(base, inputs, tmp_path / "state")
    timesteps, network = [10, 500], model.network
    shapes = {n: tuple(p.shape) for n, p in network.named_parameters() if p.requires_grad}
    noise = torch.randn(4 * 2, *inputs.shape, generator=torch.Generator().manual_seed(0))
    clean, condition = inputs.clean(range(4)), inputs.condition(range(4))
    hooks = ImageGradients(network, model.schedule, make_projection("none", 0, 0, shapes))
    wanted = [Feature(Gradient(output, True))]
    [found] = hooks.features(wanted, clean, timesteps, noise, 5, condition)

    double = network.double()
    for i in range(4):
        gradients = []
        for j, t in enumerate(timesteps):
            eps = noise[2 * i + j][None].double()
            abar = model.schedule.alphas_cumprod[t].double()
            noisy = abar.sqrt() * clean[i][None].double() + (1 - abar).sqrt() * eps
            prediction = double(noisy, torch.tensor([t]), condition[i][None].double()).sample
            value = prediction.mean() if output == "mean" else (prediction - eps).square().mean()
            parts = torch.autograd.grad(value, [p for p in double.parameters() if p.requires_grad])
            gradient = torch.cat([part.flatten() for part in parts])
            gradients.append(gradient / gradient.norm())
        expected = torch.stack(gradients).mean(0)
        torch.testing.assert_close(found[i].double(), expected, rtol=2e-3, atol=2e-5)


def test_features_and_errors_use_each_images_caption(base, inputs, tmp_path):
    model = trained(base, inputs, tmp_path / "state")
    (tmp_path / "features").mkdir()
    settings = FeatureSettings("mean", True, 2, "uniform", 1, 0, "count-sketch", 64, 0)
    gradients = features.SplitGradients(model.network, model.schedule, settings, split="train", rows=8)
    blocks = features.project(gradients, inputs, range(4), tmp_path / "features")
    found = np.concatenate([block for [block] in blocks])
    options = {"purpose": "errors/train", "seed": 0, "draw": 0, "rows": 8}
    errors = denoising_error.denoising_errors(
        model.network, model.schedule, inputs, range(4), [0, 500], **options
    )
    swapped = LatentInputs(
        inputs._mean.numpy(), inputs._std.numpy(), inputs._text.numpy(), inputs._caption[[1, 0, 2, 3]]
    )
    others = denoising_error.denoising_errors(
        model.network, model.schedule, swapped, range(4), [0, 500], **options
    )
    changed = (errors != others).any(1)
    assert changed.tolist() == [True, True, False, False]
    # The same by a direct call of the network.
    noise = torch.from_numpy(image_noise("errors/train", 0, 500, 0, range(1, 2), inputs.shape))
    t = torch.tensor([500])
    noisy = model.schedule.add_noise(inputs.clean(range(1, 2)), noise, t)
    with torch.no_grad():
        direct = (model.network(noisy, t, inputs.condition(range(1, 2))).sample - noise).square().mean()
    np.testing.assert_allclose(errors[1, 1], direct, rtol=1e-5)
    assert found.shape == (4, 64)
    # Of the adapters alone some can be chosen; the base's parameters are never among them.
    chosen = dataclasses.replace(settings, parameters="to_q", projection="none")
    some = features.SplitGradients(model.network, model.schedule, chosen, split="train", rows=8)
    assert some.dimension == sum(p.numel() for n, p in adapters(model.network).items() if "to_q" in n)
    four = range(4)
    [found] = some.features(four, inputs.clean(four), inputs.condition(four), four)
    assert np.isfinite(found).all()
    assert adapters(model.network).keys() == {n for n, _ in model.network.named_parameters() if "lora_" in n}


def test_images_are_generated_as_the_pipeline_does_whatever_the_batch(base, inputs, tmp_path):
    model = trained(base, inputs, tmp_path / "state")
    model.save(tmp_path / "model", {})
    loaded = models.load(tmp_path / "model", CPU)
    prompts = [{"prompt": "a red painting", "count": 2}, {"prompt": "a blue painting", "count": 1}]
    settings = GenerationSettings(3, 2, 4, 7.5, prompts)
    assert settings.captions() == ["a red painting"] * 2 + ["a blue painting"]
    together = sampling.generate(loaded, range(3), settings)
    assert together.shape == (3, 32, 32, 3)
    alone = sampling.generate(loaded, range(2, 3), settings)
    assert np.abs(together[2].astype(int) - alone[0].astype(int)).max() <= 1

    pipeline = StableDiffusionPipeline.from_pretrained(base)
    config = pipeline.scheduler.config
    pipeline.scheduler = DDIMScheduler.from_config(config, clip_sample=False)
    pipeline.unet.load_lora_adapter(
        tmp_path / "model", prefix=None, weight_name="pytorch_lora_weights.safetensors"
    )
    expected = pipeline(
        "a red painting",
        num_inference_steps=4,
        guidance_scale=7.5,
        height=32,
        width=32,
        generator=torch.Generator().manual_seed(2001),
        output_type="np",
    ).images
    assert np.abs(together[1] / 255 - expected[0]).max() < 0.01


def test_journeys_are_those_of_the_pipeline_with_guidance_and_captions(base, inputs, tmp_path):
    """x0 of a step follows from the pipeline's latents before and after it, by DDIM's equation."""
    model = trained(base, inputs, tmp_path / "state")
    prompts = [{"prompt": "a red painting", "count": 1}, {"prompt": "a blue painting", "count": 1}]
    settings = GenerationSettings(2, 2, 4, 7.5, prompts)
    predicted = journey.predict_journeys(model, inputs, range(2), settings)
    abar = model.schedule.alphas_cumprod
    for i in range(2):
        start = torch.randn(1, *inputs.shape, generator=torch.Generator().manual_seed(2000 + i))
        latents = [start]
        model._sampler(
            CAPTIONS[i],
            height=32,
            width=32,
            num_inference_steps=4,
            guidance_scale=7.5,
            generator=torch.Generator().manual_seed(2000 + i),
            output_type="latent",
            callback_on_step_end=lambda *step, latents=latents: latents.append(step[3]["latents"]) or {},
        )
        for step, t in enumerate([751, 501, 251, 1]):
            before, now = (abar[t - 250] if t > 250 else abar[0]), abar[t]
            ratio = ((1 - before) / (1 - now)).sqrt()
            x0 = (latents[step + 1] - ratio * latents[step]) / (before.sqrt() - ratio * now.sqrt())
            torch.testing.assert_close(predicted[i, step], x0[0], rtol=1e-2, atol=1e-2)


def test_gradients_of_journeys_are_conditional_on_the_caption(base, inputs, tmp_path):
    model = trained(base, inputs, tmp_path / "state")
    chosen = FeatureSettings("loss", False, 2, "uniform", 1, 0, "none", 64, 0, parameters="to_v")
    settings = GenerationSettings(4, 2, 2, 3.0, [{"prompt": "a red painting", "count": 4}])
    gradients = journey.journey_gradients(model, chosen, settings, 3, torch.float32, "features.mine")
    assert gradients.timesteps == [501, 1]
    [[found]] = journey.project_journeys(gradients, model, inputs, range(2), settings, tmp_path)
    predicted = journey.predict_journeys(model, inputs, range(2), settings).double()
    network, condition = model.network.double(), inputs.condition(range(2)).double()
    covered = [p for n, p in network.named_parameters() if "lora_" in n and "to_v" in n]
    for i in range(2):
        total = 0
        for step, t in enumerate([501, 1]):
            eps = torch.from_numpy(
                image_noise("gradients/gen", 0, t, 0, range(i, i + 1), inputs.shape)
            ).double()
            abar = model.schedule.alphas_cumprod[t].double()
            noised = abar.sqrt() * predicted[i, step] + (1 - abar).sqrt() * eps
            e = network(noised, torch.tensor([t]), condition[i : i + 1]).sample
            parts = torch.autograd.grad((e - eps).square().mean(), covered)
            total += torch.cat([part.flatten() for part in parts]) / 2
        np.testing.assert_allclose(found[i], total, rtol=2e-3, atol=1e-3 * float(total.abs().max()))


def test_a_base_model_stored_in_half_precision_is_read_in_full(base, tmp_path):
    """Left in half precision, embeddings would be rounded, and sampling would fail after the training."""
    copy = copy_of(base, tmp_path)
    for name in ("unet", "vae", "text_encoder"):
        file = next((copy / name).glob("*.safetensors"))
        save_file({n: t.half() for n, t in load_file(file).items()}, file, {"format": "pt"})
        config = json.loads((copy / name / "config.json").read_text())
        config["dtype" if name == "text_encoder" else "torch_dtype"] = "float16"
        (copy / name / "config.json").write_text(json.dumps(config))
    model = BaseModel(str(copy))
    encoders = model.encoders(CPU)
    unet = model.unet(tiny_sd.UNET, "unet.json")
    for network in (encoders.vae, encoders.text_encoder, unet):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert encoders.embed(CAPTIONS[:1]).dtype == np.float32


def test_the_identity_of_a_model_is_that_of_its_tensors(base, inputs, tmp_path):
    """Headers of safetensors list their metadata in any order; the same adapters are the same model."""
    resolved = Lora.resolve(settings_of(base), inputs)
    names = set()
    for number in range(4):
        Lora.initial(resolved, 5).save(tmp_path / str(number), {})
        names.add(models.weights_sha256(tmp_path / str(number)))
    assert len(names) == 1
    Lora.initial(resolved, 6).save(tmp_path / "other", {})
    assert models.weights_sha256(tmp_path / "other") not in names


def test_a_model_of_another_family_takes_the_folder_over(initial, tmp_path):
    initial.save(tmp_path / "model", {})
    pixel_model(0).save(tmp_path / "model", {})
    assert models.family_of(tmp_path / "model") == "unet"
    initial.save(tmp_path / "model", {})
    assert models.family_of(tmp_path / "model") == "lora"


# What is refused


def test_latents_of_other_encoders_or_pixels_are_refused(initial, inputs, encoded):
    initial.require(inputs, encoded)
    other = LatentInputs(
        inputs._mean.numpy(), inputs._std.numpy(), inputs._text.numpy(), inputs._caption, "ab"
    )
    with pytest.raises(UserError, match=r"latents\.h5: sha256 of the encoders is ab"):
        initial.require(other, encoded)
    with pytest.raises(UserError, match="holds pixels, the model works on latents"):
        initial.require(PixelInputs(IMAGES), encoded)


def copy_of(base, tmp_path):
    return shutil.copytree(base, tmp_path / "copy")


def test_a_base_model_that_is_not_there_or_incomplete_is_named(base, inputs, tmp_path):
    with pytest.raises(UserError, match=r"model\.base: no folder '/nowhere/model'"):
        BaseModel("/nowhere/model")
    copy = copy_of(base, tmp_path)
    (copy / "vae/config.json").unlink()
    with pytest.raises(UserError, match=r"model\.base: .*copy has no vae/config\.json, needed are"):
        BaseModel(str(copy))


def test_another_kind_of_pipeline_or_architecture_is_refused(base, inputs, tmp_path):
    copy = copy_of(base, tmp_path)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(
        UserError, match="is a StableDiffusionXLPipeline, supported is StableDiffusionPipeline"
    ):
        BaseModel(str(copy))
    (base / "wider.json").write_text(json.dumps(tiny_sd.UNET | {"cross_attention_dim": 32}))
    with pytest.raises(UserError, match=r"of another architecture than .*wider\.json: parameter .*expected"):
        Lora.initial(Lora.resolve(settings_of(base, unet=str(base / "wider.json")), inputs), 0)
    (base / "larger.json").write_text(json.dumps(tiny_sd.UNET | {"sample_size": 16}))
    with pytest.raises(UserError, match=r"larger\.json: sample_size, in_channels, .* 8x8 with 4 channels"):
        Lora.resolve(settings_of(base, unet=str(base / "larger.json")), inputs)


def test_a_changed_base_model_is_noticed(base, inputs, tmp_path):
    copy = copy_of(base, tmp_path)
    model = Lora.initial(Lora.resolve(settings_of(copy), inputs), 0)
    model.save(tmp_path / "model", {})
    weights = load_file(copy / "unet/diffusion_pytorch_model.safetensors")
    weights["conv_in.bias"] += 1
    save_file(weights, copy / "unet/diffusion_pytorch_model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="trained on a base model with sha256"):
        models.load(tmp_path / "model", CPU)


def test_adapters_of_another_rank_are_refused(base, inputs, initial, tmp_path):
    initial.save(tmp_path / "model", {})
    other = Lora.initial(Lora.resolve(settings_of(base, rank=5), inputs), 0)
    other.save(tmp_path / "other", {})
    name = "pytorch_lora_weights.safetensors"
    shutil.copy(tmp_path / "other" / name, tmp_path / "model" / name)
    with pytest.raises(UserError, match=r"weights\.safetensors: has rank 5, expected rank 3"):
        models.load(tmp_path / "model", CPU)
    (tmp_path / "model" / name).write_bytes((tmp_path / "other" / name).read_bytes()[:100])
    with pytest.raises(UserError, match=r"weights\.safetensors: cannot be read"):
        models.load(tmp_path / "model", CPU)
    (tmp_path / "model" / name).unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors: no such file; a model folder holds"):
        models.load(tmp_path / "model", CPU)


def test_images_without_captions_or_of_a_size_that_does_not_fit_are_refused(base, tmp_path):
    def encode(images, captions=None):
        path = tmp_path / "images.h5"
        with artifacts.write(path, "images", "toy", {}) as file:
            file["images"] = images
            if captions:
                write_texts(file, "captions", captions)
        encoders = BaseModel(str(base)).encoders(CPU)
        latents.encode(encoders, "", path, tmp_path / "latents.h5", "toy", {"flip": False}, tmp_path)

    with pytest.raises(UserError, match="has no captions, a text-conditioned model needs them"):
        encode(IMAGES)
    with pytest.raises(UserError, match="images are 30x30 with 3 channels, the autoencoder takes 3 channels"):
        encode(IMAGES[:, :30, :30], captions=CAPTIONS)
    assert not (tmp_path / "latents.h5").exists()
