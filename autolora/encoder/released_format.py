"""The encoder as its authors' code stores it: one file of tensors, fused slots, no config beside it.

`<slot>` and `<type>` have ___ for dots. embedder.model_dict.<slot>.x (1, L, d_in) · embedder.proj_dict.<type>
.weight (d, d_out) and .bias · position_embeds (1, S·L, d) · encoders.<n>.attn.{to_q, to_k, to_v, to_out}, .fc1,
.fc2, .layer_norm1, .layer_norm2 · final_layer_norm. Neither heads nor the causal mask are stored.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.encoder.model import Encoder, EncoderConfig
from autolora.errors import MismatchError, MissingArtifact
from autolora.presets import EncoderForm
from autolora.storage.files import write_atomic

BLOCK = {
    "norm1": "layer_norm1",
    "out": "attn.to_out",
    "norm2": "layer_norm2",
    "up": "fc1",
    "down": "fc2",
}
"""our name of a block's module -> theirs, but for the three that `qkv` is"""
QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
PROBE = "embedder.model_dict.{}.x"
PROJECTION = "embedder.proj_dict.{}.{}"
KINDS = ("weight", "bias")
FIRST = re.compile(PROBE.format("(blocks___0___attn___a_to_qkv|single_blocks___0___to_qkv_mlp)"))
"""a probe that is as long as the transformer is wide"""


def load_published(path: Path, form: EncoderForm, heads: int, text_encoder: str) -> Encoder:
    """Read a published encoder, ready to embed, in the file's precision.

    form: `presets.ENCODER["released"]`, or one that differs in what leaves the tensors as they are; its number of
    probes is the file's. heads: of its attention; 12 in the released code. text_encoder: digest of the one that
    it has learned to meet. Raises MissingArtifact when the file is not there or damaged, MismatchError when it
    is no such encoder.
    """
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MissingArtifact(f"no encoder in {path}: {error}; download the file anew") from error
    return assemble(tensors, form, heads, text_encoder)


def assemble(tensors: Mapping[str, Tensor], form: EncoderForm, heads: int, text_encoder: str) -> Encoder:
    """Return the encoder that published tensors make; arguments and errors as `load_published`."""
    try:
        config = _read_config(tensors, form, heads, text_encoder)
        state = _read_state(tensors, config)
    except KeyError as error:
        raise MismatchError(f"no published encoder: it has no tensor {error}") from error
    with torch.device("meta"):
        encoder = Encoder(config)
    try:
        encoder.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise MismatchError(f"no published encoder: {error}") from error
    if strange := tensors.keys() - layout(encoder).keys():
        raise MismatchError(f"no published encoder: it has {len(strange)} more tensors, first {min(strange)}")
    return encoder.eval().requires_grad_(False)


def save_published(encoder: Encoder, path: Path) -> None:
    """Write an encoder as the released code stores it; errors as `layout`."""
    write_atomic(path, save_tensors({name: tensor.cpu() for name, tensor in layout(encoder).items()}))


def layout(encoder: Encoder) -> dict[str, Tensor]:
    """Return an encoder's tensors by their published names.

    Raises MismatchError where those have no place for it: sketches, canonical slots, another form of token.
    """
    config, form = encoder.config, encoder.config.form
    shape = (config.probe, form.slots, form.tokens, form.strength, form.projections)
    if shape != ("full", "fused", "probe", "kept", "type"):
        raise MismatchError(
            "the published layout holds encoders with probe 'full', slots 'fused', tokens 'probe', strength "
            f"'kept' and projections 'type', not {shape}: train with encoder.preset 'released'"
        )
    state = encoder.state_dict()
    found = {"position_embeds": state["positions"][None]}
    for group, (kind, places) in enumerate(zip(config.types, config.groups, strict=True)):
        for row, place in enumerate(places):
            found[PROBE.format(_escape(config.slots[place].name))] = state[f"probes.{group}"][row][None]
        for part in KINDS:
            found[PROJECTION.format(_escape(kind), part)] = state[f"projections.{group}.{part}"]
    for part in KINDS:
        found[f"final_layer_norm.{part}"] = state[f"norm.{part}"]
        for block in range(config.layers):
            for ours, theirs in BLOCK.items():
                found[f"encoders.{block}.{theirs}.{part}"] = state[f"blocks.{block}.{ours}.{part}"]
            for name, third in zip(QKV, state[f"blocks.{block}.qkv.{part}"].chunk(3), strict=True):
                found[f"encoders.{block}.{name}.{part}"] = third
    return {name: tensor.clone() for name, tensor in found.items()}


def _read_config(
    tensors: Mapping[str, Tensor], form: EncoderForm, heads: int, text_encoder: str
) -> EncoderConfig:
    """Read off the tensors what an encoder is built from; KeyError when one is not there."""
    first = next((name for name in tensors if FIRST.fullmatch(name)), "embedder.model_dict.*.x")
    probe = tensors[first]
    fc1 = tensors["encoders.0.fc1.weight"]
    return EncoderConfig(
        transformer={
            "num_layers": _depth(tensors, r"embedder\.model_dict\.blocks___(\d+)___"),
            "num_single_layers": _depth(tensors, r"embedder\.model_dict\.single_blocks___(\d+)___"),
            "num_attention_heads": 1,
            "attention_head_dim": probe.shape[2],
        },
        form=replace(
            form, probes=probe.shape[1], slots="fused", tokens="probe", strength="kept", projections="type"
        ),
        probe="full",
        sketch=None,
        width=fc1.shape[1],
        layers=_depth(tensors, r"encoders\.(\d+)\."),
        heads=heads,
        hidden=fc1.shape[0],
        dropout=0.0,
        spec=None,
        text_encoder=text_encoder,
    )


def _read_state(tensors: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Return the tensors by our names; KeyError when one is not there."""
    state = {"positions": tensors["position_embeds"][0]}
    for group, (kind, places) in enumerate(zip(config.types, config.groups, strict=True)):
        names = [PROBE.format(_escape(config.slots[place].name)) for place in places]
        state[f"probes.{group}"] = torch.cat([tensors[name] for name in names])
        for part in KINDS:
            state[f"projections.{group}.{part}"] = tensors[PROJECTION.format(_escape(kind), part)]
    for part in KINDS:
        state[f"norm.{part}"] = tensors[f"final_layer_norm.{part}"]
        for block in range(config.layers):
            for ours, theirs in BLOCK.items():
                state[f"blocks.{block}.{ours}.{part}"] = tensors[f"encoders.{block}.{theirs}.{part}"]
            thirds = [tensors[f"encoders.{block}.{name}.{part}"] for name in QKV]
            state[f"blocks.{block}.qkv.{part}"] = torch.cat(thirds)
    state["text_center"] = torch.zeros(config.width, dtype=state["norm.weight"].dtype)
    return state


def _depth(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many numbers the first group of a pattern takes in the tensors' names, from 0."""
    return 1 + max((int(match[1]) for name in tensors if (match := re.match(pattern, name))), default=-1)


def _escape(name: str) -> str:
    return name.replace(".", "___")
