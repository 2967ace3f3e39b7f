"""All pairs of a pool: exactly, block by block of the transformer, and by their sketches."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from autolora.lora.factors import Factors
from autolora.slots import FusedSlot, fused_slots
from bench.likeness import Matrix, Shelf, add_slot, gram_of_factors
from bench.synthetic import Recipe, World, draw_fused, write_recipes
from bench.timing import timed


def compute_exact(world: World, folder: Path) -> Matrix:
    """Return exact inner products (N, N) of all adapters, from their factors.

    Each block of the transformer is kept in `folder` when it is done.
    """
    recipes, inner = write_recipes(world), np.zeros((world.adapters, world.adapters))
    folder.mkdir(parents=True, exist_ok=True)
    for block, group in groupby(fused_slots(world.transformer), key=lambda fused: fused.name.split(".")[:2]):
        path = folder / f"{'.'.join(block)}.npy"
        if not path.exists():
            seconds, found = timed(partial(add_block, world, recipes, list(group)))
            np.save(path.with_suffix(".new.npy"), found)
            path.with_suffix(".new.npy").replace(path)
            print(f"exact inner products of {path.stem}: {seconds:.1f} s", flush=True)
        inner += np.load(path)
    return inner


def add_block(world: World, recipes: Sequence[Recipe], block: Sequence[FusedSlot]) -> Matrix:
    """Return inner products (N, N) over the slots of one block; every adapter is drawn anew, slot by slot."""
    inner = np.zeros((len(recipes), len(recipes)))
    for fused in block:
        parts: dict[str, list[tuple[int, Factors]]] = {}
        for recipe in recipes:
            for slot, factors in draw_fused(recipe, world, fused):
                parts.setdefault(slot.name, []).append((recipe.number, factors))
        for found in parts.values():
            who = [number for number, _ in found]
            inner[np.ix_(who, who)] += gram_of_factors([factors for _, factors in found])
    return inner


def compare_all(shelf: Shelf) -> tuple[Matrix, Matrix]:
    """Return a shelf's inner products and mean cosines of slots, both (N, N), one slot at a time."""
    adapters = range(shelf.values.shape[0])
    inner, cosines, both = (np.zeros((len(adapters), len(adapters))) for _ in range(3))
    for slot in range(shelf.values.shape[1]):
        x = shelf.get(adapters, slice(slot, slot + 1))[:, 0]
        gram = (x @ x.T).astype(np.float64)
        add_slot(inner, cosines, both, gram, gram.diagonal(), gram.diagonal())
    return inner, cosines / np.maximum(both, 1)
