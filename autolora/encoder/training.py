"""Train an encoder, of either model: the adapters of the training lock against the captions of their renderings."""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autolora import processes
from autolora.checkpoint import Checkpoint
from autolora.encoder.calibration import CalibrationSet
from autolora.encoder.config import EncoderConfig
from autolora.encoder.contrastive import fit_transformer
from autolora.encoder.examples import CaptionFeatures, TrainExample, load_examples
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.language import fit_language
from autolora.encoder.model import Encoder, TextEncoder, caption_rule, embed_texts, new_encoder, project_texts
from autolora.encoder.ridge import RidgeEncoder, fit_ridge
from autolora.encoder.tag_fitting import fit_tags
from autolora.encoder.tags import TagTable
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import TRANSFORMER_FIELDS
from autolora.matching.caption_rule import CaptionRule
from autolora.matching.language import Language
from autolora.params import EncoderParams
from autolora.pool import store as pool
from autolora.presets.encoder import EncoderVariant

MISJUDGED_SHARE = 0.02
"""share of the training adapters, predicted out of fold, whose right captions would contradict the weights"""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a training learns beside the weights of the encoder."""

    tags: TagTable | None
    language: Language | None


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one training step."""

    number: int
    """from 1"""
    total: int
    values: Mapping[str, float]
    """loss and temperature of the transformer; the regression's mean cosine with the captions out of fold"""


def build(
    root: Path, params: EncoderParams, transformer: Mapping[str, Any], text_encoder: TextEncoder
) -> Encoder:
    """Return an untrained encoder for the pool and this text encoder, with random weights by the seed.

    transformer: config of the base model's FluxTransformer2DModel.
    Raises MismatchError if the heads do not divide the text encoder's width, or sketches are of another base model.
    """
    variant = params.variant
    check_heads(variant, text_encoder.width)
    sketch = pool.load_sketch(root, load_examples(root)[0].sha256) if variant.probe == "sketch" else None
    config = EncoderConfig(
        transformer={name: int(transformer[name]) for name in TRANSFORMER_FIELDS},
        variant=variant,
        width=text_encoder.width,
        sketch_size=sketch.values.shape[-1] if sketch else None,
        sketch_key=SketchSpec(sketch.values.shape[-1]).key if sketch else None,
        text_encoder=text_encoder.digest,
    )
    if sketch and len(sketch.present) != len(config.canonical):
        raise MismatchError(
            f"sketches have {len(sketch.present)} slots but the base model has {len(config.canonical)}: "
            "models.pipeline has changed since the pool was read; run `dvc repro`"
        )
    torch.manual_seed(params.seed)
    return new_encoder(config)


def check_heads(variant: EncoderVariant, width: int) -> None:
    """Raise MismatchError if a transformer's heads do not divide the width of the text encoder."""
    if variant.model == "transformer" and width % variant.heads:
        raise MismatchError(
            f"the encoder has {variant.heads} heads, which do not divide the text encoder's width, {width}: set "
            "encoder.overrides.heads in params.yaml to a divisor of it"
        )


def fit(
    encoder: Encoder,
    train_examples: Sequence[TrainExample],
    read: Callable[[str], AdapterBatch],
    text_encoder: TextEncoder,
    params: EncoderParams,
    sentences: TextEncoder | None = None,
    checkpoint: Checkpoint | None = None,
) -> Generator[Step, None, Learned | None]:
    """Fit the text map, then train the encoder in place; yield after each step, of which the regression has one.

    Examples with drawings train the encoder only: the text map and what is learned beside follow from captions of hubs,
    unless there are none.

    Returns what is learned beside it, in the first of several processes; None in the others.
    read: adapter sha256 -> a batch of one. sentences: the sentence encoder of the language, if there is to be one.
    checkpoint: from which a killed training of the transformer continues. The seed determines the weights on one kind
    of CPU. Raises MissingArtifact if the regression has too few families.
    """
    torch.manual_seed(params.seed)
    captions = CaptionFeatures.of(train_examples, text_encoder)
    shown = [row for row, example in enumerate(train_examples) if not example.drawn]
    shown = shown or list(range(len(train_examples)))
    empty = torch.from_numpy(text_encoder.encode([""]))[0]
    features = captions.by_adapter()
    fitted, variant = [features[row] for row in shown], params.variant
    encoder.text_map.fit(fitted, empty, variant.text_map, variant.text_shrinkage)
    if isinstance(encoder, RidgeEncoder):
        vectors, values = _fit_ridge(encoder, train_examples, captions, read, params, shown)
        yield Step(1, 1, values)
    else:
        trained = fit_transformer(encoder, train_examples, captions, read, params, checkpoint)
        for number, values in trained:
            yield Step(number, params.variant.steps, values)
        if not processes.is_first():
            return None
        vectors = _embed(encoder, train_examples, read)
    embed = partial(embed_texts, encoder, text_encoder)
    project = partial(project_texts, encoder, text_encoder)
    examples = [train_examples[row] for row in shown]
    adapters = _calibration_set(encoder, examples, fitted, vectors[shown])
    rule = caption_rule(encoder)
    return Learned(
        tags=fit_tags(examples, adapters.weights, embed),
        language=fit_language(adapters, sentences, embed, project, rule, params.seed) if sentences else None,
    )


def _embed(
    encoder: Encoder, train_examples: Sequence[TrainExample], read: Callable[[str], AdapterBatch]
) -> Tensor:
    """Return the unit vectors (N, d) of the training adapters."""
    device = encoder.text_map.center.device
    batches = (read(example.sha256).to(device) for example in train_examples)
    encoder.eval()
    with torch.inference_mode():
        return torch.cat([encoder.embed(batch.values, batch.present) for batch in batches])


def _calibration_set(
    encoder: Encoder, train_examples: Sequence[TrainExample], texts: Sequence[Tensor], vectors: Tensor
) -> CalibrationSet:
    """Return the training adapters as an index would hold them.

    texts: features (n, d) of the captions of each. vectors (N, d): what their weights predict.

    Those of the regression are out of fold. Those of the transformer are not, since each fold would cost a training:
    it has seen these adapters, so its probabilities are too low for others.
    """
    sums = []
    for example, features in zip(train_examples, texts, strict=True):
        mapped = encoder.text_map(features.to(vectors.device)).double().cpu().numpy()
        ends = np.cumsum([len(texts) for texts in example.renderings])[:-1]
        sums.append(np.stack([rows.sum(axis=0) for rows in np.split(mapped, ends)]))
    return CalibrationSet(
        renderings=[example.renderings for example in train_examples],
        caption_sums=sums,
        weights=vectors.double().cpu().numpy(),
    )


def _fit_ridge(
    encoder: RidgeEncoder,
    train_examples: Sequence[TrainExample],
    captions: CaptionFeatures,
    read: Callable[[str], AdapterBatch],
    params: EncoderParams,
    shown: Sequence[int],
) -> tuple[Tensor, dict[str, float]]:
    """Fit the regression to the unit mean of each adapter's caption vectors.

    shown: rows of the examples without drawings, by which captions are judged.
    Returns the predictions (N, d) out of fold, and the values of the step.
    Raises MissingArtifact if all adapters are of one family, so that nothing can be predicted out of fold.
    """
    text_map, device = encoder.text_map, encoder.mean.device
    means = [text_map(features.to(device)).mean(0) for features in captions.by_adapter()]
    targets = functional.normalize(torch.stack(means), dim=-1)
    names, families = zip(*((example.sha256, example.family) for example in train_examples), strict=True)
    if len(set(families)) < 2:
        raise MissingArtifact(
            "all training adapters with captions are of one family, and the ridge regression needs at least two: add "
            "adapters with images, move dataset.train_until in params.yaml so that it covers them, and run again; or "
            "use a published encoder (encoder.from)"
        )
    out_of_fold = fit_ridge(encoder, names, families, targets, read, params.seed)
    predictions, wanted = (values.double().cpu().numpy()[shown] for values in (out_of_fold, targets))
    rule = CaptionRule(wanted.mean(axis=0), margin=0.0)
    cosines = rule.agreements(predictions, wanted)
    margins = cosines - rule.expected(predictions, wanted)
    encoder.agreement_margin.fill_(min(float(np.quantile(margins, MISJUDGED_SHARE)), 0.0))
    return out_of_fold, {"cosine with captions out of fold": float(cosines.mean())}
