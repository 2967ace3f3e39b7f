"""Which adapter is the style: K-LoRA treats content and style differently, and all other methods take any order."""

from collections.abc import Sequence

from autolora.errors import MismatchError
from autolora.params import METHODS_WITH_STYLE, Method
from autolora.records import Hit


def order_by_role(hits: Sequence[Hit], method: Method, style: str | None) -> list[Hit]:
    """Return the adapters that act, those of strength other than 0; if one is the style, it is the last.

    style: sha256 of an adapter; None if no one has said which it is. Raises MismatchError if the method needs to know
    and there are two adapters, if it has no use for a style, or if the style is not one of the adapters.
    """
    acting = [hit for hit in hits if hit.strength != 0]
    if style is None:
        if method in METHODS_WITH_STYLE and len(acting) == 2:
            names = " or ".join(f"{hit.hub}:{hit.id}" for hit in acting)
            raise MismatchError(
                f"the method `{method}` needs to know which adapter is the style, {names}: name it (`--style NAME`, in "
                "Python `style=hit`, on the page after selecting both), or use a method without roles, such as "
                "`klora_balanced`"
            )
        return acting
    if method not in METHODS_WITH_STYLE:
        raise MismatchError(
            f"a style is given, but the method `{method}` makes no difference between adapters: give no style, or "
            f"use one of {', '.join(METHODS_WITH_STYLE)}"
        )
    if style not in {hit.sha256 for hit in hits}:
        names = ", ".join(f"{hit.hub}:{hit.id}" for hit in hits) or "there are none"
        raise MismatchError(
            f"the style, sha256 {style[:8]}, is not one of the adapters ({names}): name one of them"
        )
    return sorted(acting, key=lambda hit: hit.sha256 == style)


def role_of(sha256: str, style: str | None) -> str:
    """Return `style` or `content`; an empty text if the adapters have no roles."""
    if style is None:
        return ""
    return "style" if sha256 == style else "content"
