"""Phrases of captions: the words and pairs of words that many images have in common, and their coverage."""

import math
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from autolora.matching.words import STOP_WORDS, split_words

MIN_POOL_IMAGES = 2
"""images of a pool whose captions contain a word that should be covered: that of one image may be a slip"""

Captioned = Sequence[tuple[str, str]]
"""(image, caption): an image may have several captions"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhraseLimits:
    """Which phrases are concepts."""

    min_images: int
    """number of images that have the phrase, at least"""
    max_share: float
    """share of all images that have it, at most"""
    max_overlap: float
    """Jaccard index of the images of two phrases, at most"""


def explain_no_concept(images: int, limits: PhraseLimits) -> str:
    """Return why the captions of images give no concept, and what to do."""
    wanted = (
        f"{images} captioned images give no concept: a word or pair of words must be in the captions of at least "
        f"{limits.min_images} of them (concepts.min_images) and of at most a share of {limits.max_share:g} "
        "(concepts.max_share)"
    )
    if images * limits.max_share >= limits.min_images or not limits.max_share:
        return f"{wanted}, and none is: give captions that name what the images show, or change these limits"
    needed = math.ceil(round(limits.min_images / limits.max_share, 6))
    return f"{wanted}, so at least {needed} are needed: add images, or lower concepts.min_images"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many words of a pool's captions the captions of a corpus contain."""

    words: int
    """number of words of the pool"""
    missing: tuple[str, ...]
    """those that the corpus does not contain often enough, most frequent first"""

    @property
    def share(self) -> float:
        """Return the share of the pool's words that the corpus contains; 1 if there is none."""
        return 1 - len(self.missing) / self.words if self.words else 1.0


def split_phrases(caption: str) -> set[str]:
    """Return the words and the pairs of consecutive words of a caption, in lower case."""
    words = split_words(caption)
    return {*words, *(f"{left} {right}" for left, right in pairwise(words))}


def find_phrases(
    captioned: Captioned, limits: PhraseLimits, ignored: Set[str] = frozenset()
) -> dict[str, tuple[int, ...]]:
    """Return the phrases within the limits, shortest first, and the numbers of the captions that contain them.

    ignored: phrases that do not count. Of phrases whose images overlap too much, the shortest is kept; of equally long
    ones, the first in the alphabet.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, (_, caption) in enumerate(captioned):
        for phrase in split_phrases(caption):
            members[phrase].append(number)
    most = limits.max_share * len({image for image, _ in captioned})
    kept: dict[str, Set[str]] = {}
    for phrase in sorted(members.keys() - ignored, key=lambda phrase: (len(phrase), phrase)):
        images = {captioned[number][0] for number in members[phrase]}
        if limits.min_images <= len(images) <= most and not any(
            _jaccard(images, other) > limits.max_overlap for other in kept.values()
        ):
            kept[phrase] = images
    return {phrase: tuple(members[phrase]) for phrase in kept}


def cover(captioned: Captioned, pool: Captioned, limits: PhraseLimits) -> Coverage:
    """Return which words of a pool's captions at least `limits.min_images` images of a corpus have.

    A pool's words are those that `find_phrases` finds with MIN_POOL_IMAGES, without those that say nothing about an
    image (STOP_WORDS). Pairs do not count: the corpus need not show each object in each color.
    """
    phrases = find_phrases(pool, replace(limits, min_images=MIN_POOL_IMAGES), STOP_WORDS)
    wanted = {phrase: len(numbers) for phrase, numbers in phrases.items() if " " not in phrase}
    images: defaultdict[str, set[str]] = defaultdict(set)
    for image, caption in captioned:
        for word in wanted.keys() & split_words(caption):
            images[word].add(image)
    missing = [word for word in wanted if len(images[word]) < limits.min_images]
    return Coverage(len(wanted), tuple(sorted(missing, key=lambda word: (-wanted[word], word))))


def _jaccard(left: Set[str], right: Set[str]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)
