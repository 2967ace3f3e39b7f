"""The base model that adapters were made for: the linears of its transformer that they change. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.errors import MismatchError
from autolora.lora.slots import TRANSFORMER_FIELDS, Slot, slots

Shapes = Mapping[str, tuple[int, int]]
"""slot -> d_in, d_out"""


def transformer_slots(transformer: Any) -> tuple[Slot, ...]:
    """Return the canonical slots of a transformer; raises MismatchError if it is not one of FLUX."""
    config = getattr(transformer, "config", {})
    if not set(config) >= set(TRANSFORMER_FIELDS):
        raise MismatchError(
            f"{type(transformer).__name__} is not the transformer of a FLUX pipeline: give a pipeline whose "
            "`transformer` is a FluxTransformer2DModel, such as FluxPipeline or FluxImg2ImgPipeline"
        )
    return slots(config)


def check_base_model(pipeline: Sequence[Slot], pool: Sequence[Slot]) -> None:
    """Raise MismatchError if a pipeline has other canonical slots than the base model of a pool."""
    found, expected = _shapes(pipeline), _shapes(pool)
    if found == expected:
        return
    first = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
    raise MismatchError(
        f"the pipeline is not the base model of the pool: it has {len(found)} linears that adapters change, the base "
        f"model {len(expected)}; the first that differs is {first} ({_describe(found, first)} in the pipeline, "
        f"{_describe(expected, first)} in the base model): load the pipeline that the pool was made for "
        "(models.pipeline in its params.yaml), or open a pool that was made for this one"
    )


def _shapes(slots: Sequence[Slot]) -> Shapes:
    return {slot.name: (slot.d_in, slot.d_out) for slot in slots}


def _describe(shapes: Shapes, name: str) -> str:
    """Return in words what a linear maps."""
    return f"{shapes[name][0]} to {shapes[name][1]}" if name in shapes else "missing"
