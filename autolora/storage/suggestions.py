"""Suggestions for a name that nothing has: "did you mean …?"."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

MAX_SUGGESTIONS = 3
MIN_SIMILARITIES = (0.8, 0.57)
"""twice the number of letters in common parts, per letter of both names: names that reach the second count only if none
reaches the first"""
MAX_LONGER = 2
"""letters that a known word has more or less than a wrong one"""
MIN_LETTERS = 3
"""length from which a part of a name is searched for"""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x' or 'y'?)` with the known names that resemble a wrong one; empty if none does.

    The case of letters does not count. Names that contain the wrong one come first, then those with similar letters.
    """
    found = similar_names(name, known)
    return f" (did you mean {' or '.join(repr(other) for other in found)}?)" if found else ""


def similar_word(word: str, known: Collection[str]) -> str | None:
    """Return the known word that resembles a word most, if one does; both in lower case.

    Only words of the same first letter and about the same length are compared, since there may be many.
    """
    candidates = [
        other for other in known if other[:1] == word[:1] and abs(len(other) - len(word)) <= MAX_LONGER
    ]
    letters = sorted(word)
    same = [other for other in candidates if sorted(other) == letters]  # in another order
    return next(iter(same or get_close_matches(word, candidates, 1, MIN_SIMILARITIES[0])), None)


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """Return at most MAX_SUGGESTIONS known names that resemble a name, best first."""
    by_lower: dict[str, str] = {}
    for other in known:
        by_lower.setdefault(other.casefold(), other)
    wrong = name.casefold()
    containing = [lower for lower in by_lower if wrong in lower] if len(wrong) >= MIN_LETTERS else []
    best = sorted(containing, key=len)[:MAX_SUGGESTIONS]
    for similarity in MIN_SIMILARITIES:
        best = best or get_close_matches(wrong, by_lower, MAX_SUGGESTIONS, similarity)
    return [by_lower[lower] for lower in best]
