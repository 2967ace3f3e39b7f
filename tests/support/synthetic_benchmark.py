"""A retrieval benchmark of random vectors around theme directions, whose relevant adapters are known."""

from collections.abc import Callable, Collection

import numpy as np

from autolora.metrics.benchmark import Benchmark, EmbeddedCaption, Query, sum_captions
from bench.baselines import Pool, make_anchors
from bench.bm25 import count_words

THEMES = ("cat", "mosaic", "neon", "sand")


def synthetic_benchmark(
    noise: float = 0.05,
    authors: int = 3,
    judged: bool = True,
    seed: int = 0,
    is_captioned: Callable[[EmbeddedCaption], bool] = lambda caption: True,
    without_query: Collection[int] = (),
) -> Benchmark:
    """Return a benchmark of `authors` adapters per theme.

    Each adapter has 2 renderings with 2 captions each; the captions of every second adapter are queries.
    noise: standard deviation of each vector's coordinates around its theme direction. is_captioned: whether a caption
    is one of the pool; the queries are the same. without_query: adapters that no query is about.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(16, len(THEMES))))[0].T
    adapters, adapter_vectors, captions, queries, query_vectors, themes = [], [], [], [], [], {}
    for number in range(len(THEMES) * authors):
        theme = number % len(THEMES)
        sha256 = f"{number:064x}"
        adapters.append(sha256)
        adapter_vectors.append(_near(directions[theme], noise, rng))
        themes[sha256] = THEMES[theme]
        for rendering in range(2):
            image = f"{number}-{rendering}".ljust(64, "0")
            for length in ("short", "long"):
                vector = _near(directions[theme], noise, rng)
                captions.append(EmbeddedCaption(number, image, vector))
                if number % 2 == 0 and number not in without_query:
                    queries.append(Query(f"{length} {THEMES[theme]} {rendering}", image, (sha256,)))
                    query_vectors.append(vector)
    images = {query.image for query in queries}
    return Benchmark(
        adapters=tuple(adapters),
        adapter_vectors=np.stack(adapter_vectors),
        captions=sum_captions(filter(is_captioned, captions), (len(adapters), 16), images),
        queries=tuple(queries),
        query_vectors=np.stack(query_vectors),
        themes=themes if judged else {},
    )


def synthetic_pool(
    noise: float = 0.05,
    is_captioned: Callable[[EmbeddedCaption], bool] = lambda caption: True,
    training: Collection[int] = (),
) -> Pool:
    """Return a benchmark with what baselines need. training: the adapters that the encoder was trained on.

    The hub's file name of an adapter is its theme, and the components of the weights are the vectors.
    """
    benchmark = synthetic_benchmark(noise, is_captioned=is_captioned, without_query=training)
    size, images = len(benchmark.adapters), {query.image for query in benchmark.queries}
    themes = [benchmark.themes[sha256] for sha256 in benchmark.adapters]
    texts = [
        (number, f"{number}-{rendering}".ljust(64, "0"), f"{length} {theme} {rendering}")
        for number, theme in enumerate(themes)
        for rendering in range(2)
        for length in ("short", "long")
    ]
    metadata = [(number, "", f"author{number}/{theme}_v1.safetensors") for number, theme in enumerate(themes)]
    trained = frozenset(benchmark.adapters[number] for number in training)
    return Pool(
        benchmark=benchmark,
        training=trained,
        words={"captions": count_words(texts, size, images), "metadata": count_words(metadata, size, images)},
        components=benchmark.adapter_vectors,
        anchors=make_anchors(benchmark, trained, benchmark.adapter_vectors),
    )


def _near(direction: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random unit vector near a direction."""
    vector = direction + noise * rng.normal(size=direction.shape)
    return vector / np.linalg.norm(vector)
