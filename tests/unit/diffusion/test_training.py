"""Training: a run that was killed ends with the same bits; processes share one batch; NaN stops it."""

import dataclasses
import json
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from das.diffusion import models, training
from das.diffusion.inputs import PixelInputs
from das.diffusion.models.unet import UNet
from das.diffusion.process import to_model_space
from das.diffusion.train_jobs import Training, train_models
from das.diffusion.training import TrainSettings, draw_batch, train
from das.errors import UserError
from das.jobs import stop

UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "dropout": 0.2,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (21, 8, 8, 1), dtype=np.uint8)
SETTINGS = TrainSettings(4, 8, 1e-3, 1e-6, 0.95, 0.999, 0.1, 1.0, flip=True)
INPUTS, MEMBERS = PixelInputs(IMAGES), np.arange(len(IMAGES))


def model(seed: int) -> UNet:
    return UNet.initial({"unet": UNET}, seed)


def network(seed: int) -> torch.nn.Module:
    return model(seed).network.eval()


SCHEDULER = model(0).scheduler
SCHEDULE = model(0).schedule


def run(state, settings=SETTINGS, **options):
    accelerator = Accelerator(cpu=True)
    return train(
        accelerator, network(3), SCHEDULE, INPUTS, MEMBERS, settings, 3, state, name="toy", **options
    )


def bits(unet):
    return {name: tensor.numpy().tobytes() for name, tensor in unet.state_dict().items()}


@pytest.mark.parametrize("parts", [1, 3])
def test_a_killed_training_ends_with_the_same_bits(tmp_path, monkeypatch, parts):
    settings = dataclasses.replace(SETTINGS, accumulation=parts)
    whole = bits(run(tmp_path / "whole", settings))
    killed_after = 5

    def kill(path, unet, optimizer, step, *others):
        training_save(path, unet, optimizer, step, *others)
        if step == killed_after:
            raise KeyboardInterrupt

    training_save = training.save_state
    monkeypatch.setattr(training, "save_state", kill)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", settings, checkpoint_seconds=0)
    monkeypatch.undo()

    drawn = []
    monkeypatch.setattr(training, "draw_batch", lambda *a: drawn.append(a[5]) or draw_batch(*a))
    assert bits(run(tmp_path / "killed", settings)) == whole
    assert drawn == list(range(killed_after, 12))


@pytest.fixture
def listening(monkeypatch):
    """Signals raise `Stopped` within the test, and do as before after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(stop, "_asked", None)
    stop.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_told_to_stop_saves_its_step_and_continues_to_the_same_bits(
    tmp_path, monkeypatch, listening, number
):
    whole = bits(run(tmp_path / "whole"))
    drawn = []

    def draw(*arguments):
        drawn.append(arguments[5])
        if drawn == [0, 1, 2, 3, 4]:
            signal.raise_signal(number)
        return draw_batch(*arguments)

    monkeypatch.setattr(training, "draw_batch", draw)
    with pytest.raises(stop.Stopped) as stopped:
        run(tmp_path / "stopped", checkpoint_seconds=math.inf)
    assert stopped.value.signal == number
    monkeypatch.setattr(stop, "_asked", None)
    assert bits(run(tmp_path / "stopped")) == whole
    assert drawn == list(range(12))


def test_work_that_defers_nothing_is_stopped_at_once(listening):
    with pytest.raises(stop.Stopped):
        signal.raise_signal(signal.SIGTERM)


def test_a_state_cut_short_is_named_and_its_training_starts_again(tmp_path, caplog):
    whole = bits(run(tmp_path / "state"))
    state = tmp_path / "state"
    state.write_bytes(state.read_bytes()[:-100])
    assert bits(run(state)) == whole
    assert f"{state} is damaged" in caplog.text


def test_a_checkpoint_cut_short_is_named_and_its_training_starts_again(tmp_path, caplog):
    whole = bits(run(tmp_path / "state", checkpoints=[3]))
    kept = training.checkpoint_file(tmp_path / "state", 3)
    expected = {name: tensor.clone() for name, tensor in load_file(kept).items()}
    kept.write_bytes(kept.read_bytes()[:-100])
    assert bits(run(tmp_path / "state", checkpoints=[3])) == whole
    assert f"{kept} is damaged" in caplog.text
    found = load_file(kept)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    whole = bits(run(tmp_path / "state"))
    monkeypatch.setattr(training, "draw_batch", None)
    assert bits(run(tmp_path / "state")) == whole


def test_seconds_add_up_over_parts_and_count_a_lost_step_once(tmp_path, monkeypatch):
    """By a clock that moves one second a step: of 12 steps the run dies in the eighth, with five saved."""
    clock = SimpleNamespace(now=100.0)

    def tick(*arguments):
        if clock.now == 107 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            raise KeyboardInterrupt
        clock.now += 1
        return draw_batch(*arguments)

    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(training, "draw_batch", tick)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", checkpoint_seconds=5)
    assert training.read_seconds(tmp_path / "state") == 5
    clock.now += 1000
    run(tmp_path / "state", checkpoint_seconds=5)
    assert training.read_seconds(tmp_path / "state") == 12
    run(tmp_path / "state", checkpoint_seconds=5)
    assert training.read_seconds(tmp_path / "state") == 12


def weights_after_steps(monkeypatch):
    """A list that will hold the network's parameters after every step of AdamW, and after none."""
    seen = []
    original = torch.optim.AdamW.step

    def step(optimizer, closure=None):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append([p.detach().clone() for p in parameters])
        original(optimizer)
        if len(seen) == 12:
            seen.append([p.detach().clone() for p in parameters])

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return seen


def test_a_checkpoint_holds_the_weights_after_its_step_and_changes_no_training(tmp_path, monkeypatch):
    whole = bits(run(tmp_path / "whole"))
    seen = weights_after_steps(monkeypatch)
    assert bits(run(tmp_path / "state", checkpoints=[3, 12])) == whole
    for step in (3, 12):
        loaded = network(0)
        training.load_weights(training.checkpoint_file(tmp_path / "state", step), loaded)
        for parameter, expected in zip(loaded.parameters(), seen[step], strict=True):
            assert torch.equal(parameter, expected)


@pytest.mark.parametrize("killed_at", ["checkpoint", "state", "later"])
def test_a_training_killed_at_a_checkpoint_ends_with_the_same_bits_of_it(tmp_path, monkeypatch, killed_at):
    """Between the checkpoint and the state of its step, right behind that state, and some steps later."""
    kept = training.checkpoint_file(tmp_path / "state", 5)
    run(tmp_path / "whole", checkpoints=[5])
    expected = load_file(training.checkpoint_file(tmp_path / "whole", 5))
    save = training.save_state

    def kill(path, unet, optimizer, step, *others):
        if (killed_at, step) == ("checkpoint", 5):
            raise KeyboardInterrupt
        save(path, unet, optimizer, step, *others)
        if (killed_at, step) in (("state", 5), ("later", 7)):
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", kill)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", checkpoints=[5], checkpoint_seconds=0)
    monkeypatch.undo()
    run(tmp_path / "state", checkpoints=[5])
    found = load_file(kept)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert load_file(tmp_path / "state").keys() > expected.keys(), "the checkpoint is no training state"


@pytest.mark.parametrize(
    ("percent", "total", "step"), [(25, 12, 3), (50, 8000, 4000), (75, 11, 8), (99, 12, 12), (1, 60, 1)]
)
def test_the_step_of_a_checkpoint_is_the_nearest_to_its_percent(percent, total, step):
    assert training.checkpoint_step(percent, total) == step


def test_a_checkpoint_before_the_first_step_is_refused():
    with pytest.raises(UserError, match=r"train.checkpoints: 1 percent of 12 steps are none"):
        training.checkpoint_step(1, 12)


def test_checkpoints_are_saved_as_models_that_say_which_they_are(tmp_path, monkeypatch):
    seen = weights_after_steps(monkeypatch)
    job = Training("model", MEMBERS, 3, tmp_path / "model", (25, 50))
    train_models(
        INPUTS,
        [job],
        {"family": "unet", "unet": UNET},
        SETTINGS,
        {"dataset": "toy", "inputs": "of the test"},
        device="cpu",
        resume=tmp_path / "resume",
        checkpoint_seconds=60,
        tracking="none",
    )
    said = {}
    for step, part in ((12, ""), (3, "checkpoints/25"), (6, "checkpoints/50")):
        loaded = models.load(tmp_path / "model" / part, torch.device("cpu"))
        for parameter, expected in zip(loaded.network.parameters(), seen[step], strict=True):
            assert torch.equal(parameter, expected)
        said[part] = json.loads((tmp_path / "model" / part / "provenance.json").read_text())
    assert "checkpoint" not in said[""]
    assert said["checkpoints/25"].pop("checkpoint") == {"percent": 25, "step": 3, "steps": 12}
    assert said["checkpoints/50"].pop("checkpoint") == {"percent": 50, "step": 6, "steps": 12}
    seconds = [said[part].pop("seconds") for part in ("checkpoints/25", "checkpoints/50", "")]
    assert 0 < seconds[0] <= seconds[1] <= seconds[2]
    assert said[""] == said["checkpoints/25"] == said["checkpoints/50"]
    assert not any((tmp_path / "resume").iterdir())


def test_an_epoch_shows_every_image_once_with_the_noise_of_its_timestep():
    batches = [draw_batch(INPUTS, MEMBERS, SETTINGS, SCHEDULE, 3, step, 0) for step in range(3)]
    assert [len(batch.noisy) for batch in batches] == [8, 8, 5]
    seen = []
    for batch in batches:
        abar = SCHEDULE.alphas_cumprod[batch.timesteps][:, None, None, None]
        clean = (batch.noisy - (1 - abar).sqrt() * batch.noise) / abar.sqrt()
        # Late timesteps leave almost nothing of the image: compare where there is enough of it.
        for image, weight in zip(clean, abar.flatten(), strict=True):
            candidates = to_model_space(IMAGES)
            distance = torch.minimum(
                (candidates - image).abs().amax((1, 2, 3)),
                (candidates.flip(-1) - image).abs().amax((1, 2, 3)),
            )
            if weight > 1e-3:
                assert distance.min() < 1e-2
                seen.append(int(distance.argmin()))
    assert len(seen) == len(set(seen)) > 10


def test_shares_of_two_processes_make_up_the_batch():
    two = TrainSettings(4, 8, 1e-3, 1e-6, 0.95, 0.999, 0.1, 1.0, flip=True, processes=2)
    whole = draw_batch(INPUTS, MEMBERS, SETTINGS, SCHEDULE, 3, 2, 0)
    shares = [draw_batch(INPUTS, MEMBERS, two, SCHEDULE, 3, 2, rank) for rank in (0, 1)]
    assert [len(share.noisy) for share in shares] == [3, 2]
    for share, rank in zip(shares, (0, 1), strict=True):
        torch.testing.assert_close(share.noisy, whole.noisy[rank::2], rtol=0, atol=0)
        assert share.whole == 5


@pytest.mark.parametrize(("parts", "sizes"), [(1, [8]), (2, [4, 4]), (3, [3, 3, 2]), (100, [1] * 8)], ids=str)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path, monkeypatch, parts, sizes):
    """Against autograd on the mean squared error of the first batch, without dropout."""
    monkeypatch.setitem(UNET, "dropout", 0.0)
    settings = dataclasses.replace(SETTINGS, max_grad_norm=1e9, accumulation=parts)
    plain = network(3).train()
    batch = draw_batch(INPUTS, MEMBERS, settings, SCHEDULE, 3, 0, 0)
    prediction = plain(batch.noisy, batch.timesteps).sample
    torch.nn.functional.mse_loss(prediction, batch.noise).backward()

    class FirstStepError(Exception):
        pass

    found, run_sizes, loss = [], [], training._loss

    def keep(optimizer, closure=None):
        found.extend(p.grad for group in optimizer.param_groups for p in group["params"])
        raise FirstStepError

    monkeypatch.setattr(
        training, "_loss", lambda m, part, d: run_sizes.append(len(part.noise)) or loss(m, part, d)
    )
    monkeypatch.setattr(torch.optim.AdamW, "step", keep)
    with pytest.raises(FirstStepError):
        run(tmp_path / "state", settings)
    assert run_sizes == sizes
    for parameter, gradient in zip(plain.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_learning_rate_rises_and_falls_as_published(tmp_path, monkeypatch):
    """Linear over the first tenth of the steps, then half a cosine to zero."""
    settings = TrainSettings(10, 11, 1e-3, 0, 0.9, 0.999, 0.1, 1.0, flip=False)
    rates = []
    original = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, closure=None: rates.append(self.param_groups[0]["lr"]) or original(self),
    )
    run(tmp_path / "state", settings)
    expected = [s / 2 for s in range(2)] + [(1 + math.cos(math.pi * s / 18)) / 2 for s in range(18)]
    np.testing.assert_allclose(rates, 1e-3 * np.array(expected), rtol=1e-9, atol=1e-15)


def test_a_loss_that_is_not_finite_stops_with_the_step(tmp_path):
    settings = TrainSettings(4, 8, 1e18, 1e-6, 0.95, 0.999, 0, 1.0, flip=False)
    with pytest.raises(UserError, match=r"toy: the loss is (nan|inf) at step \d; lower train.learning_rate"):
        run(tmp_path / "state", settings)


def test_processes_that_did_not_come_up_are_refused(tmp_path):
    two = TrainSettings(4, 8, 1e-3, 1e-6, 0.95, 0.999, 0.1, 1.0, flip=True, processes=2)
    with pytest.raises(UserError, match=r"train.processes: 2 asked for, but 1 came up"):
        run(tmp_path / "state", two)


def test_a_batch_too_small_for_the_processes_is_refused():
    settings = TrainSettings(1, 20, 1e-3, 1e-6, 0.95, 0.999, 0.1, 1.0, flip=True, processes=2)
    training.check_shares(22, settings)
    with pytest.raises(UserError, match=r"train.batch_size: 20 leaves a batch of 1 images of 21"):
        training.check_shares(21, settings)
