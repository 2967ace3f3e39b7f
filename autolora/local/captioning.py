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
    from autolora import vlm  # here, because without captions the extra `captions` need not be installed
    from autolora.captions import stage

    digest = vlm.digest(params.models)
    batches = stage.plan(root, params.captions, digest)
    captions, total = 0, sum(len(batch.images) for batch in batches)
    failures: dict[str, str] = {}
    with Progress("captions", total, "images") as progress:
        for batch in batches:
            engine = vlm.captioner(params.models, params.captions, params.vllm)
            result = stage.caption_batch(root, params.captions, batch, engine)
            captions, failures = captions + result.captions, failures | dict(result.failures)
            progress.advance(len(batch.images))
    stage.finish(root, params.captions, digest, today)
    return captions, failures
