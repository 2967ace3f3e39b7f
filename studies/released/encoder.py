"""Encoders in the file layout of the authors' code: one file of tensors on fused slots, without a config.

`<slot>` and `<type>` are names with ___ instead of dots. embedder.model_dict.<slot>.x (1, L, d_in) ·
embedder.proj_dict.<type>.weight (d, d_out) and .bias · position_embeds (1, S·L, d) · encoders.<n>.attn.{to_q, to_k,
to_v, to_out}, .fc1, .fc2, .layer_norm1, .layer_norm2 · final_layer_norm. The number of heads, the causal mask and
the text encoder are not stored.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import TextEncoder
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.slots import escape, slots
from autolora.presets.encoder import EncoderVariant

BLOCK = {
    "norm1": "layer_norm1",
    "out": "attn.to_out",
    "norm2": "layer_norm2",
    "up": "fc1",
    "down": "fc2",
}
"""module of `model.Block` -> its released name; `qkv` is stored as QKV"""
QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
PROBE = "embedder.model_dict.{}.x"
PROJECTION = "embedder.proj_dict.{}.{}"
PARAMETERS = ("weight", "bias")
PROBE_OF_HIDDEN_WIDTH = re.compile(
    PROBE.format("(blocks___0___attn___a_to_qkv|single_blocks___0___to_qkv_mlp)")
)
"""a probe whose length is the transformer's hidden size"""
FIXED = {
    "probe": "full",
    "slots": "fused",
    "projections": "type",
}
"""fields that every encoder in this layout has"""


def load_for(
    path: Path, variant: EncoderVariant, transformer: Mapping[str, Any], text_encoder: TextEncoder
) -> TransformerEncoder:
    """Return a released encoder for this base model and text encoder, in float32.

    variant: as `load_released`. transformer: config of the base model's FluxTransformer2DModel.
    Raises as `load_released`, and MismatchError if the file is for another base model or width of text encoder.
    """
    encoder = load_released(path, variant, text_encoder.digest)
    config, expected = encoder.config, slots(transformer)
    if config.canonical != expected:
        raise MismatchError(
            f"{path} encodes {len(config.canonical)} linears of a base model of width {config.canonical[0].d_in}, "
            f"but models.pipeline has {len(expected)} and width {expected[0].d_in}: set models.pipeline in "
            "params.yaml to the base model that the encoder was trained for"
        )
    if config.width != text_encoder.width:
        raise MismatchError(
            f"{path} has vectors of width {config.width}, but the text encoder of models.pipeline has width "
            f"{text_encoder.width}: set models.pipeline in params.yaml to the pipeline that it was trained with"
        )
    return encoder.float()


def load_released(path: Path, variant: EncoderVariant, text_encoder: str) -> TransformerEncoder:
    """Return a released encoder, frozen and in evaluation mode, in the file's precision.

    variant: decides what the file does not store; probes, layers and mlp_ratio are the file's.
    text_encoder: digest of the text encoder that it was trained with.
    Raises MissingArtifact if the file is missing or damaged, MismatchError if it holds something else.
    """
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MissingArtifact(
            f"cannot read an encoder from {path} ({error}): download the file again"
        ) from error
    try:
        return assemble(tensors, variant, text_encoder)
    except MismatchError as error:
        raise MismatchError(f"{path}: {error}") from error


def assemble(tensors: Mapping[str, Tensor], variant: EncoderVariant, text_encoder: str) -> TransformerEncoder:
    """Return the encoder of released tensors; arguments and MismatchError as `load_released`."""
    try:
        config = _read_config(tensors, variant, text_encoder)
        state = _read_state(tensors, config)
        with torch.device("meta"):
            encoder = TransformerEncoder(config)
        encoder.load_state_dict(state, assign=True)
    except KeyError as error:
        raise MismatchError(f"not a released encoder: tensor {error} is missing") from error
    except (IndexError, ValueError, RuntimeError) as error:
        raise MismatchError(f"not a released encoder: {error}") from error
    if unknown := tensors.keys() - layout(encoder).keys():
        raise MismatchError(
            f"not a released encoder: {len(unknown)} tensors are unknown, the first is {min(unknown)}"
        )
    return encoder.eval().requires_grad_(False)


def layout(encoder: TransformerEncoder) -> dict[str, Tensor]:
    """Return the tensors of an encoder with the fields FIXED, by their released names."""
    config, state = encoder.config, encoder.state_dict()
    tensors = {"position_embeds": state["positions"][None]}
    for group, (slot_type, indices) in enumerate(zip(config.types, config.groups, strict=True)):
        for row, index in enumerate(indices):
            tensors[PROBE.format(escape(config.slots[index].name))] = state[f"probes.{group}"][row][None]
        for part in PARAMETERS:
            tensors[PROJECTION.format(escape(slot_type), part)] = state[f"projections.{group}.{part}"]
    for part in PARAMETERS:
        tensors[f"final_layer_norm.{part}"] = state[f"norm.{part}"]
        for block in range(config.variant.layers):
            for ours, released in BLOCK.items():
                tensors[f"encoders.{block}.{released}.{part}"] = state[f"blocks.{block}.{ours}.{part}"]
            for name, third in zip(QKV, state[f"blocks.{block}.qkv.{part}"].chunk(3), strict=True):
                tensors[f"encoders.{block}.{name}.{part}"] = third
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _read_config(tensors: Mapping[str, Tensor], variant: EncoderVariant, text_encoder: str) -> EncoderConfig:
    """Return the config that the tensors' shapes imply; KeyError if a tensor for it is missing."""
    name = next(
        (name for name in tensors if PROBE_OF_HIDDEN_WIDTH.fullmatch(name)), "embedder.model_dict.*.x"
    )
    probe = tensors[name]
    hidden, width = tensors["encoders.0.fc1.weight"].shape
    if not width or width % variant.heads:
        raise MismatchError(f"not a released encoder: {variant.heads} heads do not divide its width {width}")
    return EncoderConfig(
        transformer={
            "num_layers": _count(tensors, r"embedder\.model_dict\.blocks___(\d+)___"),
            "num_single_layers": _count(tensors, r"embedder\.model_dict\.single_blocks___(\d+)___"),
            "num_attention_heads": 1,
            "attention_head_dim": probe.shape[2],
        },
        variant=replace(
            variant,
            probes=probe.shape[1],
            layers=_count(tensors, r"encoders\.(\d+)\."),
            mlp_ratio=hidden // width,
            **FIXED,  # type: ignore[arg-type]  # one mapping for fields of different types
        ),
        width=width,
        sketch_size=None,
        sketch_key=None,
        text_encoder=text_encoder,
    )


def _read_state(tensors: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Return the tensors by the names of `TransformerEncoder`; KeyError if one is missing."""
    state = {"positions": tensors["position_embeds"][0]}
    for group, (slot_type, indices) in enumerate(zip(config.types, config.groups, strict=True)):
        names = [PROBE.format(escape(config.slots[index].name)) for index in indices]
        state[f"probes.{group}"] = torch.cat([tensors[name] for name in names])
        for part in PARAMETERS:
            state[f"projections.{group}.{part}"] = tensors[PROJECTION.format(escape(slot_type), part)]
    for part in PARAMETERS:
        state[f"norm.{part}"] = tensors[f"final_layer_norm.{part}"]
        for block in range(config.variant.layers):
            for ours, released in BLOCK.items():
                state[f"blocks.{block}.{ours}.{part}"] = tensors[f"encoders.{block}.{released}.{part}"]
            thirds = [tensors[f"encoders.{block}.{name}.{part}"] for name in QKV]
            state[f"blocks.{block}.qkv.{part}"] = torch.cat(thirds)
    kind = state["norm.weight"].dtype
    state["text_map.center"], state["text_map.matrix"] = (
        torch.zeros(config.width, dtype=kind),
        torch.eye(config.width, dtype=kind),
    )
    return state


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the largest number that the pattern's group matches in a tensor's name, or 0."""
    return 1 + max((int(match[1]) for name in tensors if (match := re.match(pattern, name))), default=-1)
