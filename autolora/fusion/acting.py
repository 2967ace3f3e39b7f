"""The hits that act together, checked. Importing this does not import torch."""

from collections.abc import Sequence

from autolora.errors import MismatchError
from autolora.params.limits import check_acting, check_relevance, check_strength
from autolora.records import Hit
from autolora.storage.validation import SHA256

GET_HITS = "`pool.search` finds adapters by a prompt, and `pool.named` by their names"


def acting_hits(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits whose adapters act, those of strength other than 0; errors as `check_hits`."""
    check_hits(hits)
    return [hit for hit in hits if hit.strength != 0]


def check_hits(hits: Sequence[Hit]) -> None:
    """Check the hits that shall act together.

    Raises TypeError if they are not a list of hits, such as one hit, or names of adapters; MismatchError if there are
    more than act together, one is given twice, or one has a strength, a relevance or a sha256 that is not valid.
    """
    check_types(hits)
    check_acting([hit.sha256 for hit in hits], list(map(name_of, hits)))
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


def name_of(hit: Hit) -> str:
    """Return what a message calls an adapter."""
    return f"{hit.hub}:{hit.id}"
