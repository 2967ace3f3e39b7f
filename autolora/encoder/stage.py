"""The stage `encoder`: train on the adapters of the training lock; save data/encoder and its digest."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autolora.checkpoint import Checkpoint
from autolora.encoder.examples import TrainExample, load_examples
from autolora.encoder.inputs import KEPT_BYTES, keeping
from autolora.encoder.model import TextEncoder
from autolora.encoder.store import folder, reader, save_encoder, write_encoder_digest
from autolora.encoder.training import Step, build, fit
from autolora.params import EncoderParams, PoolParams, training_params
from autolora.storage.hashes import hash_value
from autolora.storage.inputs import write_libraries


def train(
    root: Path,
    params: EncoderParams,
    transformer: Mapping[str, Any],
    text_encoder: TextEncoder,
    bounds: PoolParams,
    device: str = "cpu",
    sentences: TextEncoder | None = None,
) -> Iterator[Step]:
    """Train on the locked adapters; save data/encoder and then its digest; yield after each step.

    Of several processes, the first one saves.
    transformer: config of the base model's FluxTransformer2DModel. sentences: the sentence encoder of encoder.language.
    bounds: limits on files of weights, which the probe `full` reads.
    Raises MissingArtifact if there are no training examples, MismatchError if params, pool and models do not fit.
    """
    encoder = build(root, params, transformer, text_encoder).to(device)
    read = reader(root, encoder.config, bounds)
    if params.variant.model == "transformer":  # the regression reads each adapter once
        read = keeping(read, KEPT_BYTES)
    examples = load_examples(root)
    trained_from = _trained_from(examples, params, sentences)
    key = hash_value([trained_from, asdict(encoder.config)])
    checkpoint = Checkpoint(root / "cache" / "encoder_training.pt", key)
    learned = yield from fit(encoder, examples, read, text_encoder, params, sentences, checkpoint)
    if learned is None:
        return
    save_encoder(folder(root), encoder, learned.tags, learned.language)
    write_libraries(folder(root))
    texts = sum(len(example.captions) for example in examples)
    write_encoder_digest(root, encoder, trained_from, learned.language, adapters=len(examples), texts=texts)
    checkpoint.remove()


def _trained_from(
    examples: list[TrainExample], params: EncoderParams, sentences: TextEncoder | None
) -> dict[str, str]:
    """Return the hashes of the inputs of a training: params, models, and each adapter's family and captions."""
    inputs = {example.sha256: hash_value([example.family, example.captions]) for example in examples}
    language = {"language": sentences.digest} if sentences else {}
    return inputs | language | {"params": hash_value(training_params(params))}
