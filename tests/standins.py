"""Stand-ins for published data: small files of the true byte layout, built by code of their own.

`python tests/standins.py FILE` writes a stand-in for cifar-10-binary.tar.gz and prints its size and sha256.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Members in an order other than that of their numbers, as in the published archive.
MEMBERS = ("data_batch_1", "data_batch_3", "data_batch_4", "test_batch", "data_batch_5", "data_batch_2")


@dataclass(frozen=True)
class StandIn:
    """A file made here, with what a configuration states about it."""

    path: Path
    size: int
    sha256: str


def cifar10_batches(per_batch: int = 40, seed: int = 0) -> dict[str, tuple[NDArray, NDArray]]:
    """Labels uint8 [n] and images uint8 [n, 32, 32, 3] of each batch.

    A class has its colour and the direction of its gradient, so that a model can learn it; noise and a
    random brightness make every image its own. Labels go round, so that the classes are balanced.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:32, 0:32] / 31
    batches = {}
    for name in sorted(MEMBERS):
        labels = rng.permutation(np.arange(per_batch) % 10).astype(np.uint8)
        angle = labels * 2 * np.pi / 10
        ramp = np.cos(angle)[:, None, None] * (x - 0.5) + np.sin(angle)[:, None, None] * (y - 0.5)
        colour = 128 + 70 * np.cos(angle[:, None] + np.array([0.0, 2.1, 4.2]))
        brightness = rng.normal(0, 15, (per_batch, 1, 1, 1))
        noise = rng.normal(0, 8, (per_batch, 32, 32, 3))
        images = colour[:, None, None, :] + 90 * ramp[..., None] + brightness + noise
        batches[name] = (labels, images.clip(0, 255).astype(np.uint8))
    return batches


def cifar10_record(label: int, image: NDArray) -> bytes:
    """One record, written byte by byte as the data set's page describes it: label, red, green, blue."""
    planes = [
        bytes(image[row, column, channel] for row in range(32) for column in range(32))
        for channel in range(3)
    ]
    return bytes([label]) + b"".join(planes)


def cifar10_content(labels: NDArray, images: NDArray) -> bytes:
    """The records of a batch, for many images at once."""
    planes = np.moveaxis(images, 3, 1).reshape(len(images), -1)
    return np.concatenate([labels[:, None], planes], axis=1).astype(np.uint8).tobytes()


def cifar10_members(batches: dict[str, tuple[NDArray, NDArray]]) -> list[tuple[str, bytes]]:
    """All plain files of the archive, with the two that hold no images."""
    folder = "cifar-10-batches-bin"
    binaries = [(f"{folder}/{name}.bin", cifar10_content(*batches[name])) for name in MEMBERS]
    meta = (f"{folder}/batches.meta.txt", ("\n".join(CLASSES) + "\n").encode())
    readme = (f"{folder}/readme.html", b"<html>stand-in</html>\n")
    return [binaries[0], meta, *binaries[1:4], readme, *binaries[4:]]


def write_archive(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> StandIn:
    """A .tar.gz of (name, content) pairs and ready-made entries such as links."""
    # No name and no time in the gzip header: the same bytes, and so the same sha256, whenever it is made.
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    content = path.read_bytes()
    return StandIn(path, len(content), hashlib.sha256(content).hexdigest())


def cifar10_archive(path: Path, per_batch: int = 40, seed: int = 0) -> StandIn:
    """A stand-in for cifar-10-binary.tar.gz with `per_batch` images in each of its six batches."""
    return write_archive(path, cifar10_members(cifar10_batches(per_batch, seed)))


if __name__ == "__main__":
    made = cifar10_archive(Path(sys.argv[1]))
    print(made.size, made.sha256)
