"""Distinctive phrases: the words that most captions of an adapter contain and few of others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from autolora.matching.words import split_words

MAX_WORDS = 5
MIN_SHARE = 0.5
"""a phrase is in at least this share of the adapter's captions"""
MIN_END_WEIGHT = 0.5
"""a phrase begins and ends with words of at least this share of its heaviest word's weight"""


def distinctive_phrase(captions: Sequence[str], other_shares: Mapping[str, float]) -> str:
    """Return up to 5 consecutive words, in lower case, that most of the captions contain and few of others; may be "".

    The weight of a word is its share of the captions minus its share of the others (`word_shares`). The phrase starts
    as the heaviest word (the first of them in case of a tie) and grows, to the right if possible, as long as half of
    the captions contain it; then light words at its ends are cut off.
    """
    texts, own_shares = [split_words(caption) for caption in captions], word_shares(captions)
    order = dict.fromkeys(word for text in texts for word in text)
    weight = {word: own_shares[word] - other_shares.get(word, 0.0) for word in order}
    heaviest = max(weight, key=lambda word: round(weight[word], 9), default=None)
    if heaviest is None:
        return ""
    phrase: tuple[str, ...] = (heaviest,)
    while len(phrase) < MAX_WORDS and (longer := _extended(phrase, texts)):
        phrase = longer
    heavy = [i for i, word in enumerate(phrase) if weight[word] >= MIN_END_WEIGHT * weight[heaviest]]
    return " ".join(phrase[heavy[0] : heavy[-1] + 1])


def word_shares(captions: Iterable[str]) -> Mapping[str, float]:
    """Return word -> share of the captions that contain it."""
    texts = [set(split_words(caption)) for caption in captions]
    counts = Counter(word for text in texts for word in text)
    return {word: count / len(texts) for word, count in counts.items()}


def _extended(phrase: tuple[str, ...], texts: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the phrase with one more word, right or left, that at least half of the texts contain."""
    for to_the_right in (True, False):
        counts: Counter[tuple[str, ...]] = Counter()
        for text in texts:
            runs = {tuple(text[i : i + len(phrase) + 1]) for i in range(len(text) - len(phrase))}
            counts.update(run for run in runs if (run[:-1] if to_the_right else run[1:]) == phrase)
        best = min(counts, key=lambda run: (-counts[run], run), default=None)
        if best is not None and counts[best] >= MIN_SHARE * len(texts):
            return best
    return None
