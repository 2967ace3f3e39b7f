"""Costs of one adapter in seconds and memory, and a check that fused sketches are the sums of their parts."""

import multiprocessing
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import Encoder, new_encoder
from autolora.lora.factors import fuse
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import Sketch, SketchSpec, signs, sketch
from autolora.lora.slots import Slot, fused_slots, slots
from autolora.params import Params, load
from bench.synthetic import AdapterSpec, PoolSpec, draw_lora, lay_out, list_adapters
from bench.timing import cpu_timed

PROFILE = Path(__file__).parents[1] / "profiles" / "flux.1-dev.yaml"
TEXT_WIDTH = 768
"""of CLIP-L, FLUX.1-dev's text encoder"""
FUSED_CHECKED = 2
"""number of adapters whose fused slots are sketched as a whole"""


def check_fused(pool_spec: PoolSpec, size: int) -> dict[str, float]:
    """Return the largest deviation of a fused slot's sketch from the sum of its parts, in millionths of an entry."""
    known, worst, checked = slots(pool_spec.transformer), 0.0, 0
    for adapter in list_adapters(pool_spec)[:FUSED_CHECKED]:
        lora = draw_lora(adapter, pool_spec)
        parts = dict(zip((s.name for s in known), sketch(lora, known, SketchSpec(size)).values, strict=True))
        for fused in fused_slots(pool_spec.transformer):
            if len(fused.parts) > 1 and (factors := fuse(lora, fused)) is not None:
                left = torch.cat([signs(f"S|{part.name}", part.d_out, size) for part in fused.parts]).T
                whole = left @ factors.up @ (factors.down @ signs(f"Q|{fused.name}", fused.d_in, size)) / size
                total = torch.stack([parts[part.name] for part in fused.parts]).sum(0)
                worst = max(worst, float((whole - total).abs().max() / whole.abs().max()))
                checked += 1
    return {"slots": checked, "millionths": worst * 1e6}


def time_sizes(pool_spec: PoolSpec, params: Params, sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return, for each m = p, the CPU seconds to sketch and to encode a LoRA of rank 16 in all slots."""
    known = slots(pool_spec.transformer)
    lora = draw_lora(_spec_of_rank(16), pool_spec)
    timings = {}
    for size in sizes:
        encoder = build_encoder(pool_spec, params, size)
        sketch(lora, known, SketchSpec(size))  # warm-up: the random bits are generated once per process
        sketching, sketched = cpu_timed(partial(sketch, lora, known, SketchSpec(size)))
        encoding, _ = cpu_timed(partial(embed, encoder, sketched))
        timings[str(size)] = {"sketch": sketching, "encode": encoding}
    return timings


def measure_largest(pool_spec: PoolSpec, rank: int, folder: Path, size: int) -> dict[str, float]:
    """Return file size and peak memory (MB) of a separate process that reads and sketches the largest adapter."""
    adapter = _spec_of_rank(rank)
    with temporary_lora_file(lay_out(draw_lora(adapter, pool_spec), adapter, pool_spec), folder) as path:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            before, after, seconds = pool.apply(measure_peak, (path, slots(pool_spec.transformer), size))
        megabytes = path.stat().st_size / 1e6
    return {"rank": rank, "file": megabytes, "before": before, "peak": after, "seconds": seconds}


def measure_peak(path: Path, known: tuple[Slot, ...], size: int) -> tuple[float, float, float]:
    """Return this process's peak memory (MB) before and after reading and sketching a file, and the CPU seconds."""
    torch.set_num_threads(1)
    bounds, before = load(PROFILE).pool, _peak()
    seconds, _ = cpu_timed(lambda: read_and_sketch(path, known, bounds, SketchSpec(size)))
    return before, _peak(), seconds


def _peak() -> float:
    status = Path("/proc/self/status").read_text()  # unlike getrusage, not inherited from the parent process
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


def _spec_of_rank(rank: int) -> AdapterSpec:
    return AdapterSpec(
        number=-1, theme=0, author=0, share=0.2, rank=rank, layout="peft", subset="all", alpha=1.0
    )


def build_encoder(pool_spec: PoolSpec, params: Params, size: int) -> Encoder:
    """Return the profile's encoder with random weights."""
    config = EncoderConfig(
        transformer=pool_spec.transformer,
        variant=replace(params.encoder.variant, probe="sketch"),
        width=TEXT_WIDTH,
        dropout=params.encoder.dropout,
        sketch_size=size,
        sketch_key=SketchSpec(size).key,
        text_encoder="none",
    )
    return new_encoder(config).eval()


def embed(encoder: Encoder, sketched: Sketch) -> Tensor:
    """Return one adapter's embedding (1, d)."""
    with torch.inference_mode():
        batch = encoder.config.sketch_to_batch(sketched)
        return encoder.embed(batch.values, batch.present)


@contextmanager
def temporary_lora_file(tensors: dict[str, Tensor], folder: Path) -> Iterator[Path]:
    """Write a LoRA file, yield its path and delete it at the end."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "adapter.safetensors"
        save_file(tensors, path)
        yield path


def name_processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
