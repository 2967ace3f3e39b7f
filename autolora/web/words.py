"""Scores in the words of the page."""

MATCHES = ((0.9, 3, "strong match"), (0.25, 1, "weak match"), (0.0, 0, "unlikely match"))
"""(minimum relevance, level 0 to 3, words); a good match, level 2, begins at retrieval.min_relevance"""
RESEMBLANCES = (
    (0.98, 3, "nearly the same"),
    (0.7, 3, "very similar"),
    (0.4, 2, "similar"),
    (0.2, 1, "a little similar"),
)
"""(minimum cosine of two adapters' weights, level, words)"""


def match(relevance: float, min_relevance: float) -> tuple[int, str]:
    """Return the level (0 to 3) of a relevance, and its words."""
    steps = sorted([*MATCHES, (min_relevance, 2, "good match")], reverse=True)
    return next((level, words) for minimum, level, words in steps if relevance >= minimum)


def resemblance(cosine: float) -> tuple[int, str]:
    """Return the level (0 to 3) of the cosine of two adapters' weights, and its words."""
    return next(
        ((level, words) for minimum, level, words in RESEMBLANCES if cosine >= minimum), (0, "not similar")
    )
