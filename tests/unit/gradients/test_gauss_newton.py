"""The Gauss-Newton kernel is the mean of J^T v v^T J for keyed v, whatever the batches, shards and kills."""

import numpy as np
import pytest
import torch
from test_extractor import Toy
from test_training import SCHEDULE
from torch import nn

from das.data.joins import join_kernel
from das.diffusion.inputs import PixelInputs
from das.diffusion.process import to_model_space
from das.errors import UserError
from das.gradients import features, gauss_newton
from das.gradients.features import FeatureSettings, SplitGradients
from das.gradients.output_functions import PROBE
from das.jobs import artifacts
from das.noise import generator, image_noise
from das.scoring.feature_shards import Shards
from das.scoring.inputs import read_kernel

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 5, 4, 1), dtype=np.uint8)
TIMESTEPS = [0, 500]


def network() -> nn.Module:
    torch.manual_seed(0)
    return Toy(nn.Conv2d(1, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 1, 3, padding=1))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return Toy(nn.Conv2d(1, 1, 3, padding=1))


def settings(**changes):
    standard = {"projection": "none", "dimension": 32, "projection_seed": 1, "seed": 4, "draws": 2}
    more = {"timesteps": 2, "strategy": "uniform", "normalise": False, "output": PROBE}
    return FeatureSettings(**(standard | more | changes))


def run(folder, indices, chosen=None, rows=16, net=None, checkpoint_seconds=1e9):
    (folder / "state").mkdir(parents=True, exist_ok=True)
    gradients = SplitGradients(net or network(), SCHEDULE, chosen or settings(), split="train", rows=rows)
    output, inputs = folder / f"{indices.start}.h5", PixelInputs(IMAGES)
    gauss_newton.sketch_kernel(
        gradients, inputs, indices, output, "toy", "w", torch.float32, folder / "state", checkpoint_seconds
    )
    return output


def total(path):
    with artifacts.read(path, "kernel-sum") as artifact:
        return artifact.read("sum", (None, None), np.float64), int(artifact.attributes["rows"])


def jacobians(net: nn.Module, indices: range, draws: int, shared: bool = False):
    """J [pixels, p] and v [pixels] of every row, in float64 and with convolutions channels last.

    v is each image's own, also where the noise of x_t is shared.
    """
    net = net.double()
    for i in indices:
        image = to_model_space(IMAGES[i : i + 1]).double()
        for t in TIMESTEPS:
            for draw in range(draws):
                noise, v = (
                    torch.from_numpy(image_noise(purpose, 4, t, draw, range(i, i + 1), (1, 5, 4))).double()
                    for purpose in ("gradients/train", "probes/train")
                )
                if shared:
                    stream = generator("gradients", 4, t, draw, "shared")
                    noise = torch.from_numpy(stream.standard_normal((1, 5, 4), dtype=np.float32)).double()
                abar = SCHEDULE.alphas_cumprod[t].double()
                e = net(abar.sqrt() * image + (1 - abar).sqrt() * noise, torch.tensor([t])).sample.flatten()
                rows = []
                for pixel in e:
                    parts = torch.autograd.grad(pixel, list(net.parameters()), retain_graph=True)
                    flat = [(d.permute(0, 2, 3, 1) if d.dim() == 4 else d).flatten() for d in parts]
                    rows.append(torch.cat(flat))
                yield torch.stack(rows).numpy(), v.flatten().numpy()


@pytest.mark.parametrize("noise", ["own", "shared"])
def test_the_sum_equals_a_dense_float64_evaluation(tmp_path, noise):
    found, rows = total(run(tmp_path, range(15, 18), settings(noise=noise)))
    rows_of = jacobians(network(), range(15, 18), 2, noise == "shared")
    expected = sum(np.outer(J.T @ v, J.T @ v) for J, v in rows_of)
    assert rows == 3 * 2 * 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_kernel_is_an_unbiased_estimate_of_the_gauss_newton_matrix(tmp_path):
    """Given J, an entry of s s^T has the variance C_aa C_bb + C_ab^2 with C = J^T J, since v is normal."""
    draws = 100
    found, rows = total(run(tmp_path, range(2), settings(draws=draws), net=linear()))
    exact = [J.T @ J for J, _ in jacobians(linear(), range(2), draws)]
    assert rows == len(exact) == 2 * 2 * draws
    variance = sum(np.outer(np.diag(C), np.diag(C)) + C**2 for C in exact)
    deviation = (found - sum(exact)) / np.sqrt(variance)
    assert np.abs(deviation).max() < 5
    assert 0.3 < np.mean(deviation**2) < 2.5, "as far from the exact matrix as it should be"


@pytest.mark.parametrize("projection", ["none", "count-sketch"])
def test_the_kernel_does_not_depend_on_batches_or_shards(tmp_path, projection):
    chosen = settings(projection=projection)
    whole, rows = total(run(tmp_path / "whole", range(37), chosen))
    parts = [
        run(tmp_path / "parts", range(20), chosen, rows=3),
        run(tmp_path / "parts", range(20, 37), chosen, rows=100),
    ]
    join_kernel(parts[::-1], tmp_path / "joined.h5")
    with artifacts.read(tmp_path / "joined.h5", "kernel") as artifact:
        joined = artifact.read("kernel", whole.shape, np.float64)
        assert artifact.settings["projection"] == projection
        assert artifact.attributes["rows"] == rows == 37 * 2 * 2
    np.testing.assert_allclose(joined, whole / rows, rtol=1e-5, atol=1e-7 * np.abs(whole).max())
    assert np.linalg.eigvalsh(joined).min() > -1e-12 * np.abs(joined).max()


def test_a_kernel_goes_with_features_of_other_noise(tmp_path):
    chosen = settings(output="loss", noise="shared", draws=1)
    gradients = SplitGradients(network(), SCHEDULE, chosen, split="train", rows=16)
    blocks = features.project(gradients, PixelInputs(IMAGES), range(3), tmp_path)
    shard = tmp_path / "features.h5"
    features.write([shard], "toy", "w", torch.float32, gradients, range(3), blocks)
    summed, rows = total(part := run(tmp_path, range(3)))
    join_kernel([part], tmp_path / "joined.h5")
    read = Shards([shard])
    assert read.settings["noise"] == "shared"
    np.testing.assert_allclose(read_kernel(tmp_path / "joined.h5", read), summed / rows, rtol=1e-12)


def test_another_shard_or_a_missing_one_is_refused(tmp_path):
    parts = [run(tmp_path, range(16)), run(tmp_path, range(20, 37))]
    with pytest.raises(UserError, match=r"20\.h5: starts at image 20, expected 16; a shard is missing"):
        join_kernel(parts, tmp_path / "joined.h5")
    other = run(tmp_path, range(16, 37), settings(seed=5))
    with pytest.raises(UserError, match=r"16\.h5: settings is"):
        join_kernel([parts[0], other], tmp_path / "joined.h5")


def test_a_killed_sum_continues_to_the_same_bits(tmp_path, monkeypatch):
    whole, _ = total(run(tmp_path / "whole", range(3, 37)))
    add, seen = gauss_newton._add, []

    def kill(total, gradients, inputs, block):
        if block.start == 32 and 32 not in seen:
            seen.append(32)
            raise KeyboardInterrupt
        seen.append(block.start)
        add(total, gradients, inputs, block)

    monkeypatch.setattr(gauss_newton, "_add", kill)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", range(3, 37), checkpoint_seconds=0)
    found, rows = total(run(tmp_path / "killed", range(3, 37), checkpoint_seconds=0))
    assert seen == [3, 16, 32, 32]
    assert rows == 34 * 2 * 2
    np.testing.assert_array_equal(found, whole)


def test_a_sum_cut_short_is_named_and_begun_again(tmp_path, monkeypatch, caplog):
    whole, _ = total(run(tmp_path / "whole", range(3, 37)))
    add = gauss_newton._add

    def kill(total, gradients, inputs, block):
        if block.start == 32:
            raise KeyboardInterrupt
        add(total, gradients, inputs, block)

    monkeypatch.setattr(gauss_newton, "_add", kill)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", range(3, 37), checkpoint_seconds=0)
    monkeypatch.undo()
    [state] = (tmp_path / "killed").rglob("sum.h5")
    state.write_bytes(state.read_bytes()[:-100])
    found, _ = total(run(tmp_path / "killed", range(3, 37)))
    assert f"{state}: not a complete HDF5 file" in caplog.text
    np.testing.assert_array_equal(found, whole)


def test_a_kernel_larger_than_memory_is_refused(tmp_path):
    chosen = settings(projection="count-sketch", dimension=2**20)
    with pytest.raises(UserError, match=r"a kernel with k = 1048576 needs 8\d\d\d\.\d GB"):
        run(tmp_path, range(2), chosen, rows=1)
