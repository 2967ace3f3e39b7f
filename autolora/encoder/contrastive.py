"""Train the transformer by Eq. 3: adapters against the captions of their renderings."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from autolora import processes
from autolora.checkpoint import Checkpoint, Stateful
from autolora.encoder.examples import CaptionFeatures, TrainExample
from autolora.encoder.inputs import AdapterBatch, concatenate, norms
from autolora.encoder.loss import Temperature, contrastive_loss, shares_label
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MissingArtifact
from autolora.params import EncoderParams
from autolora.presets.encoder import EncoderVariant
from autolora.wording import counted

WARM_UP = 0.1
"""share of the steps in which the learning rate of the schedule `cosine` rises"""
MAX_GRAD_NORM = 1.0
NOISE_RANK = 4
"""rank of the random update that training adds to an update"""
logger = logging.getLogger(__name__)


def fit_transformer(
    encoder: TransformerEncoder,
    train_examples: Sequence[TrainExample],
    captions: CaptionFeatures,
    read: Callable[[str], AdapterBatch],
    params: EncoderParams,
    checkpoint: Checkpoint | None = None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train the encoder in place by Eq. 3, with the text encoder frozen.

    Yields the number of finished steps after each step, with its loss and temperature.
    captions: of the examples. read: adapter sha256 -> a batch of one. checkpoint: from which a killed training
    continues. The seed determines the weights on one kind of CPU. Processes train together (`autolora.processes`),
    each with noise and dropout of its own.
    """
    variant = encoder.config.variant
    generator = torch.Generator().manual_seed(params.seed)
    families = torch.tensor(_numbers([example.family for example in train_examples]))
    device = encoder.positions.device
    temperature = Temperature(variant.temperature, variant.temperature_learned).to(device)
    weights = [*encoder.parameters(), *temperature.parameters()]
    optimizer, schedule = _optimizer(weights, variant)
    parts: dict[str, Stateful] = {
        "encoder": encoder,
        "temperature": temperature,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    start = 0
    if checkpoint and (stored := checkpoint.restore(parts)):
        start = stored["step"]
        generator.set_state(stored["generator"])
        logger.info("continuing after step %d", start)
    processes.check_equal(start, "the step after which the training continues")
    batch_size = _batch_size(variant, len(train_examples))
    encoder.train()
    for step in range(start + 1, variant.steps + 1):
        adapters, texts = _sample(captions, variant, batch_size, generator)
        own = adapters[processes.part(len(adapters))]
        batch = concatenate([read(train_examples[int(i)].sha256) for i in own])
        if variant.regularize:
            torch.manual_seed(processes.own_seed(generator))
            batch = _augment(batch, variant, torch.default_generator)
        batch = batch.to(device)
        loss = contrastive_loss(
            encoder.text_map(captions.features[texts].to(device)),
            processes.gather(encoder.embed(batch.values, batch.present)),
            temperature(),
            _ignore_pairs(variant, families[adapters], texts).to(device),
            variant.loss_factor,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        processes.average_gradients(weights)
        if variant.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        if checkpoint and step < variant.steps and checkpoint.is_due():
            checkpoint.save(parts, {"step": step, "generator": generator.get_state()})
        yield step, {"loss": loss.item(), "temperature": temperature().item()}
    encoder.eval()


def _batch_size(variant: EncoderVariant, adapters: int) -> int:
    """Return how many pairs a step has: of distinct adapters as many as there are, equally many for each process.

    Raises MissingArtifact if there are fewer adapters than processes.
    """
    if variant.batch_sampling != "adapters":
        return variant.batch
    number = processes.number()
    if adapters < number:
        raise MissingArtifact(
            f"{counted(adapters, 'training adapter')} cannot be divided among {number} processes: lower "
            f"{processes.SETTING}"
        )
    return min(variant.batch, adapters) // number * number


def _sample(
    captions: CaptionFeatures, variant: EncoderVariant, count: int, generator: torch.Generator
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


def _augment(batch: AdapterBatch, variant: EncoderVariant, generator: torch.Generator) -> AdapterBatch:
    """Return the batch with noise, and with random slots hidden if the variant masks missing slots."""
    values = batch.values
    if isinstance(values, Tensor):
        values = _add_noise(values, variant.sketch_noise, generator)
    else:
        values = tuple(_add_noise_ranks(down, up, variant.sketch_noise, generator) for down, up in values)
    if variant.missing_slots != "mask":
        return AdapterBatch(values, batch.present)
    drawn = torch.rand(batch.present.shape, generator=generator)
    visible = batch.present & (drawn >= variant.slot_dropout)
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
    weights: Sequence[torch.nn.Parameter], variant: EncoderVariant
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and the schedule of its learning rate, as the variant defines them."""
    optimizer = torch.optim.AdamW(weights, lr=variant.learning_rate, weight_decay=variant.weight_decay)

    def factor(step: int) -> float:
        if variant.schedule == "constant":
            return 1.0
        done = step / variant.steps
        return min(1.0, (step + 1) / (WARM_UP * variant.steps)) * (1 + math.cos(math.pi * done)) / 2

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _numbers(names: Sequence[str]) -> list[int]:
    """Return one integer per name, equal for equal names."""
    known = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [known[name] for name in names]
