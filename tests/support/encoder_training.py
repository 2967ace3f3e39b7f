"""A training of the encoder's transformer on random files: `python -m tests.support.encoder_training PRESET`.

It prints the growth of the process's memory, in bytes, until its peak.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from autolora.encoder.config import EncoderConfig
from autolora.encoder.contrastive import fit_transformer
from autolora.encoder.examples import CaptionFeatures, TrainExample
from autolora.encoder.inputs import AdapterBatch, keeping
from autolora.encoder.transformer import TransformerEncoder
from autolora.lora.factors import Factors
from autolora.lora.slots import TRANSFORMER_FIELDS
from autolora.params import load
from autolora.planning.plan import make_setting
from autolora.planning.stages import encoder
from autolora.presets.encoder import ENCODER
from studies.released.presets import ENCODER as RELEASED

SMALL = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 8, "attention_head_dim": 64}
ADAPTERS, BATCH, RANK, STEPS, KEPT = 24, 16, 16, 2, 20_000_000


def config(preset: str, transformer: Mapping[str, Any], **fields: Any) -> EncoderConfig:
    """Return the config of an encoder of a preset, with some fields changed."""
    variant = replace({**ENCODER, "released": RELEASED}[preset], **fields)
    return EncoderConfig(
        transformer={name: transformer[name] for name in TRANSFORMER_FIELDS},
        variant=variant,
        width=768,
        sketch_size=32 if variant.probe == "sketch" else None,
        sketch_key=None,
        text_encoder="",
    )


def small(preset: str) -> EncoderConfig:
    """Return the config of the encoder that is trained."""
    return config(preset, SMALL, batch=BATCH, steps=STEPS)


def planned_bytes(preset: str) -> float:
    """Return what the plan says that the training adds to the process."""
    params = load(Path("params.yaml"))
    setting = make_setting(
        replace(params, encoder=replace(params.encoder, variant=small(preset).variant)), None, 100
    )
    slots_of = small(preset).canonical
    size = 2 * RANK * sum(slot.d_in + slot.d_out for slot in slots_of)
    work = replace(setting.work, training_adapters=ADAPTERS, file_bytes=size)
    planned = replace(setting, work=work, slots=slots_of, seen=small(preset).fused, width=768)
    process = setting.rates.process_bytes + 4 * setting.weights("text_encoder")
    with patch("autolora.planning.stages.KEPT_BYTES", KEPT):
        return encoder(planned).memory - process


def main(preset: str) -> None:
    """Train, and print the growth."""
    encoder_config = small(preset)

    def read(_: str) -> AdapterBatch:
        lora = {
            slot.name: Factors(torch.ones(RANK, slot.d_in), torch.ones(slot.d_out, RANK), 1.0)
            for slot in encoder_config.canonical
        }
        return encoder_config.lora_to_batch(lora)

    examples = [TrainExample(f"{number}", f"{number}", (("",),)) for number in range(ADAPTERS)]
    captions = CaptionFeatures(torch.rand(ADAPTERS, 768), tuple(torch.arange(ADAPTERS).split(1)))
    section = replace(load(Path("params.yaml")).encoder, variant=encoder_config.variant)
    before = peak()
    encoder = TransformerEncoder(encoder_config)
    for _ in fit_transformer(encoder, examples, captions, keeping(read, KEPT), section):
        pass
    print(peak() - before)


def peak() -> int:
    """Return the largest memory that the process has had, without that of its parent, which `getrusage` contains."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1])
