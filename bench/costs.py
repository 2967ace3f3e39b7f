"""What one adapter costs: seconds and memory; and whether fused sketches are the sums of their parts'."""

import multiprocessing
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.encoder.model import Encoder, EncoderConfig
from autolora.lora.factors import fuse
from autolora.lora.read import read
from autolora.lora.sketch import Sketch, SketchSpec, signs, sketch
from autolora.params import Params, load
from autolora.presets import ENCODER, resolve
from autolora.slots import Slot, fused_slots, slots
from bench.synthetic import Recipe, World, draw_lora, lay_out, write_recipes
from bench.timing import spend

PROFILE = Path(__file__).parents[1] / "profiles" / "flux.1-dev.yaml"
TEXT_WIDTH = 768
"""of CLIP-L, FLUX.1-dev's text encoder"""
FUSED_CHECKED = 2
"""adapters whose fused slots are sketched whole"""


def check_fused(world: World, size: int) -> dict[str, float]:
    """Return how far fused slots' sketches are from the sums of their parts', at worst, in millionths of an entry."""
    known, worst, checked = slots(world.transformer), 0.0, 0
    for recipe in write_recipes(world)[:FUSED_CHECKED]:
        lora = draw_lora(recipe, world)
        parts = dict(zip((s.name for s in known), sketch(lora, known, SketchSpec(size)).values, strict=True))
        for fused in fused_slots(world.transformer):
            if len(fused.parts) > 1 and (factors := fuse(lora, fused)) is not None:
                left = torch.cat([signs(f"S|{part.name}", part.d_out, size) for part in fused.parts]).T
                whole = left @ factors.up @ (factors.down @ signs(f"Q|{fused.name}", fused.d_in, size)) / size
                total = torch.stack([parts[part.name] for part in fused.parts]).sum(0)
                worst = max(worst, float((whole - total).abs().max() / whole.abs().max()))
                checked += 1
    return {"slots": checked, "millionths": worst * 1e6}


def time_sizes(world: World, params: Params, sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return, for each m = p, the processor's seconds of sketching and encoding one of rank 16 in all slots."""
    known = slots(world.transformer)
    lora = draw_lora(_typical(16), world)
    found = {}
    for size in sizes:
        encoder = build_encoder(world, params, size)
        sketch(lora, known, SketchSpec(size))  # its random bits are made once a process
        sketching, made = spend(partial(sketch, lora, known, SketchSpec(size)))
        encoding, _ = spend(partial(embed, encoder, made))
        found[str(size)] = {"sketch": sketching, "encode": encoding}
    return found


def weigh_largest(world: World, rank: int, folder: Path, size: int) -> dict[str, float]:
    """Return megabytes of file and memory of a process of its own that reads and sketches the largest adapter."""
    recipe = _typical(rank)
    with written(lay_out(draw_lora(recipe, world), recipe, world), folder) as path:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            before, after, seconds = pool.apply(weigh, (path, slots(world.transformer), size))
        megabytes = path.stat().st_size / 1e6
    return {"rank": rank, "file": megabytes, "before": before, "peak": after, "seconds": seconds}


def weigh(path: Path, known: tuple[Slot, ...], size: int) -> tuple[float, float, float]:
    """Read and sketch a file: this process's peak memory before and after, in MB, and the processor's seconds."""
    torch.set_num_threads(1)
    bounds, before = load(PROFILE).pool, _peak()
    seconds, _ = spend(lambda: sketch(read(path, known, bounds).lora, known, SketchSpec(size)))
    return before, _peak(), seconds


def _peak() -> float:
    status = Path("/proc/self/status").read_text()  # getrusage's peak is inherited from the parent
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


def _typical(rank: int) -> Recipe:
    return Recipe(number=-1, theme=0, author=0, share=0.2, rank=rank, layout="peft", subset="all", alpha=1.0)


def build_encoder(world: World, params: Params, size: int) -> Encoder:
    """Return the profile's encoder with random weights."""
    config = EncoderConfig(
        transformer=world.transformer,
        form=resolve(ENCODER, params.encoder),
        probe="sketch",
        sketch=size,
        spec=SketchSpec(size).key,
        width=TEXT_WIDTH,
        layers=params.encoder.layers,
        heads=params.encoder.heads,
        hidden=params.encoder.mlp_ratio * TEXT_WIDTH,
        dropout=params.encoder.dropout,
        text_encoder="none",
    )
    return Encoder(config).eval()


def embed(encoder: Encoder, made: Sketch) -> Tensor:
    """Return one adapter's vector (1, d)."""
    with torch.inference_mode():
        updates = encoder.config.read_sketch(made)
        return encoder.embed(updates.values, updates.present)


@contextmanager
def written(tensors: dict[str, Tensor], folder: Path) -> Iterator[Path]:
    """Write a LoRA file that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "adapter.safetensors"
        save_file(tensors, path)
        yield path


def name_processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
