"""The hits of a search, fused into a pipeline: the adapters' updates with strength and relevance."""

from collections.abc import Callable, Sequence
from typing import Any

from autolora.fusion.acting import acting_hits
from autolora.fusion.install import Attachment, strengthened
from autolora.fusion.methods import LoadGates, choose_rule
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.rules import Adapter
from autolora.fusion.text_encoders import attach_text_parts
from autolora.lora.factors import Lora
from autolora.lora.text_parts import TextParts
from autolora.params import Method, RuleParams, check_method
from autolora.records import Hit


def fused_hits(
    load_pipeline: Callable[[], Any],
    hits: Sequence[Hit],
    load: Callable[[str], Lora],
    method: Method,
    params: RuleParams,
    load_gates: LoadGates,
    load_text: Callable[[str], TextParts] | None = None,
    recorder: GateRecorder | None = None,
) -> Attachment:
    """Let the adapters of hits act in a pipeline by a method of fusion, each with its strength; those of 0 do not.

    load_pipeline: called after all that is known without the base model has been checked, since loading it takes
    minutes. load: sha256 of an adapter -> its updates. load_text: those of the text encoders; None leaves these as they
    are. recorder: gets the means of the gates.
    Raises as `acting_hits`, `load`, `load_gates`, `autolora.fusion.methods.choose_rule`, the rule's `attach`,
    `load_text` and `autolora.fusion.text_encoders.attach_text_parts`.
    """
    check_method(method)
    acting = acting_hits(hits)
    adapters = [
        Adapter(hit.sha256, strengthened(load(hit.sha256), hit.strength), hit.relevance) for hit in acting
    ]
    rule = choose_rule(adapters, method, params, load_gates, recorder)
    pipeline = load_pipeline()
    with rule.attach(pipeline, adapters) as attachment:
        if load_text is not None:
            parts = [_strengthened_parts(load_text(hit.sha256), hit.strength) for hit in acting]
            attachment.push(attach_text_parts(pipeline, parts))
        return attachment.pop_all()


def _strengthened_parts(parts: TextParts, strength: float) -> TextParts:
    return {encoder: strengthened(lora, strength) for encoder, lora in parts.items()}
