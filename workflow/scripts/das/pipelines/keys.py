"""What the keys of a diffusers pipeline's configuration mean here, and which values are taken.

A key that is read over changes what a network means without a sign, so each has its place below: it is
honoured, it has no effect on what is computed here, or values of it are refused. A key that none of the
classes knows has no default to compare with; it is taken only where it is null, for `predict_epsilon: false`
has shown that false says something too. Keys that begin with an underscore are diffusers' notes on the file.
A key that is missing has the default of its class; those of the forward process are the same in all classes.

Imports nothing heavy: the workflow asks while it plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.errors import UserError


@dataclass(frozen=True)
class Values:
    """Values of a key that are taken, and how they are called in messages."""

    allowed: str
    accept: Callable[[Any], bool]

    def __or__(self, other: Values) -> Values:
        """Values of either kind."""
        return Values(
            f"{self.allowed} or {other.allowed}", lambda value: self.accept(value) or other.accept(value)
        )


def one_of(*values: Any) -> Values:
    """Some values alone; true is not the number 1."""
    named = " or ".join("null" if value is None else repr(value) for value in values)
    return Values(named, lambda found: any(found == value and type(found) is type(value) for value in values))


def many(one: Values) -> Values:
    """A list of such values."""
    return Values(
        f"a list, each {one.allowed}",
        lambda found: isinstance(found, list) and bool(found) and all(map(one.accept, found)),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


NUMBER = Values("a number", _is_number)
NATURAL = Values(
    "a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0
)
COUNT = Values("a whole number from 1 up", lambda value: NATURAL.accept(value) and value > 0)
BETA = Values("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
SWITCH = one_of(True, False)
NULL = one_of(None)
TEXT = Values("a name", lambda value: isinstance(value, str))
ANYTHING = Values("anything", lambda value: True)

# Schedulers whose configuration says all of the forward process, as betas, in the same words.
SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
)

# Files hold keys of several of these classes, because a scheduler that is made from another keeps its keys.
SCHEDULER_KEYS: dict[str, Values] = {
    # Honoured: the forward process, and what the network predicts of it.
    "num_train_timesteps": COUNT,
    "beta_start": BETA,
    "beta_end": BETA,
    "beta_schedule": one_of("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"),
    "trained_betas": many(BETA) | NULL,
    "rescale_betas_zero_snr": SWITCH,
    "prediction_type": one_of("epsilon"),
    # Its older name: false says that the network predicts the image.
    "predict_epsilon": one_of(True, None),
    # Honoured by DDIM, which samples all images here, whatever the class.
    "clip_sample": SWITCH,
    "clip_sample_range": NUMBER,
    "thresholding": SWITCH,
    "dynamic_thresholding_ratio": NUMBER,
    "sample_max_value": NUMBER,
    "set_alpha_to_one": SWITCH,
    "steps_offset": NATURAL,
    "timestep_spacing": one_of("leading", "linspace", "trailing"),
    # Refused where they say that the network is conditioned, or noise is added, in another way.
    "timestep_type": one_of("discrete", None),
    "use_flow_sigmas": one_of(False, None),
    "variance_type": one_of("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", None),
    # Without effect: how other samplers than DDIM go from step to step.
    "skip_prk_steps": ANYTHING,
    "solver_order": ANYTHING,
    "solver_type": ANYTHING,
    "solver_p": ANYTHING,
    "algorithm_type": ANYTHING,
    "lower_order_final": ANYTHING,
    "euler_at_final": ANYTHING,
    "disable_corrector": ANYTHING,
    "predict_x0": ANYTHING,  # of UniPC: what its solver works on, made of the network's prediction
    "interpolation_type": ANYTHING,
    "lambda_min_clipped": ANYTHING,
    "use_karras_sigmas": ANYTHING,
    "use_exponential_sigmas": ANYTHING,
    "use_beta_sigmas": ANYTHING,
    "use_lu_lambdas": ANYTHING,
    "final_sigmas_type": ANYTHING,
    "sigma_min": ANYTHING,
    "sigma_max": ANYTHING,
    # Without effect: of flows alone.
    "flow_shift": ANYTHING,
    "use_dynamic_shifting": ANYTHING,
    "time_shift_type": ANYTHING,
    "shift_terminal": ANYTHING,
    # Without effect: the array library that the first versions of diffusers computed with.
    "tensor_format": ANYTHING,
}
# Values of the forward process that only some classes know; the others stop, or read them over.
_ONLY_OF: dict[tuple[str, Any], tuple[str, ...]] = {
    ("beta_schedule", "sigmoid"): ("DDPMScheduler",),
    ("beta_schedule", "laplace"): ("DDPMScheduler",),
    ("rescale_betas_zero_snr", True): tuple(name for name in SCHEDULERS if name != "PNDMScheduler"),
}

# Without effect on any network: the numbers that its weights were saved in, which are read as float32.
_SAVED_AS: dict[str, Values] = {"torch_dtype": ANYTHING, "dtype": ANYTHING}

_ACTIVATIONS = one_of("silu", "swish", "mish", "gelu", "relu")
UNCONDITIONAL = Values("null: only unconditional models are", lambda value: value is None)

# All that is not null is honoured: UNet2DModel takes it.
UNET_KEYS: dict[str, Values] = {
    **_SAVED_AS,
    "sample_size": COUNT | many(COUNT),  # `side` asks that they be equal
    "in_channels": COUNT,
    "out_channels": COUNT,
    "center_input_sample": SWITCH,
    # A "fourier" network is conditioned on sigma, and its output divided by it.
    "time_embedding_type": one_of("positional", "learned"),
    "time_embedding_dim": COUNT | NULL,
    "freq_shift": NUMBER,
    "flip_sin_to_cos": SWITCH,
    "down_block_types": many(TEXT),
    "mid_block_type": one_of("UNetMidBlock2D", None),  # any other name would build this one too
    "up_block_types": many(TEXT),
    "block_out_channels": many(COUNT),
    "layers_per_block": COUNT,
    "mid_block_scale_factor": NUMBER,
    "downsample_padding": NATURAL,
    "downsample_type": one_of("conv", "resnet"),  # any other name would leave it out
    "upsample_type": one_of("conv", "resnet"),
    "dropout": NUMBER,  # of models that are retrained
    "act_fn": _ACTIVATIONS,
    "attention_head_dim": COUNT | NULL,  # null: one head
    "norm_num_groups": COUNT,
    "attn_norm_num_groups": COUNT | NULL,
    "norm_eps": NUMBER,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
    "add_attention": SWITCH,
    "class_embed_type": UNCONDITIONAL,
    "num_class_embeds": UNCONDITIONAL,
    # Without effect, unless timesteps have learned embeddings, of which it is the number.
    "num_train_timesteps": COUNT | NULL,
}

# Of the UNet of a base model, UNet2DConditionModel: one that sees a noisy latent, a timestep and a caption.
BASE_UNET_KEYS: dict[str, Values] = {
    **_SAVED_AS,
    **{
        key: UNET_KEYS[key]
        for key in (
            *("sample_size", "in_channels", "out_channels", "center_input_sample", "flip_sin_to_cos"),
            *(
                "freq_shift",
                "down_block_types",
                "up_block_types",
                "block_out_channels",
                "mid_block_scale_factor",
            ),
            *("downsample_padding", "dropout", "act_fn", "norm_num_groups", "norm_eps", "time_embedding_dim"),
            *("resnet_time_scale_shift",),
        )
    },
    "layers_per_block": COUNT | many(COUNT),
    "mid_block_type": one_of("UNetMidBlock2DCrossAttn"),
    "only_cross_attention": SWITCH | many(SWITCH),
    "mid_block_only_cross_attention": SWITCH | NULL,
    "cross_attention_dim": COUNT | many(COUNT),
    "transformer_layers_per_block": COUNT | many(COUNT),
    "attention_head_dim": COUNT | many(COUNT),
    "use_linear_projection": SWITCH,
    "upcast_attention": SWITCH,
    "resnet_skip_time_act": SWITCH,
    "resnet_out_scale_factor": NUMBER,
    "time_embedding_act_fn": _ACTIVATIONS | NULL,
    "timestep_post_act": _ACTIVATIONS | NULL,
    "conv_in_kernel": COUNT,
    "conv_out_kernel": COUNT,
    "cross_attention_norm": TEXT | NULL,
    # Refused: networks that see something else besides.
    "time_embedding_type": one_of("positional"),
    "time_cond_proj_dim": NULL,
    "class_embed_type": NULL,
    "num_class_embeds": NULL,
    "projection_class_embeddings_input_dim": NULL,
    "class_embeddings_concat": one_of(False),
    "addition_embed_type": NULL,
    "addition_time_embed_dim": NULL,
    "encoder_hid_dim": NULL,
    "encoder_hid_dim_type": NULL,
    "attention_type": one_of("default"),
    "dual_cross_attention": one_of(False),
    "num_attention_heads": NULL,
    "reverse_transformer_layers_per_block": NULL,
    # Without effect where nothing is added to the embedding.
    "addition_embed_type_num_heads": ANYTHING,
}

# Of the autoencoder of a base model, AutoencoderKL. Latents are scaled by one number, and not shifted.
AUTOENCODER_KEYS: dict[str, Values] = {
    **_SAVED_AS,
    "in_channels": COUNT,
    "out_channels": COUNT,
    "down_block_types": many(TEXT),
    "up_block_types": many(TEXT),
    "block_out_channels": many(COUNT),
    "layers_per_block": COUNT,
    "act_fn": _ACTIVATIONS,
    "latent_channels": COUNT,
    "norm_num_groups": COUNT,
    "scaling_factor": NUMBER,
    "shift_factor": NULL,
    "latents_mean": NULL,
    "latents_std": NULL,
    "use_quant_conv": SWITCH,
    "use_post_quant_conv": SWITCH,
    "mid_block_add_attention": SWITCH,
    # Without effect: the side of images that it was trained on, and a hint for half precision.
    "sample_size": ANYTHING,
    "force_upcast": ANYTHING,
}


def shortened(text: str, most: int = 80) -> str:
    """The text, without its middle where it is long, for a list of a thousand numbers is no line."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def require_keys(path: Path, config: Mapping[str, Any], keys: Mapping[str, Values]) -> None:
    """Refuse a configuration with a key that is not known, or a value that is not taken.

    Raises:
        UserError: one line with the file, the key, its value and what is supported.
    """
    for key, value in config.items():
        if key.startswith("_"):
            continue
        if key not in keys:
            if value is not None:
                raise UserError(
                    f"{path}: {key} is {shortened(repr(value))}, a key that is not of "
                    f"{config.get('_class_name')}; what it changes is not known, remove it if that is nothing"
                )
        elif not keys[key].accept(value):
            shown = "null" if value is None else shortened(repr(value))
            raise UserError(f"{path}: {key} is {shown}, supported is {keys[key].allowed}")


def require_schedule(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a scheduler's configuration that says anything but noise that is predicted, added by betas.

    Raises:
        UserError: one line with the file, the key, its value and what is supported.
    """
    found = config.get("_class_name")
    if found not in SCHEDULERS:
        raise UserError(f"{path}: _class_name is {found!r}, supported are {', '.join(SCHEDULERS)}")
    require_keys(path, config, SCHEDULER_KEYS)
    for (key, value), classes in _ONLY_OF.items():
        if config.get(key) == value and found not in classes:
            raise UserError(f"{path}: {key} is {value!r}, which a {found} does not know")
    betas, steps = config.get("trained_betas"), config.get("num_train_timesteps", 1000)
    if betas is not None and len(betas) != steps:
        raise UserError(f"{path}: trained_betas are {len(betas)}, but num_train_timesteps is {steps}")


def side(sample_size: Any) -> Any:
    """The key sample_size of a UNet's configuration, of two equal numbers in a list one."""
    if isinstance(sample_size, list) and len(sample_size) == 2 and sample_size[0] == sample_size[1]:
        return sample_size[0]
    return sample_size
