"""The hits of a search, fused into a pipeline: the adapters' updates with strength and relevance."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from autolora.errors import MismatchError
from autolora.fusion.install import Attachment, strengthened
from autolora.fusion.methods import LoadGates, attach
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.rules import Adapter
from autolora.fusion.text_encoders import attach_text_parts
from autolora.lora.factors import Lora
from autolora.lora.text_parts import TextParts
from autolora.params import Method, RuleParams
from autolora.records import Hit


def fused_hits(
    pipeline: Any,
    hits: Sequence[Hit],
    load: Callable[[str], Lora],
    method: Method,
    params: RuleParams,
    load_gates: LoadGates,
    load_text: Callable[[str], TextParts] | None = None,
    recorder: GateRecorder | None = None,
) -> Attachment:
    """Let the adapters of hits act in a pipeline by a method of fusion, each with its strength; those of 0 do not.

    load: sha256 of an adapter -> its updates. load_text: those of the text encoders; None leaves these as they are.
    recorder: gets the means of the gates.
    Raises MissingArtifact as `load` and `load_gates`; MismatchError if a strength is not a finite number, and as
    `load_text`, `autolora.fusion.methods.attach` and `autolora.fusion.text_encoders.attach_text_parts`.
    """
    for hit in hits:
        if not math.isfinite(hit.strength):
            raise MismatchError(
                f"the strength of adapter '{hit.id}' is {hit.strength}: give a finite number, such as 0.8"
            )
    acting = [hit for hit in hits if hit.strength != 0]
    adapters = [
        Adapter(hit.sha256, strengthened(load(hit.sha256), hit.strength), hit.relevance) for hit in acting
    ]
    with attach(pipeline, adapters, method, params, load_gates, recorder) as attachment:
        if load_text is not None:
            parts = [_strengthened_parts(load_text(hit.sha256), hit.strength) for hit in acting]
            attachment.push(attach_text_parts(pipeline, parts))
        return attachment.pop_all()


def _strengthened_parts(parts: TextParts, strength: float) -> TextParts:
    return {encoder: strengthened(lora, strength) for encoder, lora in parts.items()}
