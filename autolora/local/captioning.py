"""Captions of one's own images, if params.yaml names an engine."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from autolora.local.progress import Progress
from autolora.params import Params


def write_captions(
    root: Path, params: Params, today: date, progress: Progress
) -> tuple[int, Mapping[str, str]]:
    """Caption the images that have no caption yet; return the number of captions, and failed image -> reason.

    Without an engine nothing is done. Raises CaptionError if the engine cannot be used.
    """
    if params.captions.engine is None:
        return 0, {}
    from autolora import vlm  # here, because without captions the extra `captions` need not be installed
    from autolora.captions import stage

    digest = vlm.digest(params.models)
    batches = stage.plan(root, params.captions, digest)
    total, done, captions = sum(len(batch.images) for batch in batches), 0, 0
    failures: dict[str, str] = {}
    for batch in batches:
        progress("images captioned", done, total)
        engine = vlm.captioner(params.models, params.captions, params.vllm)
        result = stage.caption_batch(root, params.captions, batch, engine)
        done, captions, failures = (
            done + len(batch.images),
            captions + result.captions,
            failures | dict(result.failures),
        )
    if total:
        progress("images captioned", total, total)
    stage.finish(root, params.captions, digest, today)
    return captions, failures
