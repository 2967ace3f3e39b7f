"""A retrieval benchmark of random vectors around theme directions, whose relevant adapters are known."""

from collections.abc import Callable, Collection

import numpy as np

from autolora.metrics.benchmark import Anchors, Benchmark, EmbeddedCaption, Query, sum_captions
from autolora.metrics.bm25 import count_words

THEMES = ("cat", "mosaic", "neon", "sand")


def synthetic_benchmark(
    noise: float = 0.05,
    authors: int = 3,
    judged: bool = True,
    seed: int = 0,
    is_captioned: Callable[[EmbeddedCaption], bool] = lambda caption: True,
    training: Collection[int] = (),
) -> Benchmark:
    """Return a benchmark of `authors` adapters per theme.

    Each adapter has 2 renderings with 2 captions each; the captions of every second adapter are queries.
    noise: standard deviation of each vector's coordinates around its theme direction. is_captioned: whether a caption
    is one of the pool; the queries are the same. training: the adapters that the encoder was trained on; no query is
    about them. The hub's file name of an adapter is its theme, and the components of the weights are the vectors.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(16, len(THEMES))))[0].T
    adapters, adapter_vectors, captions, queries, query_vectors, themes = [], [], [], [], [], {}
    texts, metadata = [], []
    for number in range(len(THEMES) * authors):
        theme = number % len(THEMES)
        sha256 = f"{number:064x}"
        adapters.append(sha256)
        adapter_vectors.append(_near(directions[theme], noise, rng))
        themes[sha256] = THEMES[theme]
        metadata.append((number, "", f"author{number}/{THEMES[theme]}_v1.safetensors"))
        for rendering in range(2):
            image = f"{number}-{rendering}".ljust(64, "0")
            for length in ("short", "long"):
                vector = _near(directions[theme], noise, rng)
                captions.append(EmbeddedCaption(number, image, vector))
                text = f"{length} {THEMES[theme]} {rendering}"
                texts.append((number, image, text))
                if number % 2 == 0 and number not in training:
                    queries.append(Query(text, image, (sha256,)))
                    query_vectors.append(vector)
    images, pool, vectors = {query.image for query in queries}, len(adapters), np.stack(adapter_vectors)
    sums = sum_captions(filter(is_captioned, captions), (pool, 16), images)
    trained = sorted(training)
    centroids = sums.by_adapter[trained]
    return Benchmark(
        adapters=tuple(adapters),
        adapter_vectors=vectors,
        captions=sums,
        words={"captions": count_words(texts, pool, images), "metadata": count_words(metadata, pool, images)},
        components=vectors,
        anchors=Anchors(
            adapters=tuple(adapters[number] for number in trained),
            captions=centroids / np.linalg.norm(centroids, axis=1, keepdims=True),
            components=vectors[trained],
        ),
        queries=tuple(queries),
        query_vectors=np.stack(query_vectors),
        themes=themes if judged else {},
        rule=None,
        training=frozenset(adapters[number] for number in training),
    )


def _near(direction: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random unit vector near a direction."""
    vector = direction + noise * rng.normal(size=direction.shape)
    return vector / np.linalg.norm(vector)
