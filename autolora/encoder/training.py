"""Training the encoder: the locked adapters, by sketch or weights, against captions of their renderings."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from autolora.dataset.store import captions_of, rows, training
from autolora.encoder.inputs import Updates, join, norms
from autolora.encoder.loss import Temperature, alike, contrastive_loss
from autolora.encoder.model import SHAPE, Encoder, EncoderConfig, TextEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import SketchSpec
from autolora.params import EncoderParams
from autolora.pool import store as pool
from autolora.presets import ENCODER, EncoderForm, resolve

WARM_UP = 0.1
NOISE_RANK = 4
"""of the random update that disturbs one in training"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """An adapter to learn from."""

    sha256: str
    family: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """How training goes."""

    number: int
    """from 1"""
    total: int
    loss: float
    temperature: float


def examples(root: Path) -> list[Example]:
    """Return the adapters of the lock's training side that are still in the dataset and have captions.

    Raises MissingArtifact when none is left.
    """
    there = {row["sha256"] for row in rows(root, "adapters")}
    captions = captions_of(root)
    found, gone = [], 0
    for row in training(root).of("train"):
        texts = tuple(caption.text for image in row.renderings for caption in captions.get(image, ()))
        if row.sha256 in there and texts:
            found.append(Example(row.sha256, row.family, texts))
        else:
            gone += 1
    if gone:
        logger.warning(
            "%d locked adapters are withdrawn or have no captions; training goes on without them", gone
        )
    if not found:
        raise MissingArtifact(
            "data/training.jsonl has no training adapter with captions: move dataset.train_until in "
            "params.yaml so that it covers adapters of the catalog, then run `dvc repro`"
        )
    return found


def build(
    root: Path, params: EncoderParams, transformer: Mapping[str, Any], text_encoder: TextEncoder
) -> Encoder:
    """Return an untrained encoder for the pool and this text encoder, drawn by the seed.

    transformer: config of the base model's FluxTransformer2DModel.
    Raises MismatchError when heads do not divide the text encoder's width, or sketches are of another base.
    """
    if text_encoder.width % params.heads:
        raise MismatchError(
            f"encoder.heads is {params.heads}, which does not divide the width {text_encoder.width}"
        )
    form = resolve(ENCODER, params)
    sketch = pool.load_sketch(root, examples(root)[0].sha256) if params.probe == "sketch" else None
    config = EncoderConfig(
        transformer={name: int(transformer[name]) for name in SHAPE},
        form=form,
        probe=params.probe,
        sketch=sketch.values.shape[-1] if sketch else None,
        spec=SketchSpec(sketch.values.shape[-1]).key if sketch else None,
        width=text_encoder.width,
        layers=params.layers,
        heads=params.heads,
        hidden=params.mlp_ratio * text_encoder.width,
        dropout=params.dropout if form.regularize else 0.0,
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
    learned: Sequence[Example],
    read: Callable[[str], Updates],
    text_encoder: TextEncoder,
    params: EncoderParams,
) -> Iterator[Step]:
    """Train the encoder in place by Eq. 3, the text encoder frozen; yield after each step.

    read: adapter sha256 -> a batch of one. Seeded: the same inputs on the same kind of CPU give the same weights.
    """
    form = encoder.config.form
    torch.manual_seed(params.seed)
    draw = torch.Generator().manual_seed(params.seed)
    texts = _Texts.of(learned, text_encoder)
    families = torch.tensor(_labels([example.family for example in learned]))
    if form.center:
        encoder.text_center.copy_(texts.center())
    device = encoder.positions.device
    temperature = Temperature(form.temperature, form.temperature_learned).to(device)
    optimizer, schedule = _optimizer([*encoder.parameters(), *temperature.parameters()], params, form)
    encoder.train()
    for number in range(1, params.steps + 1):
        chosen, said = _draw(texts, form, params.batch, draw)
        batch = join([read(learned[int(i)].sha256) for i in chosen])
        if form.regularize:
            batch = _augmented(batch, params, form, draw)
        batch = batch.to(device)
        same = alike(families[chosen], said) if form.negatives == "others" else torch.eye(len(chosen)) > 0
        loss = contrastive_loss(
            encoder.embed_text(texts.features[said].to(device)),
            encoder.embed(batch.values, batch.present),
            temperature(),
            same.to(device),
            form.loss_factor,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        if form.clip:
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield Step(number, params.steps, loss.item(), temperature().item())
    encoder.eval()


@dataclass(frozen=True, slots=True)
class _Texts:
    """The features of all captions, and which of them belong to which adapter."""

    features: Tensor
    """(T, d), one a distinct text"""
    of_adapter: tuple[Tensor, ...]
    """adapter -> rows of features, as often as the text was said"""

    @classmethod
    def of(cls, learned: Sequence[Example], text_encoder: TextEncoder) -> Self:
        distinct = sorted({text for example in learned for text in example.texts})
        place = {text: i for i, text in enumerate(distinct)}
        rows = tuple(torch.tensor([place[text] for text in example.texts]) for example in learned)
        return cls(text_encoder.encode(distinct).float(), rows)

    def center(self) -> Tensor:
        """Return the mean (d,) over adapters of the mean over their texts."""
        return torch.stack([self.features[rows].mean(0) for rows in self.of_adapter]).mean(0)

    def draw(self, adapters: Tensor, generator: torch.Generator) -> Tensor:
        """Return one text (row of features) for each of these adapters (N,)."""
        picks = [self.of_adapter[int(i)] for i in adapters]
        return torch.stack([rows[torch.randint(len(rows), (), generator=generator)] for rows in picks])


def _draw(texts: _Texts, form: EncoderForm, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a batch: adapters (N,) and, for each, one of its texts (row of features)."""
    if form.draw == "adapters":
        chosen = torch.randperm(len(texts.of_adapter), generator=generator)[:count]
        return chosen, texts.draw(chosen, generator)
    owners = torch.cat([torch.full_like(rows, i) for i, rows in enumerate(texts.of_adapter)])
    picks = torch.randint(len(owners), (count,), generator=generator)
    return owners[picks], torch.cat(texts.of_adapter)[picks]


def _augmented(
    batch: Updates, params: EncoderParams, form: EncoderForm, generator: torch.Generator
) -> Updates:
    """Return the batch, noised, with some slots hidden where the form can hide them."""
    values = batch.values
    if isinstance(values, Tensor):
        values = _noised(values, params.sketch_noise, generator)
    else:
        values = tuple(_disturbed(down, up, params.sketch_noise, generator) for down, up in values)
    if form.absent != "mask":
        return Updates(values, batch.present)
    kept = batch.present & (torch.rand(batch.present.shape, generator=generator) >= params.slot_dropout)
    return Updates(values, torch.where(kept.any(1, keepdim=True), kept, batch.present))


def _noised(values: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Return sketches (N, S, m, p) with noise of `level` times a slot's own size."""
    noise = torch.randn(values.shape, generator=generator)
    size: Tensor = values.flatten(2).norm(dim=-1) / values[0, 0].numel() ** 0.5
    return values + level * size[..., None, None] * noise


def _disturbed(down: Tensor, up: Tensor, level: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return stacked factors with a random update, of `level` times a slot's own norm, in further ranks."""
    more_down = torch.randn(*down.shape[:2], NOISE_RANK, down.shape[3], generator=generator)
    more_up = torch.randn(*up.shape[:3], NOISE_RANK, generator=generator)
    size = level * norms(down, up) / (NOISE_RANK * down.shape[3] * up.shape[2]) ** 0.5
    return torch.cat((down, more_down), 2), torch.cat((up, size[..., None, None] * more_up), 3)


def _optimizer(
    weights: Sequence[torch.nn.Parameter], params: EncoderParams, form: EncoderForm
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and its rate: constant, or rising for a tenth of the steps and falling along a cosine."""
    optimizer = torch.optim.AdamW(weights, lr=params.learning_rate, weight_decay=params.weight_decay)

    def rate(step: int) -> float:
        if form.schedule == "constant":
            return 1.0
        done = step / params.steps
        return min(1.0, (step + 1) / (WARM_UP * params.steps)) * (1 + math.cos(math.pi * done)) / 2

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _labels(names: Sequence[str]) -> list[int]:
    """Return a number for each name, equal for equal names."""
    known = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [known[name] for name in names]
