"""The adapters that are attached to loaded pipelines, one set per transformer. Importing this does not import torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from autolora.fusion.acting import check_hits
from autolora.fusion.base_model import check_base_model, transformer_slots
from autolora.lora.slots import Slot
from autolora.params import Method, RuleParams
from autolora.records import Hit

if TYPE_CHECKING:
    from autolora.fusion.gate import Gates
    from autolora.fusion.install import Attachment
    from autolora.lora.factors import Lora
    from autolora.lora.text_parts import TextParts

    LoadLora = Callable[[str, Sequence[Slot]], Lora]
    """called with the sha256 of an adapter and the slots of a transformer"""
    LoadText = Callable[[str, "Pipeline"], TextParts]
    LoadGates = Callable[[Sequence[Slot]], Gates]

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
) -> None:
    """Let the adapters of hits act in a pipeline, in place of those attached before; after an error these stay.

    load_base: reads the canonical slots of the base model that the adapters were made for. load_text: reads the updates
    of the text encoders; None leaves these as they are. load_gates: called for the method `gated` only. params: the
    numbers in the methods' rules. Raises as `Collection.fuse`.
    """
    from autolora.fusion.hits import fused_hits

    check_hits(hits)
    key, slots = transformer_of(pipeline), transformer_slots(pipeline.transformer)
    if hits:
        check_base_model(slots, load_base())
    attachment = fused_hits(
        lambda: pipeline,
        hits,
        load=lambda sha256: load(sha256, slots),
        method=method,
        params=params,
        load_gates=lambda: load_gates(slots),
        load_text=(lambda sha256: load_text(sha256, pipeline)) if load_text else None,
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


def transformer_of(pipeline: Pipeline) -> Any:
    """Return the transformer itself, which torch.compile may have wrapped."""
    transformer = getattr(pipeline, "transformer", None)
    if transformer is None:
        raise TypeError(
            f"expected a pipeline of diffusers with a transformer, such as FluxPipeline, not {type(pipeline).__name__}"
        )
    return getattr(transformer, "_orig_mod", transformer)
