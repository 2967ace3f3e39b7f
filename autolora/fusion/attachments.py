"""The adapters that are attached to loaded pipelines, one set per transformer. Importing this does not import torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from autolora.errors import MismatchError
from autolora.fusion.base_model import check_base_model, transformer_slots
from autolora.params import Method, RuleParams
from autolora.records import Hit
from autolora.slots import Slot

if TYPE_CHECKING:
    from autolora.fusion.gate import Gates
    from autolora.fusion.install import Attachment
    from autolora.lora.factors import Lora
    from autolora.lora.text_parts import TextParts

    LoadLora = Callable[[str, Sequence[Slot]], Lora]
    """called with the sha256 of an adapter and the slots of a transformer"""
    LoadText = Callable[[str, "Pipeline"], TextParts]
    LoadGates = Callable[[Sequence[Slot]], Gates]

GET_HITS = "`pool.search` finds adapters by a prompt, and `pool.named` by their names"

_attached: "WeakKeyDictionary[Any, Attachment]" = WeakKeyDictionary()
"""transformer -> what removes its adapters"""


class Pipeline(Protocol):
    """A loaded pipeline of diffusers with the transformer of FLUX: text to image, image to image, Fill, Kontext."""

    transformer: Any


def attach(
    pipeline: Pipeline,
    hits: Sequence[Hit],
    *,
    load: "LoadLora",
    load_base: Callable[[], Sequence[Slot]],
    load_text: "LoadText | None",
    load_gates: "LoadGates",
    method: Method,
    params: RuleParams,
    style: Hit | None = None,
) -> None:
    """Let the adapters of hits act in a pipeline, in place of those attached before; after an error these stay.

    load_base: reads the canonical slots of the base model that the adapters were made for. load_text: reads the updates
    of the text encoders; None leaves these as they are. load_gates: called for the method `gated` only. params: the
    numbers in the methods' rules. style: the hit that is the style, for a method with roles. Raises as `Pool.fuse`.
    """
    from autolora.fusion.hits import check_hits, fused_hits

    check_are_hits(hits)
    check_hits(hits)
    if style is not None and not isinstance(style, Hit):
        raise TypeError(f"the style is a {type(style).__name__}, expected one of the hits: {GET_HITS}")
    if len({hit.sha256 for hit in hits}) < len(hits):
        raise MismatchError("an adapter is given twice: give it once, with the strength that it should have")
    key, slots = transformer_of(pipeline), transformer_slots(pipeline.transformer)
    if hits:
        check_base_model(slots, load_base())
    attachment = fused_hits(
        pipeline,
        hits,
        load=lambda sha256: load(sha256, slots),
        method=method,
        params=params,
        load_gates=lambda: load_gates(slots),
        load_text=(lambda sha256: load_text(sha256, pipeline)) if load_text else None,
        style=None if style is None else style.sha256,
    )
    detach(pipeline)
    if hits:
        _attached[key] = attachment


def detach(pipeline: Pipeline) -> None:
    """Remove the adapters of a pipeline, if there are any."""
    attachment = _attached.pop(transformer_of(pipeline), None)
    if attachment is not None:
        attachment.close()


def attachment_of(pipeline: Pipeline) -> "Attachment | None":
    """Return what is attached to a pipeline."""
    return _attached.get(transformer_of(pipeline))


def check_are_hits(hits: Sequence[Hit]) -> None:
    """Raise TypeError if an argument is not a list of hits, such as one hit, or names of adapters."""
    if isinstance(hits, Hit):
        raise TypeError("expected a list of hits, not one hit: give `[hit]`")
    if isinstance(hits, str) or not isinstance(hits, Sequence):
        raise TypeError(f"expected a list of hits, not {type(hits).__name__}: {GET_HITS}")
    if wrong := [type(hit).__name__ for hit in hits if not isinstance(hit, Hit)]:
        raise TypeError(f"expected a list of hits, but it contains {wrong[0]}: {GET_HITS}")


def transformer_of(pipeline: Pipeline) -> Any:
    """Return the transformer itself, which torch.compile may have wrapped."""
    transformer = getattr(pipeline, "transformer", None)
    if transformer is None:
        raise TypeError(
            f"expected a pipeline of diffusers with a transformer, such as FluxPipeline, not {type(pipeline).__name__}"
        )
    return getattr(transformer, "_orig_mod", transformer)
