"""Captions of one's own images, if params.yaml names an engine."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from autolora.params import Params
from autolora.progress import Progress


def write_captions(root: Path, params: Params, today: date) -> tuple[int, Mapping[str, str]]:
    """Caption the images that have no caption yet; return the number of captions, and failed image -> reason.

    Without an engine nothing is done. Raises CaptionError if the engine cannot be used.
    """
    if params.captions.engine is None:
        return 0, {}
    from autolora import vlm  # here, because it takes long to import
    from autolora.captions import stage

    digest = vlm.digest(params.models)
    batches = stage.plan(root, params.captions, digest)
    captions, failures = 0, dict[str, str]()
    with Progress("index", sum(len(batch.images) for batch in batches), "images captioned") as progress:
        for batch in batches:
            engine = vlm.captioner(params.models, params.captions, params.vllm)
            result = stage.caption_batch(root, params.captions, batch, engine)
            captions += result.captions
            failures |= result.failures
            progress.advance(len(batch.images))
    stage.finish(root, params.captions, digest, params.models.dtype, today)
    return captions, failures
