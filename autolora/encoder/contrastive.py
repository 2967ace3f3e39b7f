"""Train the transformer by Eq. 3: adapters against the captions of their renderings."""

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from autolora import processes
from autolora.checkpoint import Checkpoint, Stateful
from autolora.encoder.examples import CaptionFeatures, TrainExample
from autolora.encoder.inputs import AdapterBatch, concatenate
from autolora.encoder.loss import Temperature, contrastive_loss
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MissingArtifact
from autolora.params import EncoderParams
from autolora.presets.encoder import EncoderVariant
from autolora.wording import counted

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
    continues. The seed determines the weights on one kind of CPU. Processes train together (`autolora.processes`).
    """
    variant = encoder.config.variant
    generator = torch.Generator().manual_seed(params.seed)
    device = encoder.positions.device
    temperature = Temperature(variant.temperature, variant.temperature_learned).to(device)
    weights = [*encoder.parameters(), *temperature.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=variant.learning_rate, weight_decay=variant.weight_decay)
    parts: dict[str, Stateful] = {
        "encoder": encoder,
        "temperature": temperature,
        "optimizer": optimizer,
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
        batch = batch.to(device)
        loss = contrastive_loss(
            encoder.text_map(captions.features[texts].to(device)),
            processes.gather(encoder.embed(batch.values, batch.present)),
            temperature(),
            variant.loss_factor,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        processes.average_gradients(weights)
        optimizer.step()
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
