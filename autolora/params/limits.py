"""Limits on what an image is drawn from, in Python, on the command line and on the page."""

from collections.abc import Sequence
from numbers import Real
from typing import Annotated, Literal, TypeGuard, get_args

from autolora.errors import MismatchError
from autolora.records import Hit
from autolora.storage.bounds import Bound
from autolora.storage.suggestions import did_you_mean
from autolora.storage.validation import SHA256

Method = Literal["direct", "gated"]
"""methods of fusion, see docs/fusion.md"""
METHODS: tuple[Method, ...] = get_args(Method)
MAX_ACTING = 100
"""adapters of one image: each needs memory for its update, and the sum of more leaves nothing of any"""
MAX_STRENGTH = 4.0
"""largest factor of an adapter's update: one many times as large as it was trained leaves nothing of an image, and a
number such as 80 is meant as percent"""
MAX_SEED = 2**63 - 1
"""largest seed; the smallest is 0"""
Acting = Annotated[
    int, Bound(f"between 1 and {MAX_ACTING}, both allowed", lambda value: 1 <= value <= MAX_ACTING)
]
Seed = Annotated[int, Bound(f"between 0 and {MAX_SEED}, both allowed", lambda value: 0 <= value <= MAX_SEED)]
GET_HITS = "`collection.search` finds adapters by a prompt, and `collection.named` by their names"


def check_hits(hits: Sequence[Hit]) -> None:
    """Check the hits that shall act together.

    Raises TypeError if they are not a list of hits, such as one hit, or names of adapters; MismatchError if there are
    more than act together, one is given twice, or one has a strength, a relevance or a sha256 that is not valid.
    """
    check_types(hits)
    check_acting([hit.sha256 for hit in hits], [f"{hit.hub}:{hit.id}" for hit in hits])
    for hit in hits:
        if not isinstance(hit.sha256, str) or not SHA256.fullmatch(hit.sha256):
            raise MismatchError(
                f"the sha256 of adapter '{hit.id}' is {hit.sha256!r}, expected 64 lower-case hex digits: {GET_HITS}"
            )
        check_strength(hit.id, hit.strength)
        check_relevance(hit.id, hit.relevance)


def check_types(hits: Sequence[Hit]) -> None:
    """Raise TypeError if hits are not a list of hits, such as one hit, or names of adapters."""
    if isinstance(hits, Hit):
        raise TypeError("expected a list of hits, not one hit: give `[hit]`")
    if isinstance(hits, str) or not isinstance(hits, Sequence):
        raise TypeError(f"expected a list of hits, not {type(hits).__name__}: {GET_HITS}")
    if wrong := [type(hit).__name__ for hit in hits if not isinstance(hit, Hit)]:
        raise TypeError(f"expected a list of hits, but it contains {wrong[0]}: {GET_HITS}")


def check_strength(name: str, strength: object) -> float:
    """Return the strength of an adapter; raises MismatchError if it is not a number from -MAX_STRENGTH to MAX_STRENGTH.

    name: of the adapter.
    """
    if _is_number(strength) and abs(factor := float(strength)) <= MAX_STRENGTH:
        return factor
    raise MismatchError(
        f"the strength of adapter '{name}' is {strength!r}: give a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}, "
        "such as 0.8"
    )


def check_relevance(name: str, relevance: object) -> None:
    """Raise MismatchError if the relevance of an adapter is neither None nor a number from 0 to 1.

    name: of the adapter.
    """
    if relevance is None or (_is_number(relevance) and 0 <= float(relevance) <= 1):
        return
    raise MismatchError(
        f"the relevance of adapter '{name}' is {relevance!r}: give a number from 0 to 1, or None, which counts as 1"
    )


def check_acting(adapters: Sequence[str], names: Sequence[str] | None = None) -> None:
    """Raise MismatchError if more adapters than MAX_ACTING are given to act together, or one of them twice.

    adapters: sha256 of each. names: what an error calls each; by default the beginning of its sha256.
    """
    if len(adapters) > MAX_ACTING:
        raise MismatchError(
            f"{len(adapters)} adapters are given, but at most {MAX_ACTING} act together: give fewer"
        )
    check_distinct(adapters, names)


def check_distinct(adapters: Sequence[str], names: Sequence[str] | None = None) -> None:
    """Raise MismatchError if an adapter is given twice; arguments as `check_acting`."""
    for position, sha256 in enumerate(adapters):
        if sha256 in adapters[:position]:
            name = names[position] if names else sha256[:8]
            raise MismatchError(
                f"the adapter {name} is given twice: give it once, with the strength that it should have"
            )


def check_prompt(prompt: object) -> str:
    """Return a prompt; raises ValueError if it is empty or not valid Unicode, TypeError if it is not a text."""
    if not isinstance(prompt, str):
        raise TypeError(f"the prompt is of type {type(prompt).__name__}, expected a text")
    if not prompt.strip():
        raise ValueError("the prompt is empty: say what the image shows")
    if not is_unicode(prompt):
        raise ValueError("the prompt is not valid UTF-8: remove the halves of surrogate pairs")
    return prompt


def is_unicode(text: str) -> bool:
    """Return whether a string is valid Unicode: JSON and command lines can give half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_method(method: str) -> Method:
    """Return a method of fusion; raises ValueError if there is none of this name."""
    for known in METHODS:
        if method == known:
            return known
    suggestion = did_you_mean(str(method), METHODS)
    raise ValueError(f"there is no method of fusion '{method}'{suggestion}: give one of {', '.join(METHODS)}")


def check_seed(seed: object) -> None:
    """Raise ValueError if the seed of an image is not a whole number from 0 to MAX_SEED."""
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"the seed is {seed!r}: give a whole number from 0 to {MAX_SEED}")


def check_count(k: object) -> int:
    """Return the number of adapters to find; raises ValueError if it is not a whole number from 1."""
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}, but must be a whole number from 1: the number of adapters to find")
    return k


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)
