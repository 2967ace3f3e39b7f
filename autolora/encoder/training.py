"""Train the encoder: the adapters of the training lock against the captions of their renderings."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from autolora.dataset.store import captions_by_image, rows, training_lock
from autolora.encoder.config import TRANSFORMER_FIELDS, EncoderConfig
from autolora.encoder.inputs import AdapterBatch, concatenate, norms
from autolora.encoder.loss import Temperature, contrastive_loss, shares_label
from autolora.encoder.model import Encoder, TextEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import SketchSpec
from autolora.params import EncoderParams
from autolora.pool import store as pool
from autolora.presets import EncoderVariant

WARM_UP = 0.1
"""share of the steps in which the learning rate of the schedule `cosine` rises"""
MAX_GRAD_NORM = 1.0
NOISE_RANK = 4
"""rank of the random update that training adds to an update"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainExample:
    """An adapter of the training split with its captions."""

    sha256: str
    family: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one training step."""

    number: int
    """from 1"""
    total: int
    loss: float
    temperature: float


def load_examples(root: Path) -> list[TrainExample]:
    """Return the adapters of the lock's training split that are still in the dataset and have captions.

    Raises MissingArtifact if there are none.
    """
    in_dataset = {row["sha256"] for row in rows(root, "adapters")}
    captions = captions_by_image(root)
    examples, num_dropped = [], 0
    for row in training_lock(root).in_split("train"):
        texts = tuple(caption.text for image in row.renderings for caption in captions.get(image, ()))
        if row.sha256 in in_dataset and texts:
            examples.append(TrainExample(row.sha256, row.family, texts))
        else:
            num_dropped += 1
    if num_dropped:
        logger.warning("training without %d locked adapters: withdrawn, or without captions", num_dropped)
    if not examples:
        raise MissingArtifact(
            "data/training.jsonl has no training adapter with captions: move dataset.train_until in "
            "params.yaml so that it covers adapters of the catalog, then run `dvc repro`"
        )
    return examples


def build(
    root: Path, params: EncoderParams, transformer: Mapping[str, Any], text_encoder: TextEncoder
) -> Encoder:
    """Return an untrained encoder for the pool and this text encoder, with random weights by the seed.

    transformer: config of the base model's FluxTransformer2DModel.
    Raises MismatchError if the heads do not divide the text encoder's width, or sketches are of another base model.
    """
    variant = params.variant
    if text_encoder.width % variant.heads:
        raise MismatchError(
            f"the encoder has {variant.heads} heads, which do not divide the text encoder's width, "
            f"{text_encoder.width}: set encoder.overrides.heads in params.yaml to a divisor of it"
        )
    sketch = pool.load_sketch(root, load_examples(root)[0].sha256) if variant.probe == "sketch" else None
    config = EncoderConfig(
        transformer={name: int(transformer[name]) for name in TRANSFORMER_FIELDS},
        variant=variant,
        width=text_encoder.width,
        dropout=params.dropout if variant.regularize else 0.0,
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
    return Encoder(config)


def fit(
    encoder: Encoder,
    train_examples: Sequence[TrainExample],
    read: Callable[[str], AdapterBatch],
    text_encoder: TextEncoder,
    params: EncoderParams,
) -> Iterator[Step]:
    """Train the encoder in place by Eq. 3, with the text encoder frozen; yield after each step.

    read: adapter sha256 -> a batch of one. The seed determines the weights on one kind of CPU.
    """
    variant = encoder.config.variant
    torch.manual_seed(params.seed)
    generator = torch.Generator().manual_seed(params.seed)
    captions = _Captions.of(train_examples, text_encoder)
    families = torch.tensor(_numbers([example.family for example in train_examples]))
    if variant.center_text_features:
        encoder.text_center.copy_(captions.center())
    device = encoder.positions.device
    temperature = Temperature(variant.temperature, variant.temperature_learned).to(device)
    optimizer, schedule = _optimizer([*encoder.parameters(), *temperature.parameters()], params)
    encoder.train()
    for number in range(1, params.steps + 1):
        adapters, texts = _sample(captions, variant, params.batch, generator)
        batch = concatenate([read(train_examples[int(i)].sha256) for i in adapters])
        if variant.regularize:
            batch = _augment(batch, params, generator)
        batch = batch.to(device)
        loss = contrastive_loss(
            encoder.embed_text(captions.features[texts].to(device)),
            encoder.embed(batch.values, batch.present),
            temperature(),
            _ignore_pairs(variant, families[adapters], texts).to(device),
            variant.loss_factor,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        if variant.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        yield Step(number, params.steps, loss.item(), temperature().item())
    encoder.eval()


@dataclass(frozen=True, slots=True)
class _Captions:
    """The features of all captions, and which of them describe which adapter."""

    features: Tensor
    """(T, d), one row per distinct caption"""
    of_adapter: tuple[Tensor, ...]
    """per adapter: rows of `features`, one per caption, so repeated captions count repeatedly"""

    @classmethod
    def of(cls, train_examples: Sequence[TrainExample], text_encoder: TextEncoder) -> Self:
        distinct = sorted({text for example in train_examples for text in example.captions})
        row = {text: i for i, text in enumerate(distinct)}
        of_adapter = tuple(
            torch.tensor([row[text] for text in example.captions]) for example in train_examples
        )
        return cls(text_encoder.encode(distinct).float(), of_adapter)

    def center(self) -> Tensor:
        """Return the mean (d,) over adapters of the mean feature of their captions."""
        return torch.stack([self.features[rows].mean(0) for rows in self.of_adapter]).mean(0)

    def sample(self, adapters: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random caption, a row of `features`, for each of these adapters (N,)."""
        choices = [self.of_adapter[int(i)] for i in adapters]
        return torch.stack([rows[torch.randint(len(rows), (), generator=generator)] for rows in choices])


def _sample(
    captions: _Captions, variant: EncoderVariant, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a random batch: adapters (N,), and one caption (row of features) of each (N,)."""
    if variant.batch_sampling == "adapters":
        adapters = torch.randperm(len(captions.of_adapter), generator=generator)[:count]
        return adapters, captions.sample(adapters, generator)
    owners = torch.cat([torch.full_like(rows, i) for i, rows in enumerate(captions.of_adapter)])
    pairs = torch.randint(len(owners), (count,), generator=generator)
    return owners[pairs], torch.cat(captions.of_adapter)[pairs]


def _ignore_pairs(variant: EncoderVariant, families: Tensor, texts: Tensor) -> Tensor:
    """Return the pairs (N, N) of a batch that are not negatives; its diagonal has no effect."""
    if variant.negatives == "all":
        return torch.zeros(len(texts), len(texts), dtype=torch.bool)
    return shares_label(families, texts)


def _augment(batch: AdapterBatch, params: EncoderParams, generator: torch.Generator) -> AdapterBatch:
    """Return the batch with noise, and with random slots hidden if the variant masks missing slots."""
    values = batch.values
    if isinstance(values, Tensor):
        values = _add_noise(values, params.sketch_noise, generator)
    else:
        values = tuple(_add_noise_ranks(down, up, params.sketch_noise, generator) for down, up in values)
    if params.variant.missing_slots != "mask":
        return AdapterBatch(values, batch.present)
    drawn = torch.rand(batch.present.shape, generator=generator)
    visible = batch.present & (drawn >= params.slot_dropout)
    return AdapterBatch(values, torch.where(visible.any(1, keepdim=True), visible, batch.present))


def _add_noise(values: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Return sketches (N, S, m, p) plus noise whose norm is `level` times that of the slot's sketch."""
    noise = torch.randn(values.shape, generator=generator)
    rms: Tensor = values.flatten(2).norm(dim=-1) / values[0, 0].numel() ** 0.5
    return values + level * rms[..., None, None] * noise


def _add_noise_ranks(
    down: Tensor, up: Tensor, level: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return stacked factors plus a random update, in further ranks, of `level` times the norm of the slot's."""
    more_down = torch.randn(*down.shape[:2], NOISE_RANK, down.shape[3], generator=generator)
    more_up = torch.randn(*up.shape[:3], NOISE_RANK, generator=generator)
    scale = level * norms(down, up) / (NOISE_RANK * down.shape[3] * up.shape[2]) ** 0.5
    return torch.cat((down, more_down), 2), torch.cat((up, scale[..., None, None] * more_up), 3)


def _optimizer(
    weights: Sequence[torch.nn.Parameter], params: EncoderParams
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and the schedule of its learning rate, as the variant defines them."""
    variant = params.variant
    optimizer = torch.optim.AdamW(weights, lr=variant.learning_rate, weight_decay=variant.weight_decay)

    def factor(step: int) -> float:
        if variant.schedule == "constant":
            return 1.0
        done = step / params.steps
        return min(1.0, (step + 1) / (WARM_UP * params.steps)) * (1 + math.cos(math.pi * done)) / 2

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _numbers(names: Sequence[str]) -> list[int]:
    """Return one integer per name, equal for equal names."""
    known = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [known[name] for name in names]
