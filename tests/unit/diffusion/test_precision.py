"""Mixed precision is a choice per kind of device, close to float32, and resumed with its loss scale."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from test_training import INPUTS, SCHEDULE, UNET, model

from das.diffusion import denoising_error, training
from das.diffusion.precision import choose_precision, prepare_network
from das.diffusion.process import predict_noise
from das.gradients.extractor import Feature, Gradient
from das.gradients.hooks import ImageGradients
from das.gradients.projection import make_projection

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PUBLISHED = {"cuda": "fp16", "cpu": "fp32"}
ATTENTION = UNET | {
    "down_block_types": ["AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D"],
    "dropout": 0.0,
}


def attentive():
    torch.manual_seed(0)
    return UNet2DModel.from_config(ATTENTION).eval()


def test_the_precision_is_chosen_by_the_kind_of_device():
    assert choose_precision(PUBLISHED, CUDA) == "fp16"
    assert choose_precision(PUBLISHED, CPU) == "fp32"
    assert choose_precision({}, CUDA) == choose_precision({}, CPU) == "fp32"
    assert choose_precision({"cpu": "bf16"}, CPU) == "bf16"


def test_bf16_on_a_cpu_takes_plain_attention():
    network = attentive()
    assert prepare_network(network, {"cpu": "bf16"}, CPU) == torch.bfloat16
    kinds = {type(m.processor) for m in network.modules() if isinstance(m, Attention)}
    assert kinds == {AttnProcessor}


def test_float32_is_left_as_it_is():
    network = attentive()
    before = [m.processor for m in network.modules() if isinstance(m, Attention)]
    assert prepare_network(network, PUBLISHED, CPU) == torch.float32
    assert before == [m.processor for m in network.modules() if isinstance(m, Attention)]
    double = network.double()
    noisy = INPUTS.clean(range(2)).double()
    assert predict_noise(double, noisy, torch.tensor([1, 2]), None).dtype == torch.float64


def test_bf16_errors_are_close_to_float32_and_not_the_same():
    options = {"purpose": "p", "seed": 0, "draw": 0, "rows": 8}
    exact, rounded = (
        denoising_error.denoising_errors(
            attentive(), SCHEDULE, INPUTS, range(4), [0, 500], precision=precision, **options
        )
        for precision in (torch.float32, torch.bfloat16)
    )
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


@pytest.mark.parametrize("output", ["mean", "loss"])
def test_bf16_gradients_point_where_float32_ones_do(output):
    """bf16 keeps 8 bits: the direction of a gradient of thousands of elements moves by a percent or so."""
    network = attentive()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    noise = torch.randn(3 * 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = [
        ImageGradients(network, SCHEDULE, make_projection("none", 0, 0, shapes), precision).features(
            [Feature(Gradient(output, True))], INPUTS.clean(range(3)), [100, 600], noise, 6
        )[0]
        for precision in (torch.float32, torch.bfloat16)
    ]
    assert found[1].dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(*found)
    assert (cosine > 0.995).all()
    assert not torch.equal(*found)


def test_the_loss_scale_of_fp16_is_part_of_the_training_state(tmp_path):
    network = model(0).network
    optimizer = torch.optim.AdamW(network.parameters())
    network(INPUTS.clean(range(2)), torch.tensor([1, 2])).sample.sum().backward()
    optimizer.step()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)
    scaler.scale(torch.ones(()))  # makes its state
    training.save_state(tmp_path / "state", network, optimizer, 5, 1.5, scaler)

    fresh = torch.amp.GradScaler("cpu")
    other = model(1).network
    assert training.load_state(tmp_path / "state", other, torch.optim.AdamW(other.parameters()), fresh) == 5
    assert fresh.state_dict() == scaler.state_dict()
    assert training.read_seconds(tmp_path / "state") == 1.5
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
