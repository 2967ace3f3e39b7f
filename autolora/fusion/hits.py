"""The hits of a search, fused into a transformer: the adapters' updates with strength and relevance."""

from collections.abc import Callable, Sequence
from typing import Any

from autolora.errors import MismatchError
from autolora.fusion.gate import Gates
from autolora.fusion.install import Attachment, fused
from autolora.lora.factors import Lora
from autolora.records import Hit
from autolora.slots import Slot, slots

CONFIG_KEYS = {"num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim"}
"""of a FluxTransformer2DModel, which determine its slots"""


def fused_hits(
    transformer: Any, hits: Sequence[Hit], load: Callable[[str], Lora], gates: Gates | None
) -> Attachment:
    """Fuse the adapters of hits as `fused` does, each with its strength, and its relevance if there are gates.

    load: sha256 of an adapter -> its updates. Raises MissingArtifact as `load`, MismatchError as `fused`.
    """
    return fused(
        transformer,
        [load(hit.sha256) for hit in hits],
        gates=gates,
        relevance=_known_relevance(hits),
        weights=[hit.strength for hit in hits],
    )


def transformer_slots(transformer: Any) -> tuple[Slot, ...]:
    """Return the canonical slots of a transformer; raises MismatchError if it is not one of FLUX."""
    config = getattr(transformer, "config", {})
    if not set(config) >= CONFIG_KEYS:
        raise MismatchError(
            f"{type(transformer).__name__} is not the transformer of a FLUX pipeline: give a pipeline whose "
            "`transformer` is a FluxTransformer2DModel, such as FluxPipeline or FluxImg2ImgPipeline"
        )
    return slots(config)


def _known_relevance(hits: Sequence[Hit]) -> list[float] | None:
    """Return the relevance of each adapter (k,), or None, which counts as 1.

    It is unknown for named adapters, and if the encoder has no calibration.
    """
    known = [hit.relevance for hit in hits if hit.relevance is not None]
    return known if len(known) == len(hits) else None
