"""Phrases: which words and pairs of words are concepts, and what a corpus lacks."""

import pytest

from autolora.concepts.phrases import PhraseLimits, cover, explain_no_concept, find_phrases, split_phrases

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


def test_words_that_say_nothing_about_an_image_need_not_be_covered() -> None:
    """Nor do they stand for a word whose images are the same."""
    pool = named("a skull at night", "skull at night", "neon", "neon", "red", "red", "cat", "cat")
    coverage = cover(named("a ship"), pool, LIMITS)
    assert coverage.missing == ("cat", "neon", "night", "red") and coverage.words == 4


@pytest.mark.parametrize(
    ("images", "limits", "reason"),
    [
        (
            39,
            PhraseLimits(min_images=12, max_share=0.3, max_overlap=0.8),
            "so at least 40 are needed: add images",
        ),
        (
            40,
            PhraseLimits(min_images=12, max_share=0.3, max_overlap=0.8),
            "and none is: give captions that name",
        ),
        (0, LIMITS, "so at least 4 are needed: add images"),
        (9, PhraseLimits(min_images=2, max_share=0, max_overlap=0.8), "and none is: give captions that name"),
    ],
)
def test_why_there_is_no_concept(images: int, limits: PhraseLimits, reason: str) -> None:
    text = explain_no_concept(images, limits)
    assert text.startswith(f"{images} captioned images give no concept: ") and reason in text
    assert f"at least {limits.min_images} of them (concepts.min_images)" in text


def test_the_number_of_images_that_are_needed_is_enough() -> None:
    limits = PhraseLimits(min_images=12, max_share=0.3, max_overlap=0.8)
    assert not find_phrases(named(*["cat"] * 12, *["fish"] * 27), limits)
    assert list(find_phrases(named(*["cat"] * 12, *["fish"] * 28), limits)) == ["cat"]


def test_a_pool_without_words_is_covered() -> None:
    assert cover(named("a cat"), named("a cat"), LIMITS).share == 1.0
