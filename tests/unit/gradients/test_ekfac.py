"""EK-FAC's eigenvectors, eigenvalues and inner products equal those of dense matrices in float64."""

import math

import h5py
import numpy as np
import pytest
import torch
from test_extractor import Tokens, Toy
from test_training import SCHEDULE
from torch import nn

from das.diffusion.inputs import PixelInputs
from das.diffusion.process import to_model_space
from das.errors import UserError
from das.gradients import ekfac
from das.gradients.features import FeatureSettings, SplitGradients
from das.gradients.hooks import CPU_BYTES
from das.noise import image_noise

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 2, 2), dtype=np.uint8)
SETTINGS = {"timesteps": 2, "strategy": "uniform", "draws": 2, "seed": 4, "precision": {}, "parameters": ""}
TIMESTEPS = [0, 500]


def network() -> nn.Module:
    """Convolutions with more and with fewer positions (6) than outputs, a linear layer and a group norm."""
    torch.manual_seed(0)
    net = Toy(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Conv2d(8, 2, (1, 2), padding="same", bias=False),
        Tokens(nn.Linear(2, 2)),
    )
    net.path[1].weight.data.normal_()
    return net


def estimate(folder, net=None, images=IMAGES, rows=16, checkpoint_seconds=1e9, **changes):
    (folder / "state").mkdir(parents=True, exist_ok=True)
    net, chosen = net or network(), SETTINGS | changes

    def make(coordinates):
        return SplitGradients(
            net,
            SCHEDULE,
            ekfac.probe_settings(chosen),
            split="train",
            rows=rows,
            coordinates=coordinates,
        )

    output = folder / "preconditioner.h5"
    ekfac.estimate_preconditioner(
        net,
        make,
        chosen,
        PixelInputs(images),
        output,
        "toy",
        "w",
        torch.float32,
        folder / "state",
        checkpoint_seconds,
    )
    return output


def read(path):
    with h5py.File(path) as file:
        return {
            f"{group}/{name}": array[()].astype(np.float64)
            for group, arrays in file.items()
            for name, array in arrays.items()
        }


def rows(net, images, scalar, draws=2):
    """Of each row of some images, gradients of a scalar of (prediction, noise, v), float64 by parameter."""
    net = net.double()
    for i, image in enumerate(to_model_space(images).double()):
        for t in TIMESTEPS:
            for draw in range(draws):
                noise, v = (
                    torch.from_numpy(image_noise(purpose, 4, t, draw, range(i, i + 1), (2, 3, 2))).double()
                    for purpose in ("gradients/train", "probes/train")
                )
                abar = SCHEDULE.alphas_cumprod[t].double()
                e = net(abar.sqrt() * image[None] + (1 - abar).sqrt() * noise, torch.tensor([t])).sample
                found = torch.autograd.grad(scalar(e, noise, v), list(net.parameters()))
                yield {
                    name: (g.permute(0, 2, 3, 1) if g.dim() == 4 else g).flatten(1 if g.dim() > 1 else 0)
                    for (name, _), g in zip(net.named_parameters(), found, strict=True)
                }


def probe(e, noise, v):
    return (e * v).sum()


def loss(e, noise, v):
    return (e - noise).square().mean()


def blocks(gradient):
    """Of a row's gradients: each layer's matrix, with the bias as its last column, and other parameters."""
    names = [name for name in gradient if gradient[name].dim() == 2]
    for name in names:
        bias = gradient.get(name.replace("weight", "bias"))
        matrix = gradient[name] if bias is None else torch.cat([gradient[name], bias[:, None]], 1)
        yield name, matrix.numpy()
    for name in gradient:
        weight = name.replace("bias", "weight")
        if gradient[weight].dim() == 1:
            yield name, gradient[name].numpy()


def eigenvalues(arrays, name):
    """Of a block, in its shape."""
    found, bias = arrays[f"eigenvalues/{name}"], arrays.get(f"eigenvalues/{name.replace('weight', 'bias')}")
    if f"outputs/{name}" not in arrays:
        return found
    matrix = found.reshape(len(arrays[f"outputs/{name}"]), -1)
    return matrix if bias is None else np.column_stack([matrix, bias])


def rotate(arrays, name, block):
    if f"outputs/{name}" not in arrays:
        return block
    return arrays[f"outputs/{name}"].T @ block @ arrays[f"inputs/{name}"]


@pytest.fixture(scope="module")
def estimated(tmp_path_factory):
    return estimate(tmp_path_factory.mktemp("ekfac"), images=IMAGES[:4])


def test_eigenvalues_are_the_diagonal_of_the_exact_second_moment(estimated):
    """diag(U^T E[s s^T] U) with U = U_B (x) U_A, for s by a float64 loop."""
    arrays = read(estimated)
    found = {}
    gradients = [dict(blocks(row)) for row in rows(network(), IMAGES[:4], probe)]
    assert len(gradients) == 4 * 2 * 2
    for name, block in gradients[0].items():
        second = np.mean([np.outer(row[name].ravel(), row[name].ravel()) for row in gradients], axis=0)
        basis = np.eye(block.size)
        if f"outputs/{name}" in arrays:
            basis = np.kron(arrays[f"outputs/{name}"], arrays[f"inputs/{name}"])
            np.testing.assert_allclose(basis.T @ basis, np.eye(block.size), atol=1e-5)
        expected = np.diag(basis.T @ second @ basis)
        found[name] = eigenvalues(arrays, name).ravel()
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-5 * expected.max(), err_msg=name)
    assert len(found) == 5, "three matrices, and the weight and bias of the group norm"


def test_a_block_that_is_a_kronecker_product_is_found_exactly(tmp_path):
    """A linear layer with one position and no layer behind it: b = (1 + t / 1000) v does not depend on a.

    With many v the eigenvalues tend to those of A (x) B, and B to a multiple of the identity.
    """
    torch.manual_seed(0)
    net = Toy(nn.Flatten(), nn.Linear(12, 12), nn.Unflatten(1, (2, 3, 2)))
    draws = 100
    arrays = read(estimate(tmp_path, net, IMAGES[:4], draws=draws))
    inputs = []
    for i, image in enumerate(to_model_space(IMAGES[:4]).double()):
        for t in TIMESTEPS:
            for draw in range(draws):
                noise = image_noise("gradients/train", 4, t, draw, range(i, i + 1), (2, 3, 2))
                abar = SCHEDULE.alphas_cumprod[t].double()
                a = (abar.sqrt() * image + (1 - abar).sqrt() * torch.from_numpy(noise)).flatten().numpy()
                inputs.append((1 + t / 1000) * np.append(a, 1))
    # E s s^T = E (1 + t / 1000)^2 a a^T (x) 1.
    expected = np.mean([np.outer(a, a) for a in inputs], axis=0)
    u_a = arrays["inputs/path.1.weight"]
    found = eigenvalues(arrays, "path.1.weight").mean(0)
    np.testing.assert_allclose(found, np.diag(u_a.T @ expected @ u_a), rtol=0.1)


@pytest.mark.parametrize("damping", [1e-3, 1.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_inner_products_are_those_in_the_dense_inverse(estimated, damping, normalise):
    """g^T U (Lambda + lambda)^-1 U^T g' in float64, lambda relative to the mean over all parameters."""
    net, arrays = network(), read(estimated)
    settings = FeatureSettings(
        "loss", normalise, 2, "uniform", 1, 4, "none", 1, 1, preconditioner={"name": "ekfac"}
    )
    coordinates = ekfac.read_preconditioner(estimated, damping, net, "", "toy", "w")
    gradients = SplitGradients(net, SCHEDULE, settings, split="train", rows=5, coordinates=coordinates)
    inputs = PixelInputs(IMAGES)
    [found] = gradients.features(range(3), inputs.clean(range(3)), None, range(3))
    everything = np.concatenate([values for key, values in arrays.items() if key.startswith("eigenvalues/")])
    assert len(everything) == sum(p.numel() for p in net.parameters())
    features = []
    for row in rows(net, IMAGES[:3], loss, draws=1):
        own = {name: rotate(arrays, name, block) for name, block in blocks(row)}
        norm = math.sqrt(sum((block**2).sum() for block in own.values())) if normalise else 1
        parts = [
            (block / norm / np.sqrt(eigenvalues(arrays, name) + damping * everything.mean())).ravel()
            for name, block in own.items()
        ]
        features.append(np.concatenate(parts))
    means = np.reshape(features, (3, 2, -1)).mean(1)
    np.testing.assert_allclose(found @ found.T, means @ means.T, rtol=1e-3, atol=1e-5 * (means**2).sum())


def test_bases_diagonalise_the_factors(estimated):
    """A and B of the first convolution, summed up position by position in float64."""
    arrays, net = read(estimated), network().double()
    seen = {}
    net.path[0].register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], y=output))

    def kept(e, noise, v):
        seen["dy"] = torch.autograd.grad(probe(e, noise, v), seen["y"], retain_graph=True)[0]
        return probe(e, noise, v)

    a, b = np.zeros((19, 19)), np.zeros((8, 8))
    for _ in rows(net, IMAGES[:4], kept):
        padded = torch.nn.functional.pad(seen["x"][0], (1, 1, 1, 1))
        for i in range(3):
            for j in range(2):
                patch = padded[:, i : i + 3, j : j + 3].permute(1, 2, 0).flatten().detach()
                a += np.outer(np.append(patch, 1), np.append(patch, 1))
                b += np.outer(seen["dy"][0, :, i, j], seen["dy"][0, :, i, j])
    for factor, key in ((a, "inputs/path.0.weight"), (b, "outputs/path.0.weight")):
        rotated = arrays[key].T @ factor @ arrays[key]
        np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-5 * rotated.max())


def test_no_batch_and_no_working_memory_moves_it(tmp_path, monkeypatch):
    def product(path):
        arrays, total = read(path), {}
        for key in arrays:
            if key.startswith("outputs/"):
                name = key.removeprefix("outputs/")
                u = np.kron(arrays[key], arrays[f"inputs/{name}"])
                total[name] = (u * eigenvalues(arrays, name).ravel()) @ u.T
        return total

    expected = product(estimate(tmp_path / "a", rows=100))
    assert CPU_BYTES > 4000
    monkeypatch.setattr("das.gradients.hooks.CPU_BYTES", 4000)
    for name, found in product(estimate(tmp_path / "b", rows=3)).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-5 * np.abs(found).max())


@pytest.mark.parametrize("killed_in", ["factors", "eigenvalues"])
def test_a_killed_estimate_continues_to_the_same_bits(tmp_path, monkeypatch, killed_in):
    whole = read(estimate(tmp_path / "whole"))
    probed, seen = ekfac.probed, []

    def kill(gradients, inputs, block):
        seen.append(block.start)
        if len(seen) == {"factors": 2, "eigenvalues": 4}[killed_in]:
            raise KeyboardInterrupt
        yield from probed(gradients, inputs, block)

    monkeypatch.setattr(ekfac, "probed", kill)
    with pytest.raises(KeyboardInterrupt):
        estimate(tmp_path / "killed", checkpoint_seconds=0)
    found = read(estimate(tmp_path / "killed", checkpoint_seconds=0))
    assert seen == {"factors": [0, 16, 16, 0, 16], "eigenvalues": [0, 16, 0, 16, 16]}[killed_in]
    for key in whole:
        np.testing.assert_array_equal(found[key], whole[key])


def test_damaged_eigenvectors_are_named_and_all_is_begun_again(tmp_path, monkeypatch, caplog):
    whole = read(estimate(tmp_path / "whole"))
    estimate(tmp_path / "killed", checkpoint_seconds=0)
    kept = tmp_path / "killed/state/bases.h5"
    kept.write_bytes(kept.read_bytes()[:-100])
    (tmp_path / "killed/state/factors.h5").unlink()
    found = read(estimate(tmp_path / "killed"))
    assert f"{kept}: not a complete HDF5 file" in caplog.text
    np.testing.assert_array_equal(found["eigenvalues/path.0.weight"], whole["eigenvalues/path.0.weight"])


def test_another_model_and_parameters_that_it_lacks_are_refused(tmp_path, estimated):
    with pytest.raises(UserError, match=r"h5: weights is 'w', but the features are of 'x'"):
        ekfac.read_preconditioner(estimated, 1.0, network(), "", "toy", "x")
    fewer = estimate(tmp_path, images=IMAGES[:2], parameters=r"path\.0")
    ekfac.read_preconditioner(fewer, 1.0, network(), r"path\.0", "toy", "w")
    with pytest.raises(UserError, match=r"h5: lacks path\.1\.weight, which the features cover"):
        ekfac.read_preconditioner(fewer, 1.0, network(), "", "toy", "w")


def test_gradients_that_are_not_finite_are_named(tmp_path):
    net = network()
    net.path[0].weight.data[0] = math.inf
    with pytest.raises(UserError, match=r"train, images 0 and on: .*not finite"):
        estimate(tmp_path, net, IMAGES[:2])
