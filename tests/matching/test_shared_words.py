"""Coordinates of words that parts of a prompt share with texts about adapters."""

import numpy as np
import pyarrow as pa
import pytest

from autolora.matching.shared_words import WEIGHT, share_words, word_forms

WORDS = pa.array([["art", "pixel"], ["art", "ink"], ["cat"], []], pa.list_(pa.string()))


def test_forms() -> None:
    assert word_forms("The cats, in glass and GAS") == ["cat", "glas", "gas"]
    assert word_forms("grey watercolours of centres") == word_forms("gray watercolors of centers")


def test_values_by_hand() -> None:
    wanted, has = share_words(["pixel art", "a picture of dogs", "arts"], WORDS)
    art, pixel = WEIGHT * np.log(5 / 3) / np.log(5), WEIGHT * np.log(5 / 2) / np.log(5)
    assert has.tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]  # art, pixel: no adapter has the other words
    assert wanted == pytest.approx(np.array([[art, pixel], [0, 0], [art, 0]]) / [[2**0.5], [1], [1]])


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    wanted, has = share_words(["ink art"], WORDS)
    assert (wanted @ has.T)[0].argmax() == 1
    assert (share_words(["pixel art"], WORDS)[0] @ share_words(["pixel art"], WORDS)[1].T)[0].argmax() == 0


@pytest.mark.parametrize("parts", [[""], ["the of"], ["zebra"]])
def test_nothing_shared(parts: list[str]) -> None:
    wanted, has = share_words(parts, WORDS)
    assert wanted.shape == (1, 0) and has.shape == (4, 0)


def test_an_index_without_words() -> None:
    wanted, has = share_words(["cat"], pa.array([[], []], pa.list_(pa.string())))
    assert wanted.shape == (1, 0) and has.shape == (2, 0)
