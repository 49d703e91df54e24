"""The fast gradients equal a float64 autograd loop written here, and nothing is left out in silence."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from das.diffusion.process import Schedule
from das.errors import UserError
from das.gradients.extractor import Feature, Gradient, LoopGradients, loop_features
from das.gradients.hooks import ImageGradients
from das.gradients.output_functions import OUTPUT_FUNCTIONS
from das.gradients.projection import make_projection

SCHEDULE = Schedule.of(DDPMScheduler())
TIMESTEPS = [3, 400, 900]


@pytest.fixture(autouse=True)
def one_thread():
    """Operations this small only wait for each other's threads when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Toy(nn.Module):
    """x -> prediction of the same shape through one path; the timestep enters as a scale."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.path = nn.Sequential(*layers)

    def forward(self, x, t):
        return SimpleNamespace(sample=self.path(x) * (1 + t / 1000).to(x.dtype)[:, None, None, None])


class Tokens(nn.Module):
    """Apply layers to [rows, positions, channels]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class WithEmbedding(nn.Module):
    """A learned timestep embedding through a two-dimensional Linear, and a 3-D GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 5, padding_idx=9)
        self.project = nn.Linear(5, 4)
        self.expand, self.reduce = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x, t):
        hidden = self.expand(x) + self.project(torch.tanh(self.embedding(t // 100)))[:, :, None, None]
        hidden = self.norm(hidden.flatten(2)).view(hidden.shape)
        return SimpleNamespace(sample=self.reduce(torch.nn.functional.silu(hidden)))


def conv(**options) -> nn.Module:
    return Toy(nn.Conv2d(2, 6, **{"kernel_size": 3, **options}), nn.SiLU(), nn.Conv2d(6, 2, 1))


TOYS = {
    "conv": lambda: conv(padding=1),
    "conv no bias": lambda: conv(padding=1, bias=False),
    "conv stride": lambda: conv(stride=2, padding=(1, 2)),
    "conv stride 1x1": lambda: conv(kernel_size=1, stride=2),
    "conv dilation": lambda: conv(dilation=2, padding=2),
    "conv same, even kernel": lambda: conv(kernel_size=(4, 3), padding="same", dilation=(1, 2)),
    "conv padded 1x1": lambda: conv(kernel_size=1, padding=1),
    "in place": lambda: Toy(nn.Conv2d(2, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3, padding=1)),
    "group norm": lambda: Toy(nn.Conv2d(2, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 2, 1)),
    "tokens": lambda: Toy(Tokens(nn.Linear(2, 2), nn.LayerNorm(2), nn.GELU(), nn.Linear(2, 2, bias=False))),
    "layer norm 2-D": lambda: Toy(nn.Conv2d(2, 2, 1), nn.LayerNorm((7, 6)), nn.Conv2d(2, 2, 3, padding=1)),
    "embedding": WithEmbedding,
}  # fmt: skip
ATTENTION = {
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
}
UNETS = {
    "attention": {**ATTENTION, "sample_size": 8},
    "scale shift, odd, no padding": {
        **ATTENTION,
        "sample_size": 10,
        "resnet_time_scale_shift": "scale_shift",
        "downsample_padding": 0,
        "dropout": 0.5,
    },
    "resnet samplers": {
        "sample_size": 8,
        "down_block_types": ["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"],
        "up_block_types": ["ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "large maps": {**ATTENTION, "sample_size": 32, "layers_per_block": 1},
}


def unet(name: str) -> nn.Module:
    shared = {"in_channels": 2, "out_channels": 2, "block_out_channels": [8, 16], "layers_per_block": 1}
    return UNet2DModel.from_config({**shared, "norm_num_groups": 4, **UNETS[name]})


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = TOYS[name]() if name in TOYS else unet(name)
    for parameter in model.parameters():  # norms start at 1 and 0, at which mistakes could hide
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.train()


def inputs(model: nn.Module, images: int = 2):
    size = model.config.sample_size if isinstance(model, UNet2DModel) else 6
    shape = (2, size, size) if isinstance(model, UNet2DModel) else (2, 7, 6)
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(images, *shape, generator=stream) * 2 - 1
    return x, torch.randn(images * len(TIMESTEPS), *shape, generator=stream)


def reference_output(name: str, e, noise, t: int):
    """The output functions, from their formulas, for one row."""
    beta, abar = float(SCHEDULE.betas[t]), float(SCHEDULE.alphas_cumprod[t])
    formulas = {
        "loss": lambda: ((e - noise) ** 2).sum() / e.numel(),
        "weighted-mse": lambda: ((e - noise) ** 2).sum() / e.numel() * beta / (2 * (1 - beta) * (1 - abar)),
        "mean": lambda: e.sum() / e.numel(),
        "mean-squared-l2-norm": lambda: (e**2).sum() / e.numel(),
        "l1-norm": lambda: e.abs().sum(),
        "l2-norm": lambda: (e**2).sum() ** 0.5,
        "linf-norm": lambda: e.abs().max(),
    }
    return formulas[name]()


def reference(model: nn.Module, x, noise, name: str, normalise: bool):
    """Exact features [n, p] in float64: one call per row, convolutions channels last."""
    model = copy.deepcopy(model).double().eval()
    features = []
    for i, image in enumerate(x.double()):
        rows = []
        for j, t in enumerate(TIMESTEPS):
            eps = noise[i * len(TIMESTEPS) + j].double()
            abar = SCHEDULE.alphas_cumprod[t].double()
            noised = abar.sqrt() * image + (1 - abar).sqrt() * eps
            e = model(noised[None], torch.tensor([t])).sample[0]
            grads = torch.autograd.grad(reference_output(name, e, eps, t), list(model.parameters()))
            g = torch.cat([(d.permute(0, 2, 3, 1) if d.dim() == 4 else d).flatten() for d in grads])
            rows.append(g / (g**2).sum().sqrt() if normalise else g)
        features.append(sum(rows) / len(rows))
    return torch.stack(features)


def shapes(model: nn.Module):
    return {name: p.shape for name, p in model.named_parameters()}


class Alone:
    """Features of one kind alone."""

    def __init__(self, model, name, normalise, projection):
        self.extractor = ImageGradients(model, SCHEDULE, projection)
        self.feature = Feature(Gradient(name, normalise))

    def features(self, *arguments, **options):
        [found] = self.extractor.features([self.feature], *arguments, **options)
        return found


def fast(model, name="mean", normalise=True, kind="none", k=512) -> Alone:
    return Alone(model, name, normalise, make_projection(kind, k, 0, shapes(model)))


def assert_close(found, expected):
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), atol=2e-5 * scale, rtol=2e-4)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("name", [*TOYS, *UNETS])
def test_equals_a_float64_loop_for_every_layer(name, normalise):
    model = build(name)
    x, noise = inputs(model)
    found = fast(model, "mean-squared-l2-norm", normalise).features(x, TIMESTEPS, noise, rows_per_batch=6)
    assert_close(found, reference(model, x, noise, "mean-squared-l2-norm", normalise))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("output", OUTPUT_FUNCTIONS)
def test_equals_a_float64_loop_for_every_output_function(output, normalise):
    model = build("attention")
    x, noise = inputs(model)
    found = fast(model, output, normalise).features(x, TIMESTEPS, noise, rows_per_batch=4)
    assert_close(found, reference(model, x, noise, output, normalise))


@pytest.mark.parametrize("name", ["attention", "in place"])
def test_features_that_share_a_pass_equal_the_loop_in_float64(name):
    """All output functions, with and without norms, by timestep and weighted; one forward pass a batch."""
    model = build(name)
    x, noise = inputs(model, images=3)
    kinds = [Gradient(output, normalise) for output in OUTPUT_FUNCTIONS for normalise in (True, False)]
    weights = torch.tensor([0.5, 0.3, 0.2])
    wanted = [*map(Feature, kinds), Feature(kinds[0], by_timestep=True), Feature(kinds[3], weights=weights)]
    projection, calls = make_projection("count-sketch", 512, 0, shapes(model)), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    together = ImageGradients(model, SCHEDULE, projection).features(wanted, x, TIMESTEPS, noise, 4)
    assert len(calls) == 3  # of 9 rows by 4
    handle.remove()
    slow = LoopGradients(model.double(), SCHEDULE, projection)
    expected = slow.features(wanted, x.double(), TIMESTEPS, noise.double(), 9)
    assert [found.shape for found in together] == [*[(3, 512)] * len(kinds), (3, 3, 512), (3, 512)]
    for found, loop in zip(together, expected, strict=True):
        torch.testing.assert_close(found, loop, atol=1e-5 * float(loop.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("kind", ["count-sketch", "none"])
def test_independent_of_batch_size_and_of_working_memory(kind, monkeypatch):
    model = build("scale shift, odd, no padding")
    x, noise = inputs(model, images=5)
    extractor = fast(model, kind=kind, k=1024)
    expected = extractor.features(x, TIMESTEPS, noise, rows_per_batch=100)
    for rows in (1, 2, 7, 15):
        assert_close(extractor.features(x, TIMESTEPS, noise, rows), expected)
    monkeypatch.setattr("das.gradients.hooks.CPU_BYTES", 40000)
    assert_close(extractor.features(x, TIMESTEPS, noise, 100), expected)


@pytest.mark.parametrize("kind", ["count-sketch", "dense", "none"])
def test_the_loop_gives_the_same_features(kind):
    model = build("resnet samplers")
    x, noise = inputs(model)
    projection = make_projection(kind, 512, 0, shapes(model))
    loop = loop_features(model, SCHEDULE, "loss", True, projection, x, TIMESTEPS, noise)
    assert_close(fast(model, "loss", kind=kind).features(x, TIMESTEPS, noise, 6), loop)


def test_only_parameters_that_are_trained_are_covered():
    model = build("embedding")
    model.expand.requires_grad_(False)
    model.norm.bias.requires_grad_(False)
    x, noise = inputs(model)
    covered = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    projection = make_projection("none", 0, 0, covered)
    found = Alone(model, "loss", True, projection).features(x, TIMESTEPS, noise, 6)
    assert_close(found, loop_features(model, SCHEDULE, "loss", True, projection, x, TIMESTEPS, noise))


def test_the_model_is_left_as_it_was():
    model = build("conv")
    model.path[0].eval()
    model.path[2].bias.data[0] = float("nan")
    x, noise = inputs(model)
    with pytest.raises(UserError):
        fast(model, "loss").features(x, TIMESTEPS, noise, 6)
    assert [layer.training for layer in model.path] == [False, True, True]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(layer._forward_hooks for layer in model.path)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x


class LoudConv(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        Block(),
        LoudConv(2, 2, 1),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(2),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)),
    ],
    ids=["own parameter", "changed forward", "groups", "circular", "batch norm", "parametrised"],
)
def test_unsupported_layers_are_named_and_left_to_the_loop(layer):
    model = Toy(nn.Conv2d(2, 2, 1), layer)
    with pytest.raises(UserError, match=r"layer path\.1.*not supported"):
        fast(model)
    x, noise = inputs(model)
    projection = make_projection("none", 0, 0, shapes(model))
    found = loop_features(model, SCHEDULE, "loss", True, projection, x, TIMESTEPS, noise)
    assert_close(found, reference(model, x, noise, "loss", True))


def test_layers_called_twice_or_never_or_without_effect_are_named():
    x, noise = inputs(conv())
    same = nn.Conv2d(2, 2, 1)
    with pytest.raises(UserError, match=r"layer path\.0: called twice"):
        fast(Toy(same, nn.SiLU(), same)).features(x, TIMESTEPS, noise, 6)
    idle = Toy(nn.Conv2d(2, 2, 1))
    idle.spare = nn.Linear(3, 3)
    with pytest.raises(UserError, match=r"layer spare: the model never called it"):
        fast(idle).features(x, TIMESTEPS, noise, 6)
    idle.path[0].register_forward_hook(lambda *_: idle.spare(torch.ones(6, 3)) is None or None)
    with pytest.raises(UserError, match=r"layer spare: no gradient reached it"):
        fast(idle).features(x, TIMESTEPS, noise, 6)


def test_shared_parameters_overwritten_inputs_and_lost_rows_are_refused():
    x, noise = inputs(conv())
    tied = Toy(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
    tied.path[1].weight = tied.path[0].weight
    with pytest.raises(UserError, match="shared between layers"):
        fast(tied)
    overwriting = Toy(nn.Conv2d(2, 2, 1))
    overwriting.forward = lambda x, t: (SimpleNamespace(sample=overwriting.path(x)), x.zero_())[0]
    with pytest.raises(UserError, match=r"layer path\.0: its input was overwritten"):
        fast(overwriting).features(x, TIMESTEPS, noise, 6)
    merged = Toy(nn.Flatten(0, 1), nn.Linear(6, 6), nn.Unflatten(0, (-1, 2)))
    with pytest.raises(UserError, match=r"layer path\.1: its input has no dimension of rows"):
        fast(merged).features(x, TIMESTEPS, noise, 6)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_gradient_that_is_not_finite_is_named(normalise):
    model = build("conv")
    x, noise = inputs(model, images=3)
    noise[5, 0, 0, 0] = float("nan")  # image 1, its third timestep
    for rows in (1, 4, 9):
        with pytest.raises(UserError, match="gradient of image 1 at timestep 900 is not finite"):
            fast(model, "loss", normalise, "count-sketch").features(x, TIMESTEPS, noise, rows)


def test_a_zero_gradient_cannot_be_normalised():
    model = Toy(nn.Conv2d(2, 2, 1), nn.ReLU())
    model.path[0].bias.data.fill_(-1e4)
    x, noise = inputs(model)
    with pytest.raises(UserError, match="gradient of image 0 at timestep 3 is zero"):
        fast(model).features(x, TIMESTEPS, noise, 6)
    assert not fast(model, normalise=False).features(x, TIMESTEPS, noise, 6).any()


def test_wrong_names_are_refused():
    model = build("conv")
    x, noise = inputs(model)
    with pytest.raises(
        UserError, match="output function: found 'mode', allowed is one of loss, weighted-mse"
    ):
        fast(model, "mode").features(x, TIMESTEPS, noise, 6)
    with pytest.raises(UserError, match="projection: made for 1 parameters with 9 elements"):
        ImageGradients(model, SCHEDULE, make_projection("none", 0, 0, {"x": (3, 3)}))
