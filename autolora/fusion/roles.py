"""The adapters that act, and which of them is the style: K-LoRA treats content and style differently, and all other
methods take any order. Importing this does not import torch."""

from collections.abc import Sequence

from autolora.errors import MismatchError
from autolora.params import METHODS_WITH_STYLE, Method, check_method
from autolora.params.limits import check_acting, check_relevance, check_strength
from autolora.records import Hit
from autolora.storage.validation import SHA256

GET_HITS = "`collection.search` finds adapters by a prompt, and `collection.named` by their names"


def order_by_role(hits: Sequence[Hit], method: Method, style: Hit | None) -> list[Hit]:
    """Return the adapters that act, those of strength other than 0; if one is the style, it is the last.

    style: None if no one has said which it is. Every image and every `fuse` passes here before anything is loaded.
    Raises ValueError if there is no such method; TypeError and MismatchError as `check_hits`; MismatchError if the
    method combines two adapters and there are more, or needs to know which of two is the style, if it has no use for a
    style, or if the style is not one of the adapters.
    """
    check_method(method)
    check_hits(hits)
    acting = [hit for hit in hits if hit.strength != 0]
    if method in METHODS_WITH_STYLE and len(acting) > 1:
        check_pair([name_of(hit) for hit in acting])
    if style is None:
        if method in METHODS_WITH_STYLE and len(acting) == 2:
            raise MismatchError(
                f"the method `{method}` needs to know which adapter is the style, {names_of(acting, ' or ')}: name it "
                "(`--style NAME`, in Python `style=hit`, on the page after selecting both), or use a method without "
                "roles, such as `klora_balanced`"
            )
        return acting
    if not isinstance(style, Hit):
        raise TypeError(f"the style is of type {type(style).__name__}, expected one of the hits: {GET_HITS}")
    if method not in METHODS_WITH_STYLE:
        raise MismatchError(
            f"a style is given, but the method `{method}` makes no difference between adapters: give no style, or "
            f"use one of {', '.join(METHODS_WITH_STYLE)}"
        )
    if style.sha256 not in {hit.sha256 for hit in hits}:
        raise wrong_style(f"the style, sha256 {style.sha256[:8]},", hits)
    return sorted(acting, key=lambda hit: hit.sha256 == style.sha256)


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


def check_pair(names: Sequence[str]) -> None:
    """Raise MismatchError if there are not two adapters, which K-LoRA needs. names: what the error calls them."""
    if len(names) != 2:
        raise MismatchError(
            f"K-LoRA combines a content adapter and a style adapter, but {len(names)} are given ({', '.join(names)}): "
            "give two (`-k 2`, `--adapter` twice, in Python two hits), or use the method `klora_balanced`"
        )


def wrong_style(style: str, hits: Sequence[Hit]) -> MismatchError:
    """Return the error that the style is not one of the adapters. style: what the error calls it."""
    if len(hits) > 1:
        advice = "name one of them"
    else:
        advice = "give both adapters (`--adapter` twice, in Python two hits), and name one of them"
    return MismatchError(f"{style} is not one of the adapters ({names_of(hits)}): {advice}")


def names_of(hits: Sequence[Hit], separator: str = ", ") -> str:
    """Return the names of adapters for a message."""
    return separator.join(map(name_of, hits)) or "there are none"


def name_of(hit: Hit) -> str:
    """Return what a message calls an adapter."""
    return f"{hit.hub}:{hit.id}"


def role_of(sha256: str, style: str | None) -> str:
    """Return `style` or `content`; an empty text if the adapters have no roles."""
    if style is None:
        return ""
    return "style" if sha256 == style else "content"
