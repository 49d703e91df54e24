"""Stand-ins for published data: small files of the true byte layout, built by code of their own.

They are the same bytes whenever they are made. `python tests/standins.py FILE` writes a stand-in for
cifar-10-binary.tar.gz and prints its size and sha256.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from pictures import encode, face, painting

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Members in an order other than that of their numbers, as in the published archive.
MEMBERS = ("data_batch_1", "data_batch_3", "data_batch_4", "test_batch", "data_batch_5", "data_batch_2")
# The numbers of the training batches in the order in which the hub's copy counts.
HUB_ORDER = (4, 3, 2, 5, 1)
STYLES = (
    *("art_nouveau", "baroque", "expressionism", "impressionism", "post_impressionism"),
    *("realism", "renaissance", "romanticism", "surrealism", "ukiyo_e"),
)


@dataclass(frozen=True)
class StandIn:
    """A file made here, with what a configuration states about it."""

    path: Path
    size: int
    sha256: str

    @property
    def override(self) -> dict[str, Any]:
        """What `source.files` states about it."""
        return {"size": self.size, "sha256": self.sha256}


def stand_in(path: Path) -> StandIn:
    content = path.read_bytes()
    return StandIn(path, len(content), hashlib.sha256(content).hexdigest())


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
        add_members(tar, members)
    return stand_in(path)


def add_members(tar: tarfile.TarFile, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    for member in members:
        if isinstance(member, tarfile.TarInfo):
            tar.addfile(member)
            continue
        info = tarfile.TarInfo(member[0])
        info.size = len(member[1])
        tar.addfile(info, io.BytesIO(member[1]))


def cifar10_archive(path: Path, per_batch: int = 40, seed: int = 0) -> StandIn:
    """A stand-in for cifar-10-binary.tar.gz with `per_batch` images in each of its six batches."""
    return write_archive(path, cifar10_members(cifar10_batches(per_batch, seed)))


def hub_order(batches: dict[str, tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    """Labels and images of the training batches as published indices count."""
    parts = [batches[f"data_batch_{number}"] for number in HUB_ORDER]
    return np.concatenate([labels for labels, _ in parts]), np.concatenate([images for _, images in parts])


def write_parquet(
    path: Path, images: Sequence[bytes | None], column: str, rows_per_group: int = 16, **columns: Any
) -> None:
    """A parquet file like the hub's copies: a struct of an encoded image and its path, and other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    structs = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(images)]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({column: pyarrow.array(structs, kind), **columns})
    pyarrow.parquet.write_table(table, path, row_group_size=rows_per_group)


def cifar10_hub(folder: Path, batches: dict[str, tuple[NDArray, NDArray]]) -> None:
    """The layout of `uoft-cs/cifar10`: plain_text/train-00000-of-00001.parquet and the like."""
    for split, (labels, images) in (("train", hub_order(batches)), ("test", batches["test_batch"])):
        path = folder / "plain_text" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, [encode(image) for image in images], "img", label=labels.astype(np.int64))


@dataclass(frozen=True)
class ArtBench:
    """Both files of ArtBench-10, the rows of the table, and the image files by `label/name`."""

    folder: Path
    rows: list[dict[str, Any]]
    images: dict[str, bytes]


def artbench(folder: Path, train: int = 6, test: int = 2, size: int = 256, seed: int = 0) -> ArtBench:
    """ArtBench-10.csv and artbench-10-imagefolder.tar with so many images of each style and split."""
    rng = np.random.default_rng(seed)
    rows, images = [], {}
    for label, style in enumerate(STYLES):
        for number in range(train + test):
            name = f"a.y.-painter_study-no.-{number},-19{number % 100:02d}.jpg"
            images[f"{style}/{name}"] = encode(painting(label, 10, size, rng), "JPEG", quality=90)
            rows.append(
                {
                    "name": name,
                    "artist": "a.y.-painter",
                    "url": f"https://example.org/{name}",
                    "is_public_domain": "True",
                    "length": 2 * size,
                    "width": 3 * size,
                    "label": style,
                    "split": "train" if number < train else "test",
                    "cifar_index": number,
                }
            )
    # The table and the archive have orders of their own.
    rows = [rows[i] for i in rng.permutation(len(rows))]
    write_table(folder / "ArtBench-10.csv", rows)
    members = [(f"artbench-10-imagefolder/{name}", images[name]) for name in sorted(images, reverse=True)]
    write_tar(folder / "artbench-10-imagefolder.tar", members)
    return ArtBench(folder, rows, images)


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A CSV with the keys of the first row as its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    """A plain .tar; see `write_archive`."""
    with tarfile.open(path, "w") as tar:
        add_members(tar, members)


@dataclass(frozen=True)
class Celeba:
    """CelebA's archive and partition with what a configuration states about them, and the images by name."""

    folder: Path
    files: dict[str, dict[str, Any]]
    splits: dict[str, str]
    """0, 1 or 2 by name."""
    images: dict[str, bytes]


def celeba(folder: Path, counts: tuple[int, int, int] = (20, 4, 8), seed: int = 0) -> Celeba:
    """img_align_celeba.zip and list_eval_partition.txt with so many training, validation and test faces."""
    rng = np.random.default_rng(seed)
    names = [f"{number:06d}.jpg" for number in range(1, sum(counts) + 1)]
    splits = dict(zip(names, rng.permutation(np.repeat(["0", "1", "2"], counts)).tolist(), strict=True))
    images = {name: encode(face(rng), "JPEG", quality=90) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("img_align_celeba/"), b"")
        for name in rng.permutation(names):
            archive.writestr(zipfile.ZipInfo(f"img_align_celeba/{name}"), images[name])
    (folder / "list_eval_partition.txt").write_text("".join(f"{n} {splits[n]} \n" for n in names))
    files = ("img_align_celeba.zip", "list_eval_partition.txt")
    return Celeba(folder, {name: stand_in(folder / name).override for name in files}, splits, images)


def celeba_hub(folder: Path, made: Celeba) -> None:
    """The layout of `flwrlabs/celeba`, whose images are PNGs of the same pixels, in two files per split."""
    for split, name in (("0", "train"), ("1", "valid"), ("2", "test")):
        chosen = [made.images[n] for n in sorted(made.images) if made.splits[n] == split]
        pngs = [encode(np.asarray(Image.open(io.BytesIO(content)))) for content in chosen]
        middle = len(pngs) // 2
        for part, some in enumerate((pngs[:middle], pngs[middle:])):
            path = folder / "img_align+identity+attr" / f"{name}-{part:05d}-of-00002.parquet"
            write_parquet(path, some, "image", rows_per_group=3, celeb_id=np.arange(len(some)))


if __name__ == "__main__":
    made = cifar10_archive(Path(sys.argv[1]))
    print(made.size, made.sha256)
