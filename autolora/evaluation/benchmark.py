"""The benchmark of an index: the queries of a split, and the captions and weights that they are compared with."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from autolora.dataset import store as dataset
from autolora.dataset.families import Split
from autolora.encoder.model import Encoder, TextEncoder, embed_texts
from autolora.errors import MissingArtifact
from autolora.index.copies import Index
from autolora.metrics.benchmark import Benchmark, EmbeddedCaption, Query, sum_captions
from autolora.storage.arrays import Float32Array
from autolora.storage.hashes import hash_value

MAX_QUERIES = 1000
"""Each is a search of the whole index. The 95 % interval of a share of so many independent queries is ± .031 at most"""
TEXTS_AT_ONCE = 8192
"""texts whose vectors are in memory at once; a multiple of models.TEXTS_PER_BATCH, so that batches are full"""


def build_benchmark(
    root: Path,
    index: Index,
    encoder: Encoder,
    text_encoder: TextEncoder,
    themes: Mapping[str, str],
    split: Split,
) -> Benchmark:
    """Read the captions of an index's adapters, and embed captions and queries.

    Raises MissingArtifact if the index is empty.
    """
    adapters = tuple(index.rows.columns.column("sha256").to_pylist())
    if not adapters:
        raise MissingArtifact(
            "the index holds no adapter, so there is nothing to evaluate: the pool is empty; check crawl.filters"
        )
    renderings = read_renderings(root)
    queries = unseen_queries(root, {sha256: renderings[sha256] for sha256 in adapters}, split)
    return make_benchmark(root, encoder, text_encoder, (adapters, index.weights_vectors), queries, themes)


def make_benchmark(
    root: Path,
    encoder: Encoder,
    text_encoder: TextEncoder,
    index_rows: tuple[tuple[str, ...], Float32Array],
    queries: tuple[Query, ...],
    themes: Mapping[str, str],
) -> Benchmark:
    """Return the benchmark of adapters (N,) with the vectors (N, d) that an encoder predicts from their weights."""
    adapters, vectors = index_rows
    captions = embed_captions(encoder, text_encoder, list_captions(root, adapters))
    images = {query.image for query in queries}
    return Benchmark(
        adapters=adapters,
        adapter_vectors=vectors,
        captions=sum_captions(captions, (len(adapters), encoder.config.width), images),
        queries=queries,
        query_vectors=embed_queries(encoder, text_encoder, queries),
        themes={sha256: themes[sha256] for sha256 in adapters if sha256 in themes},
    )


def embed_captions(
    encoder: Encoder, text_encoder: TextEncoder, captions: Sequence[tuple[int, str, str]]
) -> Iterator[EmbeddedCaption]:
    """Yield captions (position of the adapter, image sha256, text) with their vectors, TEXTS_AT_ONCE at a time."""
    for start in range(0, len(captions), TEXTS_AT_ONCE):
        part = captions[start : start + TEXTS_AT_ONCE]
        vectors = embed_texts(encoder, text_encoder, [text for _, _, text in part])
        for (adapter, image, _), vector in zip(part, vectors, strict=True):
            yield EmbeddedCaption(adapter, image, vector)


def embed_queries(encoder: Encoder, text_encoder: TextEncoder, queries: Sequence[Query]) -> Float32Array:
    """Return the vectors of the queries (Q, d), in the precision in which they are computed."""
    vectors = np.empty((len(queries), encoder.config.width), dtype=np.float32)
    for start in range(0, len(queries), TEXTS_AT_ONCE):
        texts = [query.text for query in queries[start : start + TEXTS_AT_ONCE]]
        vectors[start : start + len(texts)] = embed_texts(encoder, text_encoder, texts)
    return vectors


def list_captions(root: Path, adapters: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return (position of the adapter, image sha256, text) of every caption of the adapters' renderings."""
    captions, renderings = dataset.captions_by_image(root), read_renderings(root)
    return [
        (position, image, caption.text)
        for position, sha256 in enumerate(adapters)
        for image in renderings[sha256]
        for caption in captions.get(image, ())
    ]


def read_renderings(root: Path) -> dict[str, tuple[str, ...]]:
    """Return adapter sha256 -> sha256 of its renderings."""
    rows = dataset.rows(root, "adapters", ("sha256", "renderings"))
    return {row["sha256"]: tuple(row["renderings"]) for row in rows}


def unseen_queries(root: Path, renderings: Mapping[str, Sequence[str]], split: Split) -> tuple[Query, ...]:
    """Return the queries: captions of renderings (`renderings`, by adapter) of adapters of a split, unseen in training.

    A rendering that a training adapter shows too is skipped, since the encoder was trained on its captions. Of more
    than MAX_QUERIES, those with the lowest hashes: a random choice, which new adapters hardly change.
    """
    adapters_by_image: dict[str, list[str]] = {}
    for sha256, images in renderings.items():
        for image in images:
            adapters_by_image.setdefault(image, []).append(sha256)
    training = dataset.training_lock(root).in_split("train")
    training_images = {image for row in training for image in row.renderings}
    prompts = [
        prompt
        for prompt in dataset.prompts(root)
        if prompt.split == split and prompt.image in adapters_by_image and prompt.image not in training_images
    ]
    if len(prompts) > MAX_QUERIES:
        prompts = sorted(prompts, key=lambda prompt: hash_value([prompt.image, prompt.text]))[:MAX_QUERIES]
    return tuple(
        Query(prompt.text, prompt.image, tuple(adapters_by_image[prompt.image])) for prompt in prompts
    )


def explain_no_query(root: Path, adapters: Collection[str], split: Split) -> str:
    """Return why an index with these adapters has no query of a split, and what to do."""
    lock = dataset.training_lock(root)
    training = {row.family for row in lock.in_split("train")}
    rows = dataset.rows(root, "adapters", ("sha256", "family", "split"))
    unseen = [row for row in rows if row["sha256"] in adapters and row["family"] not in training]
    count = sum((row["split"] == "validation") == (split == "validation") for row in unseen)
    start = f"Retrieval was not measured: of the {len(adapters)} adapters in the index {count} are of the split {split}"
    if count:
        return (
            f"{start}, but none of these has a captioned rendering that no training adapter shows too. Check that "
            "captions.engine is set, or wait for other adapters."
        )
    return (
        f"{start} (evaluation.split). Wait for adapters that are first seen after {lock.train_until} "
        f"(dataset.train_until), or raise dataset.{split}_share and move dataset.train_until, which trains again."
    )
