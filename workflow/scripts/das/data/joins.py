"""Artifacts that are made in shards and joined: images, errors and kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from das.data.images import KIND, read_images, read_texts, write_texts
from das.errors import UserError
from das.jobs import artifacts
from das.jobs.blocks import blocks


def join_errors(paths: Sequence[Path], output: Path) -> None:
    """Put shards of training errors together: `error` float32 [N, T] and `timesteps` of all images.

    Raises:
        UserError: shards are of different models or settings, or leave a gap.
    """
    opened = in_order(paths, "errors", lambda artifact: artifact.shape("error")[0])
    first = opened[0][0]
    with artifacts.read(first.path, "errors") as artifact:
        width = artifact.shape("error")[1]
        timesteps = artifact.read("timesteps", (width,), np.int64)
    seconds = sum(float(shard.attributes["seconds"]) for shard, _ in opened)
    with artifacts.write(
        output, "errors", first.dataset, first.settings, first.weights, earlier_seconds=seconds
    ) as file:
        joined = file.create_dataset("error", (sum(count for _, count in opened), width), np.float32)
        start = 0
        for shard, count in opened:
            with artifacts.read(shard.path, "errors") as artifact:
                joined[start : start + count] = artifact.read("error", (count, width), np.float32)
            start += count
        file["timesteps"] = timesteps


def join_images(paths: Sequence[Path], output: Path) -> None:
    """Put shards of generated images together: `images` uint8 [N, H, W, C], `seeds` int64 [N], captions.

    Raises:
        UserError: shards are of different models or settings, or leave a gap.
    """
    opened = in_order(paths, KIND, lambda artifact: artifact.shape("images")[0])
    first = opened[0][0]
    images = [read_images(shard.path) for shard, _ in opened]
    captions = [read_texts(shard.path, "captions") for shard, _ in opened]
    seconds = sum(float(shard.attributes["seconds"]) for shard, _ in opened)
    with artifacts.write(
        output, KIND, first.dataset, first.settings, first.weights, earlier_seconds=seconds
    ) as file:
        file["images"] = np.concatenate(images)
        seeds = []
        for shard, count in opened:
            with artifacts.read(shard.path, KIND) as artifact:
                seeds.append(artifact.read("seeds", (count,), np.int64))
        file["seeds"] = np.concatenate(seeds)
        if captions[0] is not None:
            write_texts(file, "captions", [caption for part in captions for caption in part or ()])


def join_kernel(paths: Sequence[Path], output: Path) -> None:
    """The mean of what shards of a kernel sum up: `kernel` float64 [k, k], a few rows at a time.

    Raises:
        UserError: shards are of different models or settings, or leave a gap.
    """
    opened = in_order(paths, "kernel-sum", lambda artifact: int(artifact.attributes["count"]))
    first = opened[0][0]
    rows = sum(int(shard.attributes["rows"]) for shard, _ in opened)
    seconds = sum(float(shard.attributes["seconds"]) for shard, _ in opened)
    with artifacts.read(first.path, "kernel-sum") as artifact:
        k = artifact.shape("sum")[0]
    with artifacts.write(
        output,
        "kernel",
        first.dataset,
        first.settings,
        first.weights,
        precision=first.attributes["precision"],
        rows=rows,
        earlier_seconds=seconds,
    ) as file:
        kernel = file.create_dataset("kernel", (k, k), np.float64)
        for block in blocks(k, k):
            total = np.zeros((len(block), k))
            for shard, _ in opened:
                with artifacts.read(shard.path, "kernel-sum") as artifact:
                    total += artifact.read("sum", (k, k), np.float64, slice(block.start, block.stop))
            kernel[block.start : block.stop] = total / rows


def in_order(
    paths: Sequence[Path], kind: str, count: Callable[[artifacts.Artifact], int]
) -> list[tuple[artifacts.Artifact, int]]:
    """The shards of a result in the order of their images, and of how many images each is.

    Raises:
        UserError: shards are of different models or settings, or leave a gap.
    """
    opened = []
    for path in paths:
        with artifacts.read(path, kind) as artifact:
            opened.append((artifact, count(artifact)))
    opened.sort(key=lambda shard: int(shard[0].attributes["first"]))
    total = 0
    for artifact, images in opened:
        artifacts.require_same_analysis(opened[0][0], artifact)
        first = artifact.attributes["first"]
        if first != total:
            raise UserError(f"{artifact.path}: starts at image {first}, expected {total}; a shard is missing")
        total += images
    return opened
