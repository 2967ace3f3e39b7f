"""BM25: the published formula."""

import math
import os
import subprocess
import sys

import pytest

from bench.bm25 import Bm25, count_words


def test_scores_follow_the_formula() -> None:
    documents = [{"cat": 2, "red": 1}, {"cat": 1}, {"dog": 4}, {}]
    index = Bm25.of(documents)
    mean_length = (3 + 1 + 4 + 0) / 4

    def expected(count: int, length: int, containing: int) -> float:
        weight = math.log(1 + (4 - containing + 0.5) / (containing + 0.5))
        return weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean_length))

    scores = index.score(["cat", "red", "cat", "unknown"])
    assert scores == pytest.approx([expected(2, 3, 2) + expected(1, 3, 1), expected(1, 1, 2), 0, 0])
    assert [index.score_document(["red", "cat"], document) for document in documents] == pytest.approx(scores)


SCORES = """
from bench.bm25 import Bm25
words = [f"w{i}" for i in range(24)]
documents = [{word: 1 + row * i % 5 for i, word in enumerate(words) if i % (row + 1)} for row in range(9)]
index = Bm25.of(documents)
scores = index.score(words).tolist()
assert scores == [index.score_document(words, document) for document in documents]
print(scores)
"""


@pytest.mark.slow
def test_scores_are_the_same_to_the_last_bit_in_every_process_and_by_both_ways() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCORES],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("documents", [[], [{}, {}]])
def test_empty_documents_score_zero(documents: list[dict[str, int]]) -> None:
    assert Bm25.of(documents).score(["cat"]).tolist() == [0.0] * len(documents)


def test_words_of_a_rendering_are_counted_apart_only_if_queries_describe_it() -> None:
    texts = [(1, "", "x.safetensors"), (1, "a", "a cat"), (1, "a", "the cat"), (1, "b", "a dog")]
    counts = count_words(texts, 2, {"a"})
    assert counts.by_adapter == ({}, {"x": 1, "safetensors": 1, "a": 2, "cat": 2, "the": 1, "dog": 1})
    assert counts.by_rendering == {(1, "a"): {"a": 1, "cat": 2, "the": 1}}
