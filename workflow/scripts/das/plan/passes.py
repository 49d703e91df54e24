"""Gradient passes that several features share: one job writes all features of a shard that a run asks for."""

from __future__ import annotations

from collections.abc import Iterable

# What features may have of their own; those that agree on everything else see the same rows.
OWN = ("output", "normalise", "by_timestep", "timestep_weights")


def relative_work(outputs: Iterable[str]) -> float:
    """FLOPs of a pass for some output functions, in those of a pass for one.

    Each backward pass takes two of the one forward pass: gradients of the activations and those of the rows.
    """
    return (1 + 2 * len(set(outputs))) / 3
