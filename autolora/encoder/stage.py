"""The stage `encoder`: from the training lock to a trained encoder in data/encoder."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import save

from autolora.encoder.inputs import Updates
from autolora.encoder.model import TextEncoder
from autolora.encoder.store import folder, reader, save_encoder, tensors
from autolora.encoder.training import Example, Step, build, examples, fit
from autolora.errors import MissingArtifact
from autolora.params import EncoderParams, PoolParams
from autolora.presets import EncoderForm
from autolora.storage.files import hash_value
from autolora.storage.incremental import write_digest

SCHEMA = 1
ADAPTERS_IN_RAM = 1024

logger = logging.getLogger(__name__)


def train(
    root: Path,
    params: EncoderParams,
    transformer: Mapping[str, Any],
    text_encoder: TextEncoder,
    bounds: PoolParams,
    device: str = "cpu",
) -> Iterator[Step]:
    """Train on the locked adapters, save data/encoder and its digest; yield after each step.

    bounds: on weights, which are read where the probe is full.
    Raises MissingArtifact when there is nothing to learn from, MismatchError when the parts do not fit.
    """
    encoder = build(root, params, transformer, text_encoder).to(device)
    read = lru_cache(maxsize=ADAPTERS_IN_RAM)(reader(root, encoder.config, bounds))
    learned = _accepted(examples(root), read, encoder.config.form)
    yield from fit(encoder, learned, read, text_encoder, params)
    save_encoder(folder(root), encoder)
    rows = {
        name: hashlib.sha256(save({name: tensor})).hexdigest() for name, tensor in tensors(encoder).items()
    }
    rows["config"] = hash_value(encoder.config.to_json())
    write_digest(
        root, "encoder", rows, SCHEMA, adapters=len(learned), texts=sum(len(e.texts) for e in learned)
    )


def _accepted(learned: list[Example], read: Callable[[str], Updates], form: EncoderForm) -> list[Example]:
    """Return the adapters that the form accepts; MissingArtifact when there is none."""
    if form.absent != "refuse":
        return learned
    whole = [example for example in learned if bool(read(example.sha256).present.all())]
    logger.warning("%d of %d adapters have every slot; the others are refused", len(whole), len(learned))
    if not whole:
        raise MissingArtifact(
            "no training adapter has every slot, and encoder.absent is 'refuse': set it to 'mask' or 'zero' "
            "in params.yaml"
        )
    return whole
