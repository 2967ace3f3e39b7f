"""The hits of a search, fused into a pipeline: the adapters' updates with strength and relevance."""

from collections.abc import Callable, Sequence
from typing import Any

from autolora.fusion.install import Attachment, strengthened
from autolora.fusion.methods import LoadGates, attach
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.roles import order_by_role
from autolora.fusion.rules import Adapter
from autolora.fusion.text_encoders import attach_text_parts
from autolora.limits import check_acting, check_strength
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
    style: str | None = None,
) -> Attachment:
    """Let the adapters of hits act in a pipeline by a method of fusion, each with its strength; those of 0 do not.

    load: sha256 of an adapter -> its updates. load_text: those of the text encoders; None leaves these as they are.
    recorder: gets the means of the gates. style: sha256 of the adapter that is the style, for a method with roles.
    Raises MissingArtifact as `load` and `load_gates`; MismatchError as `check_hits`, `load_text`, `order_by_role`,
    `autolora.fusion.methods.attach` and `autolora.fusion.text_encoders.attach_text_parts`.
    """
    check_hits(hits)
    acting = order_by_role(hits, method, style)
    adapters = [
        Adapter(hit.sha256, strengthened(load(hit.sha256), hit.strength), hit.relevance) for hit in acting
    ]
    with attach(pipeline, adapters, method, params, load_gates, recorder) as attachment:
        if load_text is not None:
            parts = [_strengthened_parts(load_text(hit.sha256), hit.strength) for hit in acting]
            attachment.push(attach_text_parts(pipeline, parts))
        return attachment.pop_all()


def check_hits(hits: Sequence[Hit]) -> None:
    """Raise MismatchError if more hits are given than act together, or one has a strength that is not allowed."""
    check_acting(len(hits))
    for hit in hits:
        check_strength(hit.id, hit.strength)


def _strengthened_parts(parts: TextParts, strength: float) -> TextParts:
    return {encoder: strengthened(lora, strength) for encoder, lora in parts.items()}
