"""Phrases: which words and pairs of words are concepts, and what a corpus lacks."""

import pytest

from autolora.concepts.phrases import PhraseLimits, cover, find_phrases, split_phrases

LIMITS = PhraseLimits(min_images=2, max_share=0.5, max_overlap=0.8)


def named(*captions: str) -> list[tuple[str, str]]:
    """Return captions, each of an image of its own."""
    return [(f"image {number}", caption) for number, caption in enumerate(captions)]


def test_phrases_are_words_and_pairs_in_lower_case() -> None:
    assert split_phrases("A cat, in MOSAIC style") == {
        "a", "cat", "in", "mosaic", "style", "a cat", "cat in", "in mosaic", "mosaic style",
    }  # fmt: skip
    assert split_phrases("") == set()


def test_rare_and_ubiquitous_phrases_are_no_concepts() -> None:
    captioned = named("a red cat", "a blue cat", "a red dog", "a green fish")
    assert find_phrases(captioned, LIMITS) == {"cat": (0, 1), "red": (0, 2)}


def test_the_limits_are_inclusive() -> None:
    captioned = named("cat", "cat", "dog", "fish")
    assert list(find_phrases(captioned, LIMITS)) == ["cat"]
    assert not find_phrases(captioned, PhraseLimits(min_images=3, max_share=0.5, max_overlap=0.8))
    assert not find_phrases(captioned, PhraseLimits(min_images=2, max_share=0.49, max_overlap=0.8))


def test_of_overlapping_phrases_the_shortest_is_kept() -> None:
    captioned = named("stained glass", "stained glass", "stained glass", "a glass", *["fish"] * 4)
    assert find_phrases(captioned, LIMITS) == {
        "fish": (4, 5, 6, 7),
        "glass": (0, 1, 2, 3),
        "stained": (0, 1, 2),
    }
    strict = PhraseLimits(min_images=2, max_share=0.5, max_overlap=0.7)
    assert list(find_phrases(captioned, strict)) == ["fish", "glass"]


def test_several_captions_of_one_image_count_once() -> None:
    captioned = [("a", "cat"), ("a", "a cat"), ("b", "dog"), ("c", "dog"), ("d", "fish")]
    assert find_phrases(captioned, LIMITS) == {"dog": (2, 3)}


def test_the_order_of_captions_does_not_matter() -> None:
    captioned = named("red cat", "cat red", "old dog", "dog old", *["fish"] * 3)
    assert list(find_phrases(captioned, LIMITS)) == list(find_phrases(captioned[::-1], LIMITS))


def test_coverage_names_the_missing_words_most_frequent_first() -> None:
    pool = named("red cat", "red cat", "cat", "neon", "neon", "red ship", "ship", "typo")
    coverage = cover(named("a ship", "the red ship", "a red cat"), pool, LIMITS)
    assert (coverage.words, coverage.missing) == (4, ("cat", "neon"))
    assert coverage.share == pytest.approx(1 / 2)


def test_a_pool_without_words_is_covered() -> None:
    assert cover(named("a cat"), named("a cat"), LIMITS).share == 1.0
