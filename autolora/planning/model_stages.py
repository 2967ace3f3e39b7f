"""Estimates of the stages that train and measure models: encoder, fusion, experiments."""

import math
from dataclasses import dataclass, replace

import torch

from autolora.encoder.inputs import KEPT_BYTES
from autolora.fusion import store as fusion_store
from autolora.fusion.examples import ADAPTERS_IN_MEMORY, IMAGES_IN_MEMORY, TEXTS_IN_MEMORY
from autolora.fusion.gate import COEFFICIENTS
from autolora.fusion.training import HELD_OUT_DRAWS
from autolora.params import GenerationParams
from autolora.planning import passes
from autolora.planning.cost import NUMBER_BYTES, Setting, StageCost
from autolora.planning.data_stages import (
    INSTRUCTION_TOKENS,
    encode_all_texts,
    in_batch,
)
from autolora.planning.drawing import drawing_bytes, resident_bytes
from autolora.planning.meta_models import weight_bytes
from autolora.planning.passes import EncoderTraining
from autolora.planning.tally import Tally
from autolora.wording import counted

CALIBRATION_TEXTS, CALIBRATION_TOKENS = 6000, 12
"""everyday phrases and parts of prompts, by which relevance is fitted, as counted on the playground"""
FORWARD_SHARE = 1 / 3
"""of a training step: a backward pass takes twice the time of a forward pass"""
OPTIMIZER_NUMBERS = 4
"""of a trained weight in float32: itself, its gradient and AdamW's two moments"""
EIGEN_FLOPS = 10
"""operations of an eigendecomposition, per cube of the matrix's side"""
CASES_PER_PAIR = 4
"""of an experiment: both adapters, each alone, and neither"""
IMAGES_PER_CASE = 3
"""methods of an experiment whose images differ: no adapters, their sum, the gates; `selected` equals one of them"""
ADAPTERS_PER_CASE = 2
GRID_PX = 256
"""largest side of an image that an experiment keeps"""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the fit of the encoder needs; sizes in bytes."""

    seconds: float
    weights: float
    does: str
    transient: float = 0.0
    """beside the weights, on the device"""
    host: float = 0.0
    """in the machine's memory, whatever the device is"""


def encoder(setting: Setting) -> StageCost:
    """Fit the encoder to the training adapters and their captions."""
    work = setting.work
    captions = round(work.training_adapters * work.images_per_adapter * work.lengths)
    texts = encode_all_texts(setting, captions) + encode_all_texts(
        setting, CALIBRATION_TEXTS, CALIBRATION_TOKENS
    )
    texts += setting.rate("calibration_s")
    reason = "a published one" if setting.has_encoder else "no encoder (encoder.from, captions.engine)"
    fit = Fit(0.0, setting.encoder_bytes, f"none: {reason}")
    if setting.trains_encoder and not work.training_adapters:
        fit = replace(fit, does="none: no training adapter")
    elif setting.trains_encoder:
        training = setting.encoder_training
        fit = _fit_transformer(setting, training) if training else _fit_ridge(setting)
    place = setting.place_training if setting.encoder_training else setting.place
    memory, gpu_memory = place(fit.weights + setting.text_encoder_bytes, fit.transient, fit.host)
    return StageCost(
        stage="encoder",
        does=fit.does,
        seconds=setting.start_s + setting.load_s(0) + (texts if setting.trains_encoder else 0) + fit.seconds,
        disk=setting.encoder_bytes,
        memory=memory,
        gpu_memory=gpu_memory,
    )


def _nothing(setting: Setting, stage: str, reason: str) -> StageCost:
    """Return the estimate of a stage that starts and has nothing to do."""
    memory = setting.rate("process_bytes")
    return StageCost(stage=stage, does=f"none: {reason}", seconds=setting.start_s, memory=memory)


def _fit_ridge(setting: Setting) -> Fit:
    """Return what the ridge regression needs: its products with the landmarks dominate."""
    adapters, numbers = setting.work.training_adapters, setting.sketch_numbers
    landmarks = min(adapters, setting.params.encoder.variant.landmarks)
    flops = 2.0 * numbers * landmarks * (adapters + landmarks + setting.text_width)
    read = (adapters + landmarks) * setting.sketch_bytes / setting.rate("disk_bytes_per_s")
    solve = EIGEN_FLOPS * landmarks**3 / setting.rate("cpu_decomposition_flops_per_s")
    seconds = setting.machine.seconds(Tally(flops)) * setting.rate("ridge_overhead") + read + solve
    held = numbers * (landmarks + setting.text_width) * NUMBER_BYTES
    features = 3 * adapters * landmarks * 2 * NUMBER_BYTES  # in double precision
    does = f"ridge regression of {counted(adapters, 'adapter')} on {counted(landmarks, 'landmark')}"
    return Fit(seconds, held + features, does)


def _fit_transformer(setting: Setting, training: EncoderTraining) -> Fit:
    """Return what the training of a transformer needs. The first adapters that are read are kept in memory, and the
    others of a batch are read for each step."""
    steps, adapters = setting.params.encoder.variant.steps, setting.work.training_adapters
    kept, read_again = training.kept(adapters, KEPT_BYTES)
    step = (setting.machine.seconds(training.step) + setting.host_s(training.stack)) * setting.crowding
    return Fit(
        seconds=steps * step + (kept + steps * read_again) * setting.read_adapter_s,
        weights=training.weights,
        does=f"{steps:,} steps of {counted(training.batch, 'adapter')} of {training.adapter / 1e6:,.4g} MB"
        f"{setting.in_each_process}, {training.parameters:,} weights",
        transient=training.on_device,
        host=training.on_host(adapters, KEPT_BYTES),
    )


def fusion(setting: Setting) -> StageCost:
    """Train the gates, one target adapter's images per step."""
    params, work = setting.params.fusion, setting.work
    gates = _gate_numbers(setting)
    if not work.can_train_gates:
        return _nothing(setting, "fusion", "too few training adapters")
    part = replace(params, batch=setting.part(params.batch))
    step = passes.training_step(
        setting.pipeline, part, setting.params.generation.max_sequence_length, work.rank
    )
    in_memory = min(ADAPTERS_IN_MEMORY, work.training_adapters)
    trained = gates * OPTIMIZER_NUMBERS * NUMBER_BYTES
    memory, gpu_memory = setting.place_training(
        setting.pipeline.size,
        trained + 2 * work.file_bytes + step.peak,
        in_memory * work.file_bytes + _encoded_bytes(setting),
    )
    measurements = params.steps / params.validate_every + 1 if params.validate_every else 0
    held_out = measurements * HELD_OUT_DRAWS * FORWARD_SHARE
    seconds = setting.machine.seconds(step) * setting.crowding
    train = (params.steps + held_out) * seconds + _reading_seconds(setting, in_memory)
    joint = params.steps * (1 - params.variant.single_share) * _global_lora_seconds(setting)
    return StageCost(
        stage="fusion",
        does=f"{params.steps:,} steps of batch {part.batch} at {params.image_size} px{setting.in_each_process}",
        seconds=setting.start_s + setting.load_s(setting.pipeline.size) + train + joint,
        disk=gates * NUMBER_BYTES,
        memory=memory,
        gpu_memory=gpu_memory,
    )


def _reading_seconds(setting: Setting, in_memory: int) -> float:
    """Return the seconds to read the adapters of all steps and to encode their images, again if they are not in memory
    any more, and to encode each caption once."""
    params, work = setting.params.fusion, setting.work
    tokens = setting.params.generation.max_sequence_length
    times = params.steps if work.training_adapters > in_memory else min(params.steps, work.training_adapters)
    texts = passes.encode_texts(setting.pipeline, 1, tokens) * _captions_used(setting)
    images = passes.encode_images(setting.pipeline, 1, params.image_size) * work.images_per_adapter
    read = 2 * work.file_bytes / setting.rate("disk_bytes_per_s")
    return times * (setting.machine.seconds(images) + read) + setting.machine.seconds(texts)


def _captions_used(setting: Setting) -> int:
    """Return the number of captions that a training of the gates uses."""
    params, work = setting.params.fusion, setting.work
    return min(
        params.steps * params.batch, round(work.training_adapters * work.images_per_adapter * work.lengths)
    )


def experiments(setting: Setting) -> StageCost:
    """Generate the images of adapter pairs by every method, and score them."""
    params, settings = setting.params.experiments, setting.params.generation
    generation = replace(settings, batch=min(settings.batch, params.images))
    has_gates = setting.work.can_train_gates
    pairs = min(params.pairs, math.comb(setting.work.adapters, ADAPTERS_PER_CASE)) if has_gates else 0
    if not pairs:
        return _nothing(setting, "experiments", "too few adapters")
    cases = pairs * CASES_PER_PAIR
    images = cases * IMAGES_PER_CASE * params.images
    per_batch, peaks = _generation_seconds(setting, generation)
    score, judges, judge_peak = _judging(setting, images)
    weights = setting.pipeline.size + judges
    added = _frozen_gate_bytes(setting) + ADAPTERS_PER_CASE * setting.work.file_bytes
    memory, gpu_memory = setting.place(weights, added + max(*peaks, judge_peak))
    if setting.machine.is_gpu:
        kind = setting.params.models.memory
        drawing = drawing_bytes(setting.pipeline, kind, *peaks)
        gpu_memory = judges + added + max(drawing, resident_bytes(setting.pipeline, kind) + judge_peak)
    generate = math.ceil(images / generation.batch) * per_batch
    px = min(GRID_PX**2, generation.width * generation.height)
    return StageCost(
        stage="experiments",
        does=f"{images:,} images of {generation.width} × {generation.height} px in {generation.steps} steps",
        seconds=setting.start_s
        + setting.load_s(weights)
        + generate
        + score
        + cases * _global_lora_seconds(setting),
        disk=images * px * setting.rate("png_bytes_per_px"),
        memory=memory,
        gpu_memory=gpu_memory,
    )


def _generation_seconds(
    setting: Setting, generation: GenerationParams
) -> tuple[float, tuple[float, float, float]]:
    """Return the seconds of a batch of images, the mean of an experiment's methods, and the peaks of memory beside
    weights: of encoding prompts, denoising and decoding."""
    rank, pipeline, variant = setting.work.rank, setting.pipeline, setting.params.fusion.variant
    steps = [
        passes.denoising_step(pipeline, generation, 0, rank, None),
        passes.denoising_step(pipeline, generation, ADAPTERS_PER_CASE, rank, None),
        passes.denoising_step(pipeline, generation, ADAPTERS_PER_CASE, rank, variant),
    ]
    texts = passes.encode_texts(pipeline, generation.batch, generation.max_sequence_length)
    decode = passes.decode_images(pipeline, generation)
    denoise = sum(setting.machine.seconds(step) for step in steps) / len(steps) * generation.steps
    seconds = denoise + setting.machine.seconds(texts) + setting.machine.seconds(decode)
    return seconds, (texts.peak, max(step.peak for step in steps), decode.peak)


def _judging(setting: Setting, images: int) -> tuple[float, float, float]:
    """Return the seconds to score images, the weights of the judges, and the peak of memory."""
    params, generation = setting.params.judges, setting.params.generation
    px = generation.width * generation.height
    answer = passes.read_image(setting.judge, 1, px, INSTRUCTION_TOKENS)
    compare = passes.judge_images(setting.judge_clip, 1)
    batches = math.ceil(images / params.batch)
    scoring = in_batch(answer, params.batch) + in_batch(compare, params.batch)
    weights = weight_bytes(setting.judge_clip) + weight_bytes(setting.judge)
    return batches * setting.machine.seconds(scoring), weights, answer.peak * params.batch


def _gate_numbers(setting: Setting) -> int:
    """Return the number of the gates' weights."""
    with torch.device("meta"):
        gates = fusion_store.build(setting.pipeline.transformer.config, setting.params.fusion.variant)
    return sum(parameter.numel() for parameter in gates.parameters())


def _frozen_gate_bytes(setting: Setting) -> float:
    """Return the bytes of frozen gates in the precision of the pipeline, and of what `GatedPass` makes of them."""
    coefficients = COEFFICIENTS * torch.float32.itemsize * sum(slot.d_out for slot in setting.slots)
    return _gate_numbers(setting) * setting.pipeline.dtype.itemsize + coefficients


def _encoded_bytes(setting: Setting) -> float:
    """Return the bytes of the T5 states and latents that are kept in memory."""
    work, params, pipeline = setting.work, setting.params, setting.pipeline
    states = params.generation.max_sequence_length * int(pipeline.text_encoder_2.config.d_model)
    latents = (params.fusion.image_size // passes.PX_PER_TOKEN) ** 2 * int(
        pipeline.transformer.config.in_channels
    )
    texts = min(TEXTS_IN_MEMORY, _captions_used(setting))
    images = min(IMAGES_IN_MEMORY, work.training_adapters, params.fusion.steps) * work.images_per_adapter
    return (texts * states + images * latents) * pipeline.dtype.itemsize


def _global_lora_seconds(setting: Setting) -> float:
    """Return the seconds to compute the global LoRA of a set of adapters: two Gram matrices of every slot."""
    if not setting.params.fusion.variant.global_rank:
        return 0.0
    if setting.machine.is_gpu:
        return len(setting.slots) * setting.rate("gpu_decomposition_s")
    rank = ADAPTERS_PER_CASE * setting.work.rank
    flops = sum(4.0 * (slot.d_in + slot.d_out) * rank**2 for slot in setting.slots)
    return (
        flops / setting.rate("cpu_decomposition_flops_per_s")
        + len(setting.slots) * 12 * setting.machine.call_s
    )
