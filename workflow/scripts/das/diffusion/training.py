"""Training by the published recipe, resumable to the bit.

Everything random is a function of (seed, epoch) or (seed, step): the order of the images, timesteps,
noise, flips, latents and dropped captions of the whole batch, of which every process takes its share; dropout
also of the process.
So a training state is only the weights, the optimizer's moments and the step, and a run that was killed
ends, on a CPU, with the same bits as one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.amp import GradScaler

from das.diffusion.inputs import Inputs
from das.diffusion.process import Schedule, predict_noise
from das.errors import UserError
from das.jobs.artifacts import replacing
from das.jobs.progress import progress
from das.jobs.stop import Stopped, deferred
from das.noise import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """The recipe. Published values: D-TRAK (arXiv 2311.00500), whose benchmark DAS uses.

    `batch_size` is the size over all `processes` together. `warmup` is the fraction of all steps in which
    the learning rate rises, before it falls along a half cosine. `caption_dropout` is the share of captions
    that a step replaces by the empty one. `precision` names the number format for each kind of device.
    `accumulation` is the number of parts in which a process runs its share of a batch, one after another.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    warmup: float
    max_grad_norm: float
    flip: bool
    caption_dropout: float = 0.0
    precision: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    accumulation: int = 1


@dataclass(frozen=True)
class Batch:
    """Rows of a step: x_t, timesteps, noise and captions, and the number of rows in all of the step."""

    noisy: Tensor
    timesteps: Tensor
    noise: Tensor
    condition: Tensor | None
    whole: int

    def take(self, rows: slice) -> Batch:
        """Some of the rows."""
        condition = None if self.condition is None else self.condition[rows]
        return Batch(self.noisy[rows], self.timesteps[rows], self.noise[rows], condition, self.whole)

    def parts(self, count: int) -> list[Batch]:
        """At most so many parts of about the same size, none of them empty."""
        size = math.ceil(len(self.noise) / count)
        return [self.take(slice(first, first + size)) for first in range(0, len(self.noise), size)]


def train(
    accelerator: Accelerator,
    network: nn.Module,
    schedule: Schedule,
    inputs: Inputs,
    members: NDArray[np.int64],
    settings: TrainSettings,
    seed: int,
    state: Path,
    *,
    name: str,
    checkpoints: Collection[int] = (),
    checkpoint_seconds: float = 60,
) -> nn.Module:
    """Train the parameters of `network` that require a gradient, and return it.

    Args:
        members: which of the inputs to train on, int64 [n].
        state: a safetensors file that holds unfinished work; continued from when it exists, and left in
            place at the end, where it holds the finished training and its seconds, see `read_seconds`.
        name: what the progress bar and the tracker call this training.
        checkpoints: numbers of steps after which the weights are kept, in `checkpoint_file(state, step)`.

    Raises:
        UserError: the loss is not finite, or fewer processes came up than asked for.
        Stopped: a signal came; the state holds all steps until then.
    """
    if accelerator.num_processes != settings.processes:
        raise UserError(
            f"train.processes: {settings.processes} asked for, but {accelerator.num_processes} came up"
        )
    total = total_steps(len(members), settings)

    network.train()
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=1e-8,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    first, seconds = 0, 0.0
    if usable(state, checkpoints):
        first, seconds = load_state(state, network, optimizer, accelerator.scaler), read_seconds(state)
    warmup_steps = round(settings.warmup * total)
    lr_factor = get_cosine_schedule_with_warmup(optimizer, warmup_steps, total).lr_lambdas[0]
    model, optimizer = accelerator.prepare(network, optimizer)

    started_at = time.monotonic() - seconds
    saved_at = time.monotonic()
    bar = progress(None, name, total=total, initial=first)
    stop = False
    with deferred() as asked_to_stop:
        for step in range(first, total):
            batch = draw_batch(inputs, members, settings, schedule, seed, step, accelerator.process_index)
            batch_loss = _backward(model, batch.parts(settings.accumulation), accelerator, seed, step)
            if not math.isfinite(batch_loss):
                raise UserError(f"{name}: the loss is {batch_loss} at step {step}; lower train.learning_rate")
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * lr_factor(step)
            accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            bar.update()
            accelerator.log({f"{name}/loss": batch_loss, f"{name}/lr": optimizer.param_groups[0]["lr"]}, step)
            if asked_to_stop():
                accelerator.set_trigger()
            stop = accelerator.check_trigger()  # agreed on by all processes
            if accelerator.is_main_process:
                seconds = time.monotonic() - started_at
                # Before the state: a training that continues from a state behind a checkpoint must find it.
                if step + 1 in checkpoints:
                    save_weights(checkpoint_file(state, step + 1), network, seconds)
                due = time.monotonic() - saved_at >= checkpoint_seconds
                if due or stop or step + 1 == total:
                    save_state(state, network, optimizer, step + 1, seconds, accelerator.scaler)
                    saved_at = time.monotonic()
            if stop:
                break
    if stop:
        raise Stopped(signal.SIGTERM)  # another of the processes was told
    bar.close()
    accelerator.wait_for_everyone()
    trained = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    accelerator.free_memory()
    return trained.eval()


def draw_batch(
    inputs: Inputs,
    members: NDArray[np.int64],
    settings: TrainSettings,
    schedule: Schedule,
    seed: int,
    step: int,
    rank: int,
) -> Batch:
    """The share of process `rank` in the batch of a step; together the shares are the same for any number."""
    steps_per_epoch = math.ceil(len(members) / settings.batch_size)
    epoch, position = divmod(step, steps_per_epoch)
    order = generator("order", seed, epoch).permutation(len(members))
    chosen = members[order[position * settings.batch_size : (position + 1) * settings.batch_size]]

    random = generator("step", seed, step)
    timesteps = torch.from_numpy(random.integers(0, len(schedule), len(chosen)))
    noise = torch.from_numpy(random.standard_normal((len(chosen), *inputs.shape), dtype=np.float32))
    clean = inputs.sample(chosen, settings.flip, random)
    condition = inputs.condition(chosen, random.random(len(chosen)) < settings.caption_dropout)
    noisy = schedule.add_noise(clean, noise, timesteps)
    whole = Batch(noisy, timesteps, noise, condition, len(chosen))
    return whole.take(slice(rank, None, settings.processes))


def total_steps(images: int, settings: TrainSettings) -> int:
    """Steps of a whole training on that many images."""
    return settings.epochs * math.ceil(images / settings.batch_size)


def checkpoint_step(percent: int, total: int) -> int:
    """After how many of all steps the checkpoint at that percent of a training is taken.

    Raises:
        UserError: none are finished by then.
    """
    step = round(percent / 100 * total)
    if step == 0:
        raise UserError(f"train.checkpoints: {percent} percent of {total} steps are none")
    return step


def usable(state: Path, checkpoints: Collection[int]) -> bool:
    """Whether there is unfinished work to continue; says so when that, or a checkpoint, is damaged."""
    if not state.exists():
        return False
    kept = (checkpoint_file(state, step) for step in checkpoints)
    for path in (state, *(path for path in kept if path.exists())):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            log.warning("%s is damaged (%s); this training starts again from its beginning", path, error)
            return False
    return True


def checkpoint_file(state: Path, step: int) -> Path:
    """Where `train` keeps the weights after `step` steps, beside its state."""
    return state.with_name(f"{state.stem}-{step}.safetensors")


def save_weights(path: Path, network: nn.Module, seconds: float) -> None:
    """Save trained weights and the seconds that they took, as `save_state` does."""
    with replacing(path) as beside:
        save_file(_weights(network), beside, metadata={"seconds": str(seconds)})


def load_weights(path: Path, network: nn.Module) -> None:
    """Load what `save_weights` or `save_state` saved."""
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, parameter in _weights(network).items():
            parameter.copy_(file.get_tensor(name))


def save_state(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    scaler: GradScaler | None = None,
) -> None:
    """Save trained weights, AdamW moments, the number of finished steps and their seconds in one file."""
    tensors = _weights(network)
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments/{index}/{name}": tensor for name, tensor in moments.items()}
    scale = {} if scaler is None else {"scaler": json.dumps(scaler.state_dict())}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"finished_steps": str(step), "seconds": str(seconds), **scale})


def load_state(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler | None = None
) -> int:
    """Load what `save_state` saved and return the number of finished steps."""
    load_weights(path, network)
    moments: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        for key in file.keys():  # noqa: SIM118 -- safe_open is not a mapping
            if key.startswith("moments/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = file.get_tensor(key)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler is not None:
        scaler.load_state_dict(json.loads(metadata["scaler"]))
    return int(metadata["finished_steps"])


def read_seconds(path: Path) -> float:
    """Wall-clock seconds of the finished steps in a file that `save_state` or `save_weights` made.

    They are the sum over all parts of a training that was killed; a step that was lost and is run again
    counts once.
    """
    with safe_open(path, "pt") as file:
        return float(file.metadata()["seconds"])


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """The trained weights, by their names in files."""
    return {f"weights/{name}": p.data for name, p in network.named_parameters() if p.requires_grad}


def _backward(
    model: nn.Module, parts: Sequence[Batch], accelerator: Accelerator, seed: int, step: int
) -> float:
    """Add the gradient of the batch's mean squared error, and return this process's share of that error.

    The processes exchange gradients once, with the last of the parts.
    """
    torch.manual_seed(int(generator("dropout", seed, step, accelerator.process_index).integers(2**63)))
    loss = 0.0
    for part in parts:
        with nullcontext() if part is parts[-1] else accelerator.no_sync(model):
            part_loss = _loss(model, part, accelerator.device)
            # The mean over processes that follows turns shares of the whole batch's mean into that mean.
            accelerator.backward(part_loss * accelerator.num_processes)
        loss += part_loss.item()
    return loss


def _loss(model: nn.Module, part: Batch, device: torch.device) -> Tensor:
    """The share of some rows in the batch's mean squared error."""
    noise = part.noise.to(device)
    condition = None if part.condition is None else part.condition.to(device)
    prediction = predict_noise(model, part.noisy.to(device), part.timesteps.to(device), condition)
    return (prediction - noise).square().sum() / (part.whole * noise[0].numel())


def check_shares(count: int, settings: TrainSettings) -> None:
    """Refuse settings that leave a process without an image in the last batch of `count` images."""
    smallest = count % settings.batch_size or settings.batch_size
    if smallest < settings.processes:
        raise UserError(
            f"train.batch_size: {settings.batch_size} leaves a batch of {smallest} images "
            f"of {count} for {settings.processes} processes; every process needs one"
        )
