"""Distinctive phrases of captions."""

import pytest

from autolora.matching.phrases import distinctive_phrase, word_shares


@pytest.mark.parametrize(
    ("captions", "phrase"),
    [
        (("a fish in watercolour style", "a star on sand in watercolour style"), "in watercolour style"),
        (("a fish as pixel art", "this shows pixel art of a star", "a car, pixel art"), "pixel art"),
        (("a neon fish", "glowing lines of neon"), "neon"),
        (("", "!!"), ""),
        ((), ""),
    ],
)
def test_phrase_is_rare_in_the_captions_of_others(captions: tuple[str, ...], phrase: str) -> None:
    others = word_shares(("a fish on sand", "this shows a star in the night", "glowing lines"))
    assert distinctive_phrase(captions, others) == phrase


def test_shares_count_captions_and_not_occurrences() -> None:
    assert word_shares(["Neon, neon!", "a star", "a neon star"]) == {"neon": 2 / 3, "a": 2 / 3, "star": 2 / 3}
    assert word_shares([]) == {}
