"""A repository with the tables of a large pool and no weights: catalog, pool, captions, encoder, vectors and images.

Fingerprints, vectors and texts are random. Rows that would be computed from weights are stored before the stages run,
which then find them up to date; only the new adapters have sketches. All images are hard links to a few PNG files.
"""

import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from autolora.catalog.store import write as write_catalog
from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.config import EncoderConfig
from autolora.encoder.ridge import RidgeEncoder
from autolora.index import store as index
from autolora.lora.fingerprint import WIDTH
from autolora.lora.sketch import Sketch, SketchSpec
from autolora.lora.slots import slots
from autolora.params import DatasetParams
from autolora.pool import store as pool
from autolora.presets.encoder import ENCODER
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.arrays import Float32Array
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest
from autolora.storage.tables import Columns, schema_of

DAY = datetime.date(2026, 1, 1)
DATASET = DatasetParams(
    train_until=DAY, test_share=0.0, validation_share=0.0, family_cosine=0.95, salt="bench"
)
TRANSFORMER = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8}
SKETCH_SIZE = 8
TEXT_WIDTH = 768
"""of CLIP-L, FLUX.1-dev's text encoder"""
LENGTHS = ("short", "medium", "long")
WORDS = tuple(
    f"{first}{last}" for first in ("sun", "ink", "glass", "moss", "wool") for last in ("cat", "city", "mist")
)
IMAGE_PX, NUM_PNG = 136, 64
RECIPE = "r" * 64


class RandomTextEncoder:
    """A text encoder whose features are random numbers, drawn with the text as the seed: it costs almost no time."""

    width = TEXT_WIDTH
    digest = "bench"

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return features (N, width)."""
        seeds = (int(hash_value(text)[:16], 16) for text in texts)
        rows = [np.random.Generator(np.random.SFC64(seed)).standard_normal(self.width) for seed in seeds]
        return np.array(rows, dtype=np.float32).reshape(-1, self.width)


@dataclass(frozen=True, slots=True)
class TablePool:
    """The repository; its adapters are numbered, and new ones follow the first."""

    root: Path
    locked: int
    """number of adapters that the training lock contains; captions of the later ones are the queries"""
    renderings: int = 2
    """of each adapter; each has three captions"""

    def build(self, adapters: int) -> None:
        """Write the repository as captions and encoder leave it, with fingerprints and vectors."""
        self._write_images(range(adapters))
        self.write_tables(adapters)
        names = sorted(map(adapter_sha256, range(adapters)))
        self._write_encoder()
        fingerprints = {"recipe": RECIPE, "fingerprint": _unit_vectors(adapters, WIDTH)}
        _store_rows(dataset.folder(self.root), "adapters", dataset.ADAPTERS, names, fingerprints)
        weights = index.encoder_digests(self.root)["encoder_weights"]
        vectors = {
            "recipe": RECIPE,
            "encoder_weights": weights,
            "vector": _unit_vectors(adapters, TEXT_WIDTH),
            "weights_vector": _unit_vectors(adapters, TEXT_WIDTH),
        }
        _store_rows(index.folder(self.root), index.TABLE, index.columns(TEXT_WIDTH), names, vectors)

    def add(self, start: int, stop: int) -> None:
        """Add adapters start..stop, which have sketches but no fingerprint and no vector yet."""
        self._write_images(range(start, stop))
        generator = torch.Generator().manual_seed(start)
        for number in range(start, stop):
            values = torch.randn(len(slots(TRANSFORMER)), SKETCH_SIZE, SKETCH_SIZE, generator=generator)
            sketch = Sketch(values, torch.ones(len(values), dtype=torch.bool))
            pool.save_sketch(self.root, adapter_sha256(number), sketch)
        self.write_tables(stop)

    def write_tables(self, adapters: int) -> None:
        """Write catalog, pool, captions and their digests for the first `adapters` adapters."""
        listings = [self._listing(number, late=number >= self.locked) for number in range(adapters)]
        images = [image for listing in listings for image in listing.renderings]
        write_catalog(self.root, listings)
        write_rows(pool.table_path(self.root, "adapters"), (accepted(row.key).to_row() for row in listings))
        write_rows(
            pool.table_path(self.root, "renderings"), (asdict(rendering(image.key)) for image in images)
        )
        captions = (asdict(caption) for image in images for caption in captions_of(image.key))
        write_rows(self.root / "data" / "captions" / "captions.jsonl", captions)
        for stage in ("pool", "captions"):
            write_digest(self.root, stage, {"adapters": str(adapters)}, 1)

    def _listing(self, number: int, late: bool) -> Listing:
        images = tuple(
            ListedRendering(url=f"http://127.0.0.1/{sha256}", sha256=sha256, prompt=f"a prompt {number}")
            for sha256 in self._images(number)
        )
        return Listing(
            hub="huggingface", id=f"author{number % 997}/lora{number:06}", version="a" * 40, file="lora.safetensors",
            url=f"http://127.0.0.1/{number}", size=1, sha256=adapter_sha256(number), license="mit",
            base_model="FLUX.1-dev", nsfw=False, trigger_words=(f"zq{number}",), renderings=images,
            first_seen=DAY + datetime.timedelta(days=late),
        )  # fmt: skip

    def _images(self, number: int) -> list[str]:
        return [hash_value(["image", number, rendering]) for rendering in range(self.renderings)]

    def _write_images(self, numbers: range) -> None:
        for number in numbers:
            for rendering, sha256 in enumerate(self._images(number)):
                path = pool.rendering_path(self.root, sha256)
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(self._png((number + rendering) % NUM_PNG), path)

    def _png(self, number: int) -> Path:
        path = self.root / "png" / f"{number}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC).save(path)
        return path

    def _write_encoder(self) -> None:
        config = EncoderConfig(
            transformer=TRANSFORMER,
            variant=replace(ENCODER["best"], hybrid=False),
            width=TEXT_WIDTH,
            sketch_size=SKETCH_SIZE,
            sketch_key=SketchSpec(SKETCH_SIZE).key,
            text_encoder=RandomTextEncoder.digest,
        )
        torch.manual_seed(0)
        encoder = RidgeEncoder(config)
        torch.nn.init.normal_(encoder.weights)
        encoder_store.save_encoder(encoder_store.folder(self.root), encoder)
        encoder_store.write_encoder_digest(self.root, encoder, {"training": "bench"})


def adapter_sha256(number: int) -> str:
    """Return the sha256 of an adapter."""
    return hash_value(["adapter", number])


def accepted(sha256: str) -> Adapter:
    """Return the pool's row of an adapter."""
    return Adapter(
        key=sha256, sha256=sha256, size=1 << 27, recipe=RECIPE, verdict=ACCEPTED, reason="", layout="peft",
        num_slots=494, rank_max=16, norm=1.0, dtype="bfloat16", keys_used=988, keys_seen=988, ignored_keys=(),
    )  # fmt: skip


def rendering(sha256: str) -> PooledRendering:
    """Return the pool's row of an image."""
    return PooledRendering(key=sha256, sha256=sha256, width=IMAGE_PX, height=IMAGE_PX)


def captions_of(image: str) -> Iterator[Caption]:
    """Yield a short, a medium and a long caption of an image."""
    first, second = (WORDS[int(image[place : place + 4], 16) % len(WORDS)] for place in (0, 4))
    for length, repeats in zip(LENGTHS, (1, 4, 20), strict=True):
        text = f"a {first} in a {second}, number {image[:12]}" + " with many details" * repeats
        yield Caption(image=image, prompt=length, vlm="v" * 64, length=length, text=text)


def _store_rows(
    folder: Path, name: str, columns: Columns, keys: Sequence[str], values: dict[str, Any]
) -> None:
    """Write a table with only these columns and the key; a value is a text, or vectors (N, d)."""
    schema, count = schema_of(columns), len(keys)
    arrays = {field.name: pa.nulls(count, field.type) for field in schema}
    arrays |= {"sha256": pa.array(keys), "row_hash": pa.array([""] * count)}
    for column, value in values.items():
        is_text = isinstance(value, str)
        flat = pa.array([value] * count if is_text else value.ravel())
        arrays[column] = flat if is_text else pa.FixedSizeListArray.from_arrays(flat, value.shape[1])
    lancedb.connect(folder).create_table(name, data=pa.table(arrays, schema=schema))


def _unit_vectors(count: int, width: int) -> Float32Array:
    """Return random vectors (count, width) of length 1."""
    vectors = np.random.default_rng(width).standard_normal((count, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
