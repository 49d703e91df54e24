"""How large a UNet is, from its configuration by formulas: needs no torch, so that a dry run stays fast.

Walks the blocks of diffusers' UNet2DModel and UNet2DConditionModel as their constructors do, and adds up
parameters, multiply-adds and the numbers in all maps. A test holds them against the networks themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from das.errors import UserError
from das.pipelines.keys import side

# What UNet2DModel takes where its configuration says nothing.
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
}
# Tokens of a caption, and the width of the hidden layer of a transformer block relative to its channels.
TOKENS, HIDDEN = 77, 4


class UNetSize:
    """The size of a network for one row, an (image, timestep) pair.

    Attributes:
        parameters: number of them.
        flops: of a forward pass, a multiply-add counted as two.
        numbers: in the outputs of all its layers.
        channels, side: of what it sees.
        input: numbers in what it sees.
        factors: numbers in the factors of all its layers, see `das.gradients.ekfac`; with captions, of its
            adapters, which are of low rank.
        factoring, rotating: FLOPs of adding to them, and of gradients in their eigenvectors.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.parameters = self.flops = self.numbers = 0
        self.factors = self.factoring = self.rotating = 0
        if "cross_attention_dim" not in config:
            config = DEFAULTS | dict(config)
        channels, layers = config["block_out_channels"], config["layers_per_block"]
        self._embedding = 4 * channels[0]
        # UNet2DModel with scale_shift scales as well as shifts.
        self._shifts = 2 if config.get("resnet_time_scale_shift") == "scale_shift" else 1
        self._condition: int = config.get("cross_attention_dim") or 0  # width of a caption's tokens
        self.channels, self.side = config["in_channels"], side(config["sample_size"])
        area = self.side**2
        self.input = self.channels * area

        self._linear(channels[0], self._embedding, 1)
        self._linear(self._embedding, self._embedding, 1)
        self._convolution(config["in_channels"], channels[0], 3, area)
        skips, width = [channels[0]], channels[0]
        for level, (out, kind) in enumerate(zip(channels, config["down_block_types"], strict=True)):
            for _ in range(layers):
                self._resnet(width, out, area)
                self._attention(kind, out, area)
                width = out
                skips.append(out)
            if level + 1 < len(channels):
                area //= 4
                self._convolution(out, out, 3, area)
                skips.append(out)
        self._resnet(width, width, area)
        self._attention("CrossAttn" if self._condition else "Attn", width, area)
        if self._shifts == 2:
            self.parameters -= 2 * width  # the attention in the middle then has no norm of its own
        self._resnet(width, width, area)
        for level, (out, kind) in enumerate(zip(channels[::-1], config["up_block_types"], strict=True)):
            for _ in range(layers + 1):
                self._resnet(width + skips.pop(), out, area)
                self._attention(kind, out, area)
                width = out
            if level + 1 < len(channels):
                area *= 4
                self._convolution(out, out, 3, area)
        self._norm(width, area)
        self._convolution(width, config["out_channels"], 3, area)

    def _linear(self, inputs: int, outputs: int, tokens: int, bias: bool = True) -> None:
        self.parameters += inputs * outputs + bias * outputs
        self.flops += 2 * inputs * outputs * tokens
        self.numbers += outputs * tokens
        if not self._condition:
            self._factor(inputs + bias, outputs, tokens)

    def _convolution(self, inputs: int, outputs: int, kernel: int, area: int) -> None:
        self.parameters += (kernel**2 * inputs + 1) * outputs
        self.flops += 2 * kernel**2 * inputs * outputs * area
        self.numbers += outputs * area
        if not self._condition:
            self._factor(kernel**2 * inputs + 1, outputs, area)

    def _factor(self, inputs: int, outputs: int, area: int) -> None:
        self.factors += inputs**2 + outputs**2
        self.factoring += 2 * area * (inputs**2 + outputs**2)
        self.rotating += 2 * (area * outputs**2 + min(area, outputs) * inputs**2)

    def _norm(self, width: int, area: int) -> None:
        self.parameters += 2 * width
        self.numbers += width * area

    def _resnet(self, inputs: int, outputs: int, area: int) -> None:
        self._norm(inputs, area)
        self._convolution(inputs, outputs, 3, area)
        self._linear(self._embedding, self._shifts * outputs, 1)
        self._norm(outputs, area)
        self._convolution(outputs, outputs, 3, area)
        if inputs != outputs:
            self._convolution(inputs, outputs, 1, area)

    def _attention(self, block: str, width: int, area: int) -> None:
        """The attention behind a residual layer in a block of that kind; most have none."""
        if block.startswith("CrossAttn"):
            self._transformer(width, area)
        elif "Attn" in block:
            self._norm(width, area)
            for _ in range(4):
                self._linear(width, width, area)
            self.flops += 4 * width * area**2

    def _transformer(self, width: int, area: int) -> None:
        self._norm(width, area)
        for _ in range(2):
            self._convolution(width, width, 1, area)
        for seen, tokens in ((width, area), (self._condition, TOKENS)):
            self._norm(width, area)
            self._linear(width, width, area, bias=False)
            for _ in range(2):
                self._linear(seen, width, tokens, bias=False)
            self._linear(width, width, area)
            for inputs, positions in ((width, area), (seen, tokens), (seen, tokens), (width, area)):
                self._factor(inputs, width, positions)
            self.flops += 4 * width * area * tokens
        self._norm(width, area)
        self._linear(width, 2 * HIDDEN * width, area)
        self._linear(HIDDEN * width, width, area)


@lru_cache
def unet_size(path: str) -> UNetSize:
    """The size of the UNet of which a file holds the configuration, in JSON.

    Raises:
        UserError: the file cannot be read, or lacks what the size follows from.
    """
    try:
        return UNetSize(json.loads(Path(path).read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a readable configuration of a UNet ({error})") from error
    except KeyError as error:
        raise UserError(f"{path}: no {error}, which a configuration of a UNet has") from error
