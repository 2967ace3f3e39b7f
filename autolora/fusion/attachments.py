"""The adapters that are attached to loaded pipelines, one set per transformer. Importing this does not import torch."""

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from autolora.fusion.install import Attachment

_attached: "WeakKeyDictionary[Any, Attachment]" = WeakKeyDictionary()
"""transformer -> what removes its adapters"""


class Pipeline(Protocol):
    """A loaded pipeline of diffusers with the transformer of FLUX: text to image, image to image, Fill, Kontext."""

    transformer: Any


def keep(pipeline: Pipeline, attachment: "Attachment") -> None:
    """Keep what has been attached to a pipeline until `detach`."""
    _attached[transformer_of(pipeline)] = attachment


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
