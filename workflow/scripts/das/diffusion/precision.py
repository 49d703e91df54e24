"""Number format of the matrix products of a model. Weights, sums and scores keep theirs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn

log = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_precision(settings: Mapping[str, str], device: torch.device) -> str:
    """The precision that the settings name for this kind of device; "fp32" where they name none."""
    chosen = settings.get(device.type, "fp32")
    if chosen != "fp32":
        log.info("matrix products in %s", chosen)
    if device.type == "cpu" and chosen == "bf16" and not _has_bf16():
        log.warning("this processor has no bf16 instructions: bf16 is slower than fp32 here")
    return chosen


def prepare_network(network: nn.Module, settings: Mapping[str, str], device: torch.device) -> torch.dtype:
    """Make a network ready for the precision that the settings name for the device; returns its dtype."""
    chosen = choose_precision(settings, device)
    if device.type == "cpu" and chosen == "bf16":
        # Fused attention's backward pass takes minutes in bf16 on a CPU where plain products take seconds.
        for module in network.modules():
            if isinstance(module, Attention):
                module.set_processor(AttnProcessor())
    return PRECISIONS[chosen]


def _has_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
