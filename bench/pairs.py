"""Inner products of all pairs of adapters: exactly, one transformer block at a time, and by sketches."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from autolora.lora.factors import Factors
from autolora.lora.slots import FusedSlot, fused_slots
from bench.similarity import Matrix, SketchFile, add_slot, gram_of_factors
from bench.synthetic import AdapterSpec, PoolSpec, draw_fused, list_adapters
from bench.timing import timed


def compute_exact(pool_spec: PoolSpec, folder: Path) -> Matrix:
    """Return exact inner products (N, N) of all adapters, from their factors.

    The result of each transformer block is stored in `folder`, so that an interrupted run can resume.
    """
    adapters, inner = list_adapters(pool_spec), np.zeros((pool_spec.adapters, pool_spec.adapters))
    folder.mkdir(parents=True, exist_ok=True)
    for block, group in groupby(
        fused_slots(pool_spec.transformer), key=lambda fused: fused.name.split(".")[:2]
    ):
        path = folder / f"{'.'.join(block)}.npy"
        if not path.exists():
            seconds, block_inner = timed(partial(add_block, pool_spec, adapters, list(group)))
            np.save(path.with_suffix(".new.npy"), block_inner)
            path.with_suffix(".new.npy").replace(path)
            print(f"exact inner products of {path.stem}: {seconds:.1f} s", flush=True)
        inner += np.load(path)
    return inner


def add_block(pool_spec: PoolSpec, adapters: Sequence[AdapterSpec], block: Sequence[FusedSlot]) -> Matrix:
    """Return inner products (N, N) over the slots of one block; every adapter is drawn again, slot by slot."""
    inner = np.zeros((len(adapters), len(adapters)))
    for fused in block:
        parts: dict[str, list[tuple[int, Factors]]] = {}
        for adapter in adapters:
            for slot, factors in draw_fused(adapter, pool_spec, fused):
                parts.setdefault(slot.name, []).append((adapter.number, factors))
        for updates in parts.values():
            numbers = [number for number, _ in updates]
            inner[np.ix_(numbers, numbers)] += gram_of_factors([factors for _, factors in updates])
    return inner


def compare_all(sketch_file: SketchFile) -> tuple[Matrix, Matrix]:
    """Return inner products and mean slot cosines of all stored sketches, both (N, N), one slot at a time."""
    adapters = range(sketch_file.values.shape[0])
    inner, cosines, shared = (np.zeros((len(adapters), len(adapters))) for _ in range(3))
    for slot in range(sketch_file.values.shape[1]):
        x = sketch_file.get(adapters, slice(slot, slot + 1))[:, 0]
        gram = (x @ x.T).astype(np.float64)
        add_slot(inner, cosines, shared, gram, gram.diagonal(), gram.diagonal())
    return inner, cosines / np.maximum(shared, 1)
