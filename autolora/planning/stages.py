"""What each stage needs: sizes times rates. Sizes are in bytes.

What a pass through a model does per token, width and block was counted with the model's own code on torch's meta
device, for FLUX.1-dev and two smaller models of its kind (`git show ef847737:autolora/planning/passes.py`).
"""

import math
import os
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from autolora.drawings.recipe import PROMPTS, Base
from autolora.encoder.inputs import KEPT_BYTES
from autolora.fusion.examples import ADAPTERS_IN_MEMORY
from autolora.fusion.training import HELD_OUT_DRAWS
from autolora.lora.slots import FusedSlot, Slot
from autolora.model_sizes import PARTS, VALUE_BYTES, image_tokens, size_of
from autolora.models import QUANTIZED_PARTS
from autolora.params import Params
from autolora.params.models import Memory
from autolora.planning.workload import Workload
from autolora.storage.files import GB

FLOAT_BYTES = 4
METHODS = ["step"], ["step", *["adapter"] * 2], ["step", *["adapter"] * 3, "gates"]
"""Passes of an experiment: of the base model, of a sum of two adapters, and of gates with their global LoRA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """What one stage needs."""

    stage: str
    seconds: float
    disk: float
    memory: float
    gpu_memory: float
    """both at the peak; the card's without the vLLM server"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all estimates read."""

    params: Params
    work: Workload
    rates: Any
    """a value for each name in rates.yaml, which describes it"""
    own_files: bool
    """whether `autolora index` runs the stages: it links to files, and trains with `--train`"""
    is_gpu: bool
    number_bytes: int
    """of a number in the precision of the pipeline"""
    slots: tuple[Slot, ...]
    seen: tuple[Slot, ...] | tuple[FusedSlot, ...]
    """the slots that a transformer reads as encoder"""
    hidden: int
    """width of the base transformer"""
    blocks: int
    width: int
    """of CLIP's features and of an adapter's vector"""
    sketch_numbers: int
    """of an adapter: slots · m · p"""
    trains_encoder: bool
    """whether the stage `encoder` fits one; own files need captions for that"""
    has_gates: bool
    """whether there are enough adapters to train gates"""
    global_lora_s: float
    """seconds to compute the global LoRA of two adapters; a step takes far longer on a processor"""

    @property
    def encoder_weights(self) -> int:
        """The number of the encoder's weights, 0 without one; a published one counts as a ridge regression."""
        variant, size = self.params.encoder.variant, int(self.params.pool.sketch_size)
        if not self.trains_encoder or not self.params.encoder.trains_transformer:
            has_one = self.trains_encoder or self.params.encoder.from_ is not None
            return self.sketch_numbers * self.width * has_one
        by_type = variant.projections == "type"
        projected = {slot.type if by_type else slot.name: slot.d_out for slot in self.seen}
        inputs = sum(projected.values()) if variant.probe == "full" else len(projected) * size
        return inputs * self.width + 12 * variant.layers * self.width**2

    def weights(self, *parts: str) -> float:
        """Return the number of weights of parts of the pipeline."""
        models = self.params.models
        return sum(size_of(models.pipeline, models.pipeline_revision, part)[1] for part in parts)

    def states(self, images: int, px: float) -> float:
        """Return the numbers of a hidden state of the transformer, for images and their captions."""
        return images * (px / 256 + self.params.generation.max_sequence_length) * self.hidden

    def compute_s(self, flops: float, traffic: float = 0.0, calls: float = 0.0) -> float:
        """Return how long a computation takes. A GPU works while the processor prepares the next calls."""
        device, bits = ("gpu" if self.is_gpu else "cpu"), 8 * self.number_bytes
        threads = 1 if self.is_gpu else self.params.models.threads or os.cpu_count() or 1
        speed = getattr(self.rates, f"{device}_{bits}_bit_flops_per_s") * threads
        work = flops / speed + traffic / getattr(self.rates, f"{device}_bytes_per_s")
        called = calls * self.rates.call_s
        return float(max(work, called) if self.is_gpu else work + called)

    def pass_s(self, images: int, px: float, number_bytes: int, *names: str) -> float:
        """Return the seconds of passes of rates.yaml through the transformer, for a batch of images and captions."""
        passes = [getattr(self.rates, name) for name in names]
        flops, traffic, calls = (sum(values) for values in zip(*passes, strict=True))
        states = self.states(images, px) * self.blocks
        operations = states * (24 * self.hidden + 4 * self.states(1, px) / self.hidden)
        traffic = states * number_bytes * traffic + self.weights("transformer") * self.number_bytes * flops
        return self.compute_s(operations * flops, traffic, self.blocks * calls)

    def texts_s(self, texts: int, tokens: float = 0.0) -> float:
        """Return the seconds in which CLIP encodes captions, and further tokens."""
        tokens += texts * self.rates.caption_length * self.params.captions.max_tokens
        return self.compute_s(2 * self.rates.clip_share * self.weights("text_encoder") * tokens)

    def cost(
        self, stage: str, seconds: float = 0.0, disk: float = 0.0, *, loaded: float = 0.0, transient: float = 0.0,
        tables: float = 0.0, processes: int = 1,
    ) -> StageCost:  # fmt: skip
        """Return what a stage needs, with its start and the loading of weights, which reach a card through the machine.

        tables: what stays in the machine's memory. processes: each has all of that, on a card of its own.
        """
        rates = self.rates
        started = 0.0 if self.own_files else rates.stage_start_s  # `autolora index` is one process
        started += rates.model_import_s + loaded / rates.disk_bytes_per_s if loaded else 0.0
        memory = (rates.process_bytes if loaded else rates.light_process_bytes) + tables + loaded
        return StageCost(
            stage=stage, seconds=started + seconds, disk=disk,
            memory=processes * (memory if self.is_gpu else memory + transient),
            gpu_memory=loaded + transient if self.is_gpu else 0.0,
        )  # fmt: skip


def crawl(s: Setting) -> StageCost:
    """List the hub's models, and request those that are admitted."""
    seconds = s.rates.doctor_s + s.work.adapters / s.params.hubs.requests_per_s
    return s.cost("crawl", seconds, s.work.adapters * s.rates.catalog_adapter_bytes)


def pool(s: Setting) -> StageCost:
    """Download weights and images, or link to one's own; read and sketch the weights, encode the images again."""
    work, hubs, keep = s.work, s.params.hubs, s.params.storage.keep_local_gb
    files, pixels = work.adapters * work.file_bytes, work.images * work.image_px
    batches = (files + pixels * s.rates.png_bytes_per_px) * (not s.own_files)
    requests = (work.adapters + work.images) / hubs.requests_per_s * (not s.own_files)
    download = batches / min(s.rates.network_bytes_per_s, (hubs.max_mb_per_s or math.inf) * 1e6)
    compute = files / s.rates.read_bytes_per_s + pixels / s.rates.image_px_per_s
    kept = math.inf if keep is None else keep * GB + batches / work.nights  # a refresh evicts after it stores
    each = s.sketch_numbers * VALUE_BYTES + s.rates.catalog_adapter_bytes
    return s.cost(
        "pool", max(requests, download, compute / min(hubs.downloads, os.cpu_count() or 1)),
        min(batches, kept) + work.adapters * each, tables=hubs.downloads * work.file_bytes,
    )  # fmt: skip


def drawings(s: Setting) -> StageCost:
    """Draw the images of adapters without renderings, all of one adapter at once."""
    if not s.work.drawing:
        return s.cost("drawings")
    settings, images = Base.of(s.params).generation, s.work.drawing * len(PROMPTS)
    px, memory = settings.width * settings.height, s.params.models.memory
    step = s.pass_s(settings.batch, px, s.number_bytes, "step", "adapter") / settings.batch
    texts, decode = s.weights("text_encoder_2") * settings.max_sequence_length, s.rates.vae_decode_flops * px
    each = settings.steps * step + s.compute_s(2 * texts + decode * s.weights("vae"))
    loaded = s.weights(*PARTS) * s.number_bytes
    peak = drawing_bytes(s, memory, px, settings.batch, s.rates.step_peak)
    return s.cost(
        "drawings", images * each, images * px * s.rates.png_bytes_per_px,
        loaded=loaded, transient=2 * s.work.file_bytes + peak - loaded,
    )  # fmt: skip


def captions(s: Setting) -> StageCost:
    """Caption every image once per length: an image is read at once, tokens are written one after the other."""
    work, section, models = s.work, s.params.captions, s.params.models
    if not section.engine:
        return s.cost("captions")
    is_local, numbers = section.engine == "transformers", size_of(models.vlm, models.vlm_revision)[1]
    px = min(work.image_px, section.max_image_side**2)
    tokens = image_tokens(models.vlm, px) + s.rates.instruction_tokens
    reads = work.captions if is_local else work.images  # vLLM keeps what it computed for an image
    written = work.captions * section.max_tokens * s.rates.caption_length
    loaded, steps = numbers * s.number_bytes, written / section.batch
    seconds = s.compute_s(2 * numbers * (reads * tokens + written), steps * loaded, steps * s.rates.vlm_calls)
    return s.cost("captions", seconds, work.captions * s.rates.caption_bytes, loaded=loaded * is_local)


def dataset(s: Setting) -> StageCost:
    """Join metadata, captions, families and splits."""
    adapters, rates = s.work.adapters, s.rates
    return s.cost(
        "dataset", adapters * rates.dataset_adapter_s, adapters * rates.dataset_adapter_bytes,
        tables=adapters * rates.table_adapter_bytes,
    )  # fmt: skip


def encoder(s: Setting) -> StageCost:
    """Fit the encoder to the training adapters and their captions: a ridge regression, or a transformer, of whose
    adapters the first that are read are kept, and the others of a batch are read for each step."""
    adapters, variant, rates = s.work.training_adapters, s.params.encoder.variant, s.rates
    weights, clip = s.encoder_weights * FLOAT_BYTES, s.weights("text_encoder") * FLOAT_BYTES
    if not s.trains_encoder:
        return s.cost("encoder", disk=weights)
    texts = round(s.work.captions * adapters / s.work.adapters)
    seconds = s.texts_s(texts, rates.calibration_tokens) + rates.calibration_s
    if not s.params.encoder.trains_transformer:
        landmarks = min(adapters, variant.landmarks)
        products = 2.0 * s.sketch_numbers * landmarks * (adapters + landmarks + s.width)
        held = clip + weights + s.sketch_numbers * landmarks * FLOAT_BYTES
        seconds += s.compute_s(products) * rates.ridge_overhead
        return s.cost("encoder", seconds, weights, loaded=held)
    batch = min(variant.batch, adapters) if variant.batch_sampling == "adapters" else variant.batch
    batch = max(1, batch // s.params.operation.processes)
    sketch = len(s.seen) * int(s.params.pool.sketch_size) ** 2 * FLOAT_BYTES
    size = rates.fused_bytes * s.work.file_bytes if variant.probe == "full" else sketch
    kept = min(adapters, KEPT_BYTES // size)
    again = batch * (1 - kept / adapters)
    states = batch * len(s.seen) * s.width * variant.layers
    peak = rates.encoder_peak * states * FLOAT_BYTES
    step = s.compute_s(72 * states * s.width, 4 * weights + 9 * peak) + again * _read_s(s)
    step += rates.batch_moves * batch * size / rates.memory_bytes_per_s
    return s.cost(
        "encoder", seconds + variant.steps * step + kept * _read_s(s), weights, loaded=weights + clip,
        tables=(kept + again + batch) * size, processes=s.params.operation.processes,
        transient=3 * weights + max(s.is_gpu * weights, peak) + batch * size,  # on a GPU, AdamW copies all weights
    )  # fmt: skip


def _read_s(s: Setting) -> float:
    """Return the seconds to read an adapter as the encoder does."""
    if s.params.encoder.trains_transformer and s.params.encoder.variant.probe == "full":
        fused = s.rates.fusing_moves / s.rates.memory_bytes_per_s
        return float(s.work.file_bytes * (1 / s.rates.disk_bytes_per_s + fused))
    return float(s.sketch_numbers * VALUE_BYTES / s.rates.disk_bytes_per_s)


def index(s: Setting) -> StageCost:
    """Embed every adapter and its captions; without an encoder, also two texts about each that names and files give."""
    work, rates, language = s.work, s.rates, s.params.encoder.has_language
    embedded = work.adapters if s.encoder_weights else 0
    said = work.captions + 2 * (work.adapters - embedded)
    seconds = embedded * _read_s(s) + s.compute_s(2 * embedded * s.encoder_weights) + s.texts_s(work.captions)
    seconds += work.adapters * rates.index_adapter_s + language * said * rates.language_text_s
    disk = work.adapters * (2 * s.width * FLOAT_BYTES + rates.index_adapter_bytes)
    return s.cost(
        "index", seconds, disk + language * rates.sentence_encoder_bytes,
        tables=work.adapters * rates.table_adapter_bytes,
        loaded=(s.encoder_weights + s.weights("text_encoder")) * FLOAT_BYTES,
    )  # fmt: skip


def evaluation(s: Setting) -> StageCost:
    """Search with the captions of unseen adapters."""
    seconds = s.texts_s(s.work.captions) + s.work.adapters * s.rates.evaluation_adapter_s
    tables = s.work.adapters * s.rates.table_adapter_bytes
    return s.cost("evaluation", seconds, loaded=s.weights("text_encoder") * FLOAT_BYTES, tables=tables)


def fusion(s: Setting) -> StageCost:
    """Train the gates, one target adapter's images per step; files that are not kept are read for each step."""
    section, work = s.params.fusion, s.work
    gates = s.rates.gate_weights * FLOAT_BYTES * sum(slot.d_out for slot in s.slots)
    if not s.has_gates:
        return s.cost("fusion")
    batch, loaded = max(1, section.batch // s.params.operation.processes), s.weights(*PARTS) * s.number_bytes
    kept, px = min(ADAPTERS_IN_MEMORY, work.training_adapters), section.image_size**2
    read = section.steps if work.training_adapters > kept else min(section.steps, kept)
    images = s.rates.vae_encode_flops * s.weights("vae") * px * work.images / work.adapters
    texts = min(section.steps * batch, work.captions) * s.params.generation.max_sequence_length
    encode = s.compute_s(read * images + 2 * s.weights("text_encoder_2") * texts)
    measured = section.steps / section.validate_every + 1 if section.validate_every else 0.0
    passes = ["training_step", "recomputed_step"] if section.checkpointing else ["training_step"]
    step = s.pass_s(batch, px, FLOAT_BYTES, *passes) + (1 - section.variant.single_share) * s.global_lora_s
    steps = section.steps + measured * HELD_OUT_DRAWS / 3  # a backward pass takes two thirds of a step
    numbers = s.rates.training_peak * (1 if section.checkpointing else s.blocks)
    numbers += s.rates.training_ends_peak + s.blocks if section.checkpointing else 0
    return s.cost(
        "fusion", steps * step + encode + read * 2 * work.file_bytes / s.rates.disk_bytes_per_s, gates, loaded=loaded,
        transient=4 * gates + 2 * work.file_bytes + s.states(batch, px) * numbers * FLOAT_BYTES,  # AdamW: 4 per weight
        tables=kept * work.file_bytes, processes=s.params.operation.processes,
    )  # fmt: skip


def experiments(s: Setting) -> StageCost:
    """Generate the images of adapter pairs by every method, and score them by both judges."""
    section, judges, settings = s.params.experiments, s.params.judges, s.params.generation
    pairs = min(section.pairs, math.comb(s.work.adapters, 2)) if s.has_gates else 0
    if not pairs:
        return s.cost("experiments")
    cases, images = 4 * pairs, 4 * pairs * len(METHODS) * section.images  # both adapters, each alone, neither
    batch, px = min(settings.batch, section.images), settings.width * settings.height
    tokens = image_tokens(judges.vlm, px) + s.rates.instruction_tokens
    judge, memory = size_of(judges.vlm, judges.vlm_revision)[1], s.params.models.memory
    passes = [s.pass_s(batch, px, s.number_bytes, *method) for method in METHODS]
    steps = fmean(passes) * settings.steps
    texts, decode = s.weights("text_encoder_2") * settings.max_sequence_length, s.rates.vae_decode_flops * px
    each = steps / batch + s.compute_s(2 * texts + decode * s.weights("vae") + 2 * judge * tokens)
    scorers = judge * s.number_bytes + size_of(judges.clip, judges.clip_revision)[0]
    scoring = s.rates.judge_peak * judge**0.5 * judges.batch * tokens * s.number_bytes
    peak = max(
        drawing_bytes(s, memory, px, batch, s.rates.gates_peak), drawing_bytes(s, memory, px, 0, 0) + scoring
    )
    loaded = scorers + s.weights(*PARTS) * s.number_bytes
    return s.cost(
        "experiments", images * each + cases * s.global_lora_s, images * min(256**2, px) * s.rates.png_bytes_per_px,
        loaded=loaded, transient=scorers + 2 * s.work.file_bytes + peak - loaded,
    )  # fmt: skip


def drawing_bytes(s: Setting, memory: Memory | None, px: int, images: int, numbers: float) -> float:
    """Return the most bytes of the device while images are drawn, without adapters; for no image, of what stays there.

    memory: as in params.yaml. px: of an image. numbers: of a denoising step, per token and width.
    """
    resident = 0.0
    for part in PARTS if memory not in ("offload", "sequential") else ():
        saved = s.number_bytes - getattr(s.rates, f"quantized_{memory}_bytes", s.number_bytes)
        share = getattr(s.rates, f"{part}_quantized") if part in QUANTIZED_PARTS else 0.0
        resident += s.weights(part) * (s.number_bytes - share * saved)
    beside = {"text_encoder_2": 0.0, "transformer": s.states(images, px) * numbers}
    beside["vae"] = images * s.rates.vae_decode_peak * s.weights("vae") ** 0.5 * px
    moved = 1 if memory == "offload" and images else 0  # a part at a time; with `sequential` a layer
    return max(resident + (moved * s.weights(part) + size) * s.number_bytes for part, size in beside.items())
