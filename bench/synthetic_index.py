"""A synthetic copy of an index: adapters around themes of unequal frequency, prompts about two themes, and filters."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from autolora.index.content import Content, write_content
from autolora.index.copies import Index, TextMap
from autolora.index.store import EXACT_COLUMNS
from autolora.storage.arrays import Float32Array

WIDTH, NUM_THEMES, SEED = 768, 2000, 0
OWN_LENGTH, SECOND_THEME, PROMPT_NOISE = 0.8, 0.6, 0.7
"""lengths of what an adapter adds to its theme, and of what a prompt adds: a second theme, and noise; a theme has
length 1. The cosine of two adapters of a theme is .61, of a prompt and the adapters of its theme .57"""
BLOCK = 50_000


def draw_themes(rng: np.random.Generator, count: int) -> Float32Array:
    """Return the vectors (count, width) of random themes of unequal frequency."""
    themes = unit(np.random.default_rng(SEED).standard_normal((NUM_THEMES, WIDTH), dtype=np.float32))
    frequency = 1 / np.arange(1, NUM_THEMES + 1) ** 0.7
    return themes[rng.choice(NUM_THEMES, count, p=frequency / frequency.sum())]


def draw_queries(count: int) -> Float32Array:
    """Return the unit vectors of prompts: two themes and noise."""
    rng = np.random.default_rng(SEED + 1)
    first, second = (draw_themes(rng, count) for _ in range(2))
    return unit(first + SECOND_THEME * second + noise(rng, count, PROMPT_NOISE))


def draw_vectors(size: int) -> Float32Array:
    """Return the unit vectors of adapters: a theme and what is the adapter's own."""
    rng = np.random.default_rng(SEED + 2)
    vectors = np.empty((size, WIDTH), np.float32)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        vectors[start : start + count] = unit(draw_themes(rng, count) + noise(rng, count, OWN_LENGTH))
    return vectors


def noise(rng: np.random.Generator, count: int, length: float) -> Float32Array:
    """Return random vectors (count, width) of about this length."""
    scale = np.float32(length / WIDTH**0.5)
    drawn: Float32Array = rng.standard_normal((count, WIDTH), dtype=np.float32) * scale
    return drawn


def unit(vectors: Float32Array) -> Float32Array:
    """Return vectors scaled to length 1."""
    scaled: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def write_synthetic_copy(folder: Path, vectors: Float32Array) -> None:
    """Write a copy whose column `size` is a random permutation, for the filters."""
    count = len(vectors)
    arrays = {name: pa.nulls(count, kind) for name, kind in EXACT_COLUMNS.items()}
    arrays["sha256"] = pa.array([f"{number:064x}" for number in range(count)])
    arrays["size"] = pa.array(np.random.default_rng(SEED).permutation(count))
    meta = {"encoder": "", "text_encoder": "", "relevance": None}
    text_map = TextMap(np.zeros(WIDTH, np.float32), np.eye(WIDTH, dtype=np.float32))
    write_content(
        folder, Content(pa.table(arrays), {"vector": vectors, "weights_vector": vectors}, meta, text_map)
    )


def condition(index: Index, share: float) -> str | None:
    """Return a filter that this share of the adapters passes."""
    return None if share == 1 else f"size < {int(share * len(index.rows))}"
