"""The words of a text."""

import unicodedata

import pytest

from autolora.matching.phrases import distinctive_phrase
from autolora.matching.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann_B/The-CAT v2.safetensors, été!", ["ann", "b", "the", "cat", "v2", "safetensors", "été"]),
        ("Straße, 1980s, 水墨画", ["straße", "1980s", "水墨画"]),
        ("_!, ", []),
        ("", []),
    ],
)
def test_words_are_letters_and_digits_in_lower_case(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_a_decomposed_letter_is_the_composed_one() -> None:
    """As the names of files on some systems have it."""
    decomposed = unicodedata.normalize("NFD", "Café")
    assert decomposed != "Café" and split_words(decomposed) == split_words("Café") == ["café"]


def test_equal_words_are_one_object() -> None:
    assert split_words("a Neon sign")[1] is split_words("NEON!")[0]


def test_a_phrase_has_whole_words_with_their_digits() -> None:
    captions = ("fish, 1980s poster", "star: 1980s poster", "moon as 1980s poster")
    assert distinctive_phrase(captions, {}) == "1980s poster"
