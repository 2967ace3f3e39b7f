"""The parts of adapters for the text encoders: their updates are added to CLIP and T5 of the pipeline.

A text encoder runs once per prompt, before the steps and passes by which rules act, so all methods of fusion sum these
updates, each with its strength. So does the code of LoRA Composite, which encodes the prompt with all LoRAs active.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from autolora.errors import MismatchError, RefusedFile
from autolora.fusion.install import Attachment, fused
from autolora.fusion.methods import strengthened
from autolora.lora.text_parts import PREFIXES, TextParts, read_text_parts
from autolora.params import PoolParams


def load_text_parts(path: Path, pipeline: Any, bounds: PoolParams) -> TextParts:
    """Return a LoRA file's updates of the text encoders of a pipeline; empty if it has none.

    Raises MismatchError if they cannot be read or do not fit these.
    """
    linears = {name: _linears(getattr(pipeline, name, None)) for name in PREFIXES}
    try:
        return read_text_parts(path, linears, bounds)
    except RefusedFile as error:
        raise MismatchError(
            f"the part of {path} for the text encoders cannot be used ({error}): leave the adapter out, or set "
            "generation.text_encoders to false, which leaves this part out"
        ) from error


def attach_text_parts(pipeline: Any, parts: Sequence[tuple[TextParts, float]]) -> Attachment:
    """Add the updates of adapters, each with its strength, to the text encoders; return what removes them.

    Raises MismatchError as `fused`.
    """
    with Attachment() as attachment:
        for name in PREFIXES:
            if loras := [strengthened(part[name], strength) for part, strength in parts if name in part]:
                attachment.push(fused(getattr(pipeline, name), loras))
        return attachment.pop_all()


def _linears(encoder: nn.Module | None) -> list[str]:
    """Return the names of an encoder's linears, also of those that PEFT has wrapped; none if there is no encoder."""
    modules = () if encoder is None else encoder.named_modules()
    return [
        name for name, module in modules if isinstance(module, nn.Linear) or hasattr(module, "base_layer")
    ]
