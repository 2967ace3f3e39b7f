"""What the passes through the models do, counted on the meta device: per training step, per image, per text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, concatenate
from autolora.encoder.loss import Temperature, contrastive_loss
from autolora.encoder.transformer import TransformerEncoder
from autolora.fusion import store as fusion
from autolora.fusion.flow_matching import NoisedBatch, predict_velocity
from autolora.fusion.install import Attachment, fused
from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import Sketch
from autolora.lora.slots import Slot, hidden_size, slots
from autolora.params import FusionParams, GenerationParams
from autolora.planning.meta_models import MetaPipeline, weight_bytes
from autolora.planning.tally import Tally, count
from autolora.presets.fusion import FusionVariant

PX_PER_TOKEN = 16
"""side of the square of pixels that one image token of the transformer stands for"""
VAE_SCALE = 8
"""side of the square of pixels that one latent of the autoencoder stands for"""
TILES = 5
"""of a LLaVA-NeXT: an overview and a grid of two by two"""


def training_step(pipeline: MetaPipeline, params: FusionParams, text_tokens: int, rank: int) -> Tally:
    """Return what one step of the gates' training does, with a target and an interfering adapter of a rank."""
    tokens, variant = (params.image_size // PX_PER_TOKEN) ** 2, params.variant

    def run(transformer: Any, *, backward: bool) -> None:
        batch = noised_batch(transformer, params.batch, tokens, text_tokens)
        with _gated(transformer, 2, rank, variant):
            loss = functional.mse_loss(
                predict_velocity(transformer, batch, 1.0).float(), batch.velocity.float()
            )
            if backward:
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own

    plain = _over_blocks(pipeline, lambda transformer: run(transformer, backward=True))
    if not params.checkpointing:
        return plain.total
    forward = _over_blocks(pipeline, lambda transformer: run(transformer, backward=False)).total
    kept = params.batch * (tokens + text_tokens) * hidden_size(pipeline.transformer.config) * plain.blocks
    peak = plain.ends.peak + plain.largest + kept * pipeline.dtype.itemsize
    return replace(plain.total + forward, peak=peak)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderTraining:
    """What the training of the encoder's transformer does and holds; sizes in bytes."""

    batch: int
    """adapters of a step"""
    parameters: int
    weights: int
    adapter: int
    """an adapter as the encoder reads it: its sketch, or its factors in float32"""
    read: Tally
    """make one of what is on disk, in the machine's memory"""
    stack: Tally
    """make a batch, in the machine's memory"""
    step: Tally
    """one step; its peak has gradients and AdamW's moments, and neither weights nor batch"""

    def kept(self, adapters: int, max_bytes: int) -> tuple[int, float]:
        """Return how many of the training's adapters are kept, and how many others a batch has in the mean."""
        kept = min(adapters, max_bytes // self.adapter)
        return kept, self.batch * (1 - kept / adapters)

    @property
    def on_device(self) -> float:
        """The bytes beside the weights where the training runs."""
        return self.step.peak + self.batch * self.adapter

    def on_host(self, adapters: int, max_bytes: int) -> float:
        """The bytes in the machine's memory: adapters that are kept, those of a batch, and the batch made of them."""
        return sum(self.kept(adapters, max_bytes)) * self.adapter + self.stack.peak


def encoder_training(config: EncoderConfig, rank: int, batch: int, is_gpu: bool) -> EncoderTraining:
    """Return what the training of a transformer by its variant does, with files of a rank in 16 bits."""
    adapters = list[AdapterBatch]()
    with torch.device("meta"):
        encoder = TransformerEncoder(config)
        stored = _stored(config, rank)
    read = count(lambda: adapters.append(stored()))
    (adapter,) = adapters
    one, two = (count(partial(concatenate, [adapter] * number)) for number in (1, 2))
    return EncoderTraining(
        batch=batch,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        weights=weight_bytes(encoder),
        adapter=adapter.nbytes,
        read=read,
        stack=(one + (two - one) * (batch - 1)),
        step=_encoder_step(encoder, adapter, batch, is_gpu),
    )


def _stored(config: EncoderConfig, rank: int) -> Callable[[], AdapterBatch]:
    """Return the function that makes an encoder's input of a sketch or a file, which are there already."""
    if config.sketch_size is not None:
        size = len(config.canonical)
        sketch = Sketch(
            torch.zeros(size, config.sketch_size, config.sketch_size), torch.ones(size, dtype=torch.bool)
        )
        return lambda: config.sketch_to_batch(sketch)
    lora = _lora(config.canonical, rank, torch.bfloat16)
    return lambda: config.lora_to_batch(lora)


def _encoder_step(encoder: TransformerEncoder, adapter: AdapterBatch, size: int, is_gpu: bool) -> Tally:
    """Return what a step does with a batch of a size; on a GPU AdamW updates all weights together."""
    variant, width = encoder.config.variant, encoder.config.width

    def repeat(tensor: Tensor) -> Tensor:
        return tensor.new_empty(size, *tensor.shape[1:])

    batch = AdapterBatch(*tree_map(repeat, (adapter.values, adapter.present)))
    with torch.device("meta"):
        temperature = Temperature(variant.temperature, variant.temperature_learned)
        texts = torch.zeros(size, width)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *temperature.parameters()], foreach=is_gpu)

    def run() -> None:
        vectors = encoder.embed(batch.values, batch.present)
        loss = contrastive_loss(encoder.text_map(texts), vectors, temperature(), variant.loss_factor)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()

    return count(run)


def denoising_step(
    pipeline: MetaPipeline, params: GenerationParams, adapters: int, rank: int, variant: FusionVariant | None
) -> Tally:
    """Return what one denoising step of a batch does, with a number of adapters. variant: of gates; None sums."""
    side = math.isqrt(params.width * params.height) // PX_PER_TOKEN  # `predict_velocity` takes square images

    def run(transformer: Any) -> None:
        batch = noised_batch(transformer, params.batch, side**2, params.max_sequence_length)
        with torch.no_grad(), _gated(transformer, adapters, rank, variant):
            predict_velocity(transformer, batch, params.guidance)

    return _over_blocks(pipeline, run).total


def encode_texts(pipeline: MetaPipeline, texts: int, tokens: int) -> Tally:
    """Return what both text encoders do for a batch of texts, as a prompt of T5 tokens and for CLIP."""
    t5 = pipeline.text_encoder_2
    return _no_grad(lambda: t5(torch.zeros(texts, tokens, dtype=torch.long))) + clip_texts(
        pipeline, texts, tokens
    )


def clip_texts(pipeline: MetaPipeline, texts: int, tokens: int) -> Tally:
    """Return what CLIP's text encoder does for a batch of texts of so many tokens."""
    clip = pipeline.text_encoder
    length = min(tokens, clip.config.max_position_embeddings)
    return _no_grad(lambda: clip(torch.zeros(texts, length, dtype=torch.long)))


def encode_images(pipeline: MetaPipeline, images: int, size: int) -> Tally:
    """Return what the autoencoder does to encode square images of `size` px."""
    vae = pipeline.vae
    return _no_grad(lambda: vae.encode(torch.zeros(images, 3, size, size, dtype=pipeline.dtype)))


def decode_images(pipeline: MetaPipeline, params: GenerationParams) -> Tally:
    """Return what the autoencoder does to decode a batch of images."""
    vae, sides = pipeline.vae, (params.height // VAE_SCALE, params.width // VAE_SCALE)
    shape = (params.batch, vae.config.latent_channels, *sides)
    return _no_grad(lambda: vae.decode(torch.zeros(shape, dtype=pipeline.dtype)))


def read_image(vlm: Any, images: int, image_px: float, text_tokens: int) -> Tally:
    """Return what a vision-language model does until the first token of an answer about a batch of images.

    Its vision tower, whose calls depend on the images, is counted as two operations per weight and patch.
    """
    vision = vlm.config.vision_config
    tokens = image_tokens(vlm.config, image_px)
    patches = tokens * getattr(vision, "spatial_merge_size", 1) ** 2
    tower = getattr(vlm.model, "visual", None) or vlm.model.vision_tower
    weights = sum(parameter.numel() for parameter in tower.parameters())
    seen = Tally(2.0 * weights * patches * images, weights * vlm.dtype.itemsize)
    return seen + write_tokens(vlm, images, round(tokens) + text_tokens)


def write_tokens(vlm: Any, images: int, tokens: int) -> Tally:
    """Return what a forward pass of the language model over `tokens` tokens per image does."""
    width = vlm.config.text_config.hidden_size
    return _no_grad(
        lambda: vlm.model.language_model(inputs_embeds=torch.zeros(images, tokens, width, dtype=vlm.dtype))
    )


def image_tokens(config: Any, image_px: float) -> float:
    """Return the number of tokens of an image with `image_px` pixels in the prompt of a vision-language model."""
    vision = config.vision_config
    if getattr(config, "image_grid_pinpoints", None):
        return float((vision.image_size // vision.patch_size) ** 2 * TILES)
    side = int(vision.patch_size) * int(getattr(vision, "spatial_merge_size", 1))
    return image_px / side**2


def judge_images(clip: Any, images: int) -> Tally:
    """Return what a CLIP model does for a batch of images."""
    side = clip.config.vision_config.image_size
    return _no_grad(lambda: clip.get_image_features(pixel_values=torch.zeros(images, 3, side, side)))


class _OverBlocks:
    """A computation whose cost is linear in the numbers of double and single blocks, from three small counts."""

    def __init__(self, one: Tally, two_double: Tally, two_single: Tally, double: int, single: int) -> None:
        self.blocks = double + single
        per_double, per_single = two_double - one, two_single - one
        self.ends = one - per_double - per_single
        """what does not depend on the number of blocks"""
        self.largest = max(per_double.peak, per_single.peak)
        self.total = self.ends + per_double * double + per_single * single


def _over_blocks(pipeline: MetaPipeline, run: Callable[[Any], object]) -> _OverBlocks:
    """Count a computation on the transformer: all blocks of a kind are equal, so five blocks tell the whole."""

    def counted(double: int, single: int) -> Tally:
        transformer = pipeline.build_transformer(num_layers=double, num_single_layers=single)
        return count(lambda: run(transformer))

    config = pipeline.transformer.config
    one, two_double, two_single = counted(1, 1), counted(2, 1), counted(1, 2)
    return _OverBlocks(one, two_double, two_single, config.num_layers, config.num_single_layers)


def noised_batch(transformer: Any, images: int, tokens: int, text_tokens: int) -> NoisedBatch:
    """Return a batch of noised square images with their captions."""
    config, dtype = transformer.config, transformer.dtype
    latents = torch.zeros(images, tokens, config.in_channels, dtype=dtype)
    states = torch.zeros(images, text_tokens, config.joint_attention_dim, dtype=dtype)
    pooled = torch.zeros(images, config.pooled_projection_dim, dtype=dtype)
    return NoisedBatch(
        noised=latents, velocity=latents, sigma=torch.zeros(images), states=states, pooled=pooled
    )


def _gated(transformer: Any, adapters: int, rank: int, variant: FusionVariant | None) -> Attachment:
    """Add adapters of a rank in all slots, through gates or as a sum, and the global LoRA as one more adapter.

    Without gradients the gates are frozen, as those that generate. The global LoRA itself is not computed: its
    decomposition reads values.
    """
    config, dtype = transformer.config, transformer.dtype
    loras = [_lora(slots(config), rank, dtype) for _ in range(adapters)]
    if variant is None:
        return fused(transformer, loras)
    if variant.global_rank and adapters > 1:
        loras.append(_lora(slots(config), variant.global_rank, dtype))
    gates = fusion.build(config, replace(variant, global_rank=0))
    gates.requires_grad_(torch.is_grad_enabled())
    return fused(transformer, loras, gates=gates, relevance=torch.ones(len(loras)))


def _lora(of: Sequence[Slot], rank: int, dtype: torch.dtype) -> Lora:
    """Return a LoRA of every slot, without values."""
    return {
        slot.name: Factors(
            down=torch.zeros(rank, slot.d_in, dtype=dtype),
            up=torch.zeros(slot.d_out, rank, dtype=dtype),
            scale=1.0,
        )
        for slot in of
    }


def _no_grad(run: Callable[[], object]) -> Tally:
    with torch.no_grad():
        return count(run)
