"""EK-FAC: gradients preconditioned by a Kronecker-factored Gauss-Newton matrix of the denoising loss.

Influence functions for diffusion models score g_q^T (H + lambda I)^-1 g_i (arXiv 2410.13850), here with the
corrected eigenvalues of arXiv 1806.03884. H is the second moment of s = J^T v as in
`das.gradients.gauss_newton`, unprojected: J is the Jacobian of the noise prediction eps_theta, v standard
normal. It is taken as block diagonal.

The block of a layer with a matrix [out, in]: at output position p the layer saw inputs a_p [in], a patch
where it is a convolution, with a one at the end for its bias, and <v, eps_theta> has the gradient b_p [out]
in its output. So s = sum_p b_p a_p^T, as a matrix. With positions as if independent, which is K-FAC
expand (arXiv 2311.00636), the block is a multiple of the Kronecker product of

    A = E sum_p a_p a_p^T = U_A D_A U_A^T    and    B = E sum_p b_p b_p^T = U_B D_B U_B^T.

EK-FAC keeps the eigenvectors and takes for eigenvalues what s has there, Lambda = E (U_B^T s U_A)^2, element
by element. Other parameters have a diagonal block, E s^2. The damping lambda is relative to the mean of all
these eigenvalues over the covered parameters; in the paper it is absolute.

Features are U_B^T g U_A / sqrt(Lambda + lambda): their inner products are those of g in (H + lambda I)^-1,
and a projection keeps them in expectation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from das.diffusion.inputs import Inputs
from das.errors import UserError
from das.gradients.features import Coordinates, FeatureSettings, SplitGradients, covered_shapes
from das.gradients.gauss_newton import probed
from das.gradients.hooks import LayerGradients, RowGradients, Workspace, outer, sides
from das.gradients.output_functions import PROBE
from das.gradients.projection import Projection
from das.gradients.sums import sum_images
from das.jobs import artifacts
from das.jobs.memory import require_memory

log = logging.getLogger(__name__)


def probe_settings(settings: Mapping[str, Any]) -> FeatureSettings:
    """Those of s, which is not projected here: the one number of a projection is not looked at.

    Args:
        settings: `timesteps`, `strategy`, `draws`, `seed`, `precision` and `parameters`, as of features.
    """
    return FeatureSettings(
        PROBE, normalise=False, projection="dense", dimension=1, projection_seed=0, **settings
    )


def estimate_preconditioner(
    network: nn.Module,
    make_gradients: Callable[[Coordinates], SplitGradients],
    settings: Mapping[str, Any],
    inputs: Inputs,
    output: Path,
    dataset: str,
    weights: str,
    precision: torch.dtype,
    state: Path,
    checkpoint_seconds: float,
) -> None:
    """Write eigenvectors and corrected eigenvalues of H over the training images, in two passes over them.

    The artifact "preconditioner" holds, of each matrix of a layer, `inputs/NAME` and `outputs/NAME`, U_A and
    U_B with eigenvectors in columns, and of each covered parameter `eigenvalues/NAME`, flat, in the order of
    `das.gradients.projection`; all float32. Its attribute `rows` is the number of s.

    Args:
        make_gradients: of the training images in some coordinates, by `probe_settings` of the settings.
        settings: see `probe_settings`; they are kept.
        inputs: the training images.
        weights: sha256 of the model.
        state: folder for unfinished work.
        checkpoint_seconds: between two saved states.

    Raises:
        UserError: no parameter is covered, a gradient is not finite, or the matrices do not fit into memory.
    """
    covered = covered_shapes(network, settings["parameters"], "preconditioners.parameters")
    device, matrices = next(network.parameters()).device, _matrices(network, covered)
    sizes = {key: size for matrix in matrices for key, size in matrix.sizes.items()}
    most = max(sizes.values(), default=0)
    require_memory(
        # Sums, and the largest with its eigenvectors and the solver's work space.
        8 * (sum(size**2 for size in sizes.values()) + 4 * most**2),
        f"a preconditioner of layers with up to {most} inputs",
        "cover fewer by preconditioners.parameters",
    )

    def sum_up(name: str, totals: Mapping[str, Tensor], gradients: SplitGradients, earlier: float) -> float:
        def add(block: range) -> None:
            for _ in probed(gradients, inputs, block):
                pass  # the layers, or the projection, add to the totals
            if not all(total.isfinite().all() for total in totals.values()):
                raise UserError(f"train, images {block.start} and on: a gradient is not finite")

        unfinished = state / f"{name}.h5"
        return sum_images(totals, add, range(len(inputs)), unfinished, checkpoint_seconds, name, earlier)

    def decompose(kept: Path) -> None:
        factors = {key: torch.zeros(n, n, dtype=torch.float64, device=device) for key, n in sizes.items()}
        layers = {matrix.layer: partial(_add_factors, matrix, factors) for matrix in matrices}
        gradients = make_gradients(Coordinates(layers, lambda projection: projection))
        seconds = sum_up("factors", factors, gradients, 0.0)
        with artifacts.write(kept, "bases", dataset, {}, earlier_seconds=seconds) as file:
            for key, total in factors.items():
                file[key] = torch.linalg.eigh(total).eigenvectors.float().cpu().numpy()

    kept, unfinished = state / "bases.h5", state / "eigenvalues.h5"
    try:
        bases, seconds = _read_bases(kept, sizes)
    except UserError as error:
        if kept.exists():
            log.warning("%s; the factors are summed up from their beginning", error)
        unfinished.unlink(missing_ok=True)  # eigenvalues belong to their eigenvectors
        decompose(kept)
        bases, seconds = _read_bases(kept, sizes)

    moments = SecondMoments(covered, device)
    gradients = make_gradients(Coordinates(_rotations(matrices, bases, device), lambda projection: moments))
    seconds = sum_up(unfinished.stem, moments.totals, gradients, seconds)
    rows = len(inputs) * len(gradients.timesteps) * gradients.common.draws
    with artifacts.write(
        output,
        "preconditioner",
        dataset,
        dict(settings),
        weights,
        precision=str(precision),
        rows=rows,
        earlier_seconds=seconds,
    ) as file:
        for key, vectors in bases.items():
            file[key] = vectors.numpy()
        for name, total in moments.totals.items():
            file[f"eigenvalues/{name}"] = (total / rows).float().cpu().numpy()


def read_preconditioner(
    path: Path, damping: float, network: nn.Module, parameters: str, dataset: str, weights: str
) -> Coordinates:
    """The coordinates in which inner products of gradients are those in (H + lambda I)^-1.

    Args:
        path: artifact "preconditioner".
        damping: lambda, relative to the mean eigenvalue over the parameters that features cover.
        network: the model, on the device on which it runs.
        parameters: which are covered, see `das.gradients.features.FeatureSettings`.
        weights: sha256 of the model.

    Raises:
        UserError: the file is of another model or data set or lacks a covered parameter, or H is zero.
    """
    covered = covered_shapes(network, parameters, "features.parameters")
    device, matrices = next(network.parameters()).device, _matrices(network, covered)
    with artifacts.read(path, "preconditioner") as artifact:
        for name, expected in (("dataset", dataset), ("weights", weights)):
            if (found := artifact.attributes[name]) != expected:
                raise UserError(f"{path}: {name} is {found!r}, but the features are of {expected!r}")
        for name in covered:
            if f"eigenvalues/{name}" not in artifact:
                raise UserError(
                    f"{path}: lacks {name}, which the features cover; allowed are features whose parameters "
                    "the preconditioner covers"
                )
        eigenvalues = {
            name: artifact.read(f"eigenvalues/{name}", (math.prod(shape),), np.float32).astype(np.float64)
            for name, shape in covered.items()
        }
    bases, _ = _read_bases(path, {key: n for matrix in matrices for key, n in matrix.sizes.items()})
    everything = np.concatenate(list(eigenvalues.values()))
    if not everything.any():
        raise UserError(f"{path}: all eigenvalues are zero, which leaves nothing to be relative to")
    absolute = damping * everything.mean()
    scales = {
        name: torch.from_numpy(1 / np.sqrt(values + absolute)).float().to(device)
        for name, values in eigenvalues.items()
    }
    return Coordinates(_rotations(matrices, bases, device), lambda projection: Scaled(projection, scales))


class Scaled(Projection):
    """Another projection, of gradients of which each element is multiplied by a number first.

    Args:
        scales: by the names of parameters, flat.
    """

    def __init__(self, projection: Projection, scales: Mapping[str, Tensor]) -> None:
        self.dimension, self.sizes, self.device = projection.dimension, projection.sizes, projection.device
        self._projection, self._scales = projection, scales

    def accumulator(self, rows: int) -> Tensor:  # noqa: D102 -- inherited
        return self._projection.accumulator(rows)

    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:  # noqa: D102
        self._projection.add(accumulator, name, gradients * self._scales[name])

    def finish(self, accumulator: Tensor) -> Tensor:  # noqa: D102
        return self._projection.finish(accumulator)


class SecondMoments(Projection):
    """Sums of the squares of all elements over rows. As a projection, the squared norm.

    Attributes:
        totals: by the names of parameters, float64, flat.
    """

    def __init__(self, parameters: Mapping[str, Sequence[int]], device: torch.device) -> None:
        super().__init__(1, parameters, device)
        self.totals = {
            name: torch.zeros(size, dtype=torch.float64, device=device) for name, size in self.sizes.items()
        }

    def add(self, accumulator: Tensor, name: str, gradients: Tensor) -> None:  # noqa: D102 -- inherited
        squares = gradients.square()
        self.totals[name] += squares.sum(0)
        accumulator += squares.sum(1, keepdim=True)


@dataclass(frozen=True)
class _Matrix:
    """A matrix of a layer, [out, in]; with a bias, the bias is its last column.

    Attributes:
        name, layer: of the parameter and of the layer.
    """

    name: str
    layer: str
    shape: tuple[int, int]
    bias: bool

    @property
    def sizes(self) -> dict[str, int]:
        """Of its two factors, by the names of their arrays."""
        return {f"inputs/{self.name}": self.shape[1], f"outputs/{self.name}": self.shape[0]}

    def seen(self, layer: nn.Module, x: Tensor, dy: Tensor, workspace: Workspace) -> tuple[Tensor, Tensor]:
        """a_p [r, positions, in] and b_p [r, out, positions] of some rows, float32."""
        inputs, outputs = sides(layer, x, dy, workspace)
        inputs = functional.pad(inputs, (0, 1), value=1) if self.bias else inputs
        return inputs.float(), outputs.float()


def _matrices(network: nn.Module, covered: Collection[str]) -> list[_Matrix]:
    """Those that are covered, in the order of the layers."""
    found = []
    for layer, module in network.named_modules():
        prefix = f"{layer}." if layer else ""
        if isinstance(module, (nn.Conv2d, nn.Linear)) and f"{prefix}weight" in covered:
            bias = f"{prefix}bias" in covered
            outputs, inputs = module.weight.flatten(1).shape
            found.append(_Matrix(f"{prefix}weight", layer, (outputs, inputs + bias), bias))
    return found


def _add_factors(
    matrix: _Matrix,
    factors: Mapping[str, Tensor],
    layer: nn.Module,
    x: Tensor,
    dy: Tensor,
    workspace: Workspace,
) -> RowGradients:
    """Add to A and B what some rows contribute; forms no gradient."""
    inputs, outputs = matrix.seen(layer, x, dy, workspace)
    a, b = inputs.flatten(0, 1), outputs.transpose(0, 1).flatten(1)
    factors[f"inputs/{matrix.name}"].add_(a.T @ a)
    factors[f"outputs/{matrix.name}"].add_(b @ b.T)
    return iter(())


def _rotations(
    matrices: Iterable[_Matrix], bases: Mapping[str, Tensor], device: torch.device
) -> dict[str, LayerGradients]:
    """Of layers with matrices, what forms gradients in the eigenvectors of their factors."""
    return {
        matrix.layer: partial(
            _rotated,
            matrix,
            bases[f"inputs/{matrix.name}"].to(device),
            bases[f"outputs/{matrix.name}"].T.contiguous().to(device),
        )
        for matrix in matrices
    }


def _rotated(
    matrix: _Matrix,
    u_a: Tensor,
    u_b_transposed: Tensor,
    layer: nn.Module,
    x: Tensor,
    dy: Tensor,
    workspace: Workspace,
) -> RowGradients:
    """U_B^T G U_A of some rows; the last column counts as the bias."""
    inputs, outputs = matrix.seen(layer, x, dy, workspace)
    outputs = u_b_transposed @ outputs
    # In the order of fewer multiplications: a map has many positions, or few.
    if inputs.shape[1] < outputs.shape[1]:
        rotated = outer(outputs, inputs @ u_a, workspace)
    else:
        rotated = outer(outputs, inputs, workspace) @ u_a
    if matrix.bias:
        yield "weight", rotated[:, :, :-1]
        yield "bias", rotated[:, :, -1]
    else:
        yield "weight", rotated


def _read_bases(path: Path, sizes: Mapping[str, int]) -> tuple[dict[str, Tensor], float]:
    """Eigenvectors float32 [n, n] by the names of their arrays, and the seconds that their file took."""
    with artifacts.read(path, "bases", "preconditioner") as artifact:
        bases = {key: torch.from_numpy(artifact.read(key, (n, n), np.float32)) for key, n in sizes.items()}
        return bases, float(artifact.attributes["seconds"])
