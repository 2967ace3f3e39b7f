"""What sidecars say about a LoRA file, whichever program wrote them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autolora.hubs.labels import highest_level
from autolora.records import Permissions


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarImage:
    """An image that a sidecar lists."""

    path: str
    """safe, relative to the sidecar's folder"""
    prompt: str | None = None
    nsfw_level: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """The fields of a sidecar; None if a field is missing or not valid."""

    license: str | None = None
    permissions: Permissions | None = None
    """None: those that the license implies"""
    base_model: str | None = None
    trigger_words: tuple[str, ...] | None = None
    description: tuple[str, ...] | None = None
    nsfw_level: str | None = None
    person: bool | None = None
    minor: bool | None = None
    renderings: tuple[SidecarImage, ...] | None = None


def merge(sidecars: Sequence[Sidecar]) -> Sidecar:
    """Return the sidecars of one file as one: the first one that states a field counts, and for ratings the strictest.

    License and permissions come from the same sidecar.
    """
    licensed = next((sidecar for sidecar in sidecars if sidecar.license), Sidecar())
    return Sidecar(
        license=licensed.license,
        permissions=licensed.permissions,
        base_model=next((sidecar.base_model for sidecar in sidecars if sidecar.base_model), None),
        trigger_words=next((sidecar.trigger_words for sidecar in sidecars if sidecar.trigger_words), None),
        description=next((sidecar.description for sidecar in sidecars if sidecar.description), None),
        nsfw_level=highest_level(*(sidecar.nsfw_level for sidecar in sidecars)),
        person=_any(sidecar.person for sidecar in sidecars),
        minor=_any(sidecar.minor for sidecar in sidecars),
        renderings=next((sidecar.renderings for sidecar in sidecars if sidecar.renderings is not None), None),
    )


def _any(flags: Iterable[bool | None]) -> bool | None:
    """Return whether one of the known flags is set; None if none is known."""
    known = [flag for flag in flags if flag is not None]
    return any(known) if known else None
