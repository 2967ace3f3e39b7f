"""The same file on several hubs: one adapter with its origins, taken at the strictest that any of them says."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from autolora.records import NSFW_LEVELS, ListedRendering, Listing, Permissions
from autolora.storage.files import hash_value


@dataclass(frozen=True, slots=True)
class Origins:
    """Where one file is listed: at least one listing, the one that names it first."""

    listings: tuple[Listing, ...]

    @property
    def named(self) -> Listing:
        """The listing that names the adapter."""
        return self.listings[0]

    @property
    def names(self) -> list[str]:
        """Every origin as hub:id."""
        return list(dict.fromkeys(f"{one.hub}:{one.id}" for one in self.listings))

    @property
    def digest(self) -> str:
        """The sha256 of how all hubs describe it."""
        if len(self.listings) == 1:
            return self.named.digest
        return hash_value([one.digest for one in self.listings])

    @property
    def first_seen(self) -> date:
        """The first day on which a crawl listed it anywhere."""
        return min(one.first_seen for one in self.listings)

    @property
    def renderings(self) -> tuple[ListedRendering, ...]:
        """The pictures of all origins, each once."""
        found: dict[str, ListedRendering] = {}
        for rendering in (rendering for one in self.listings for rendering in one.renderings):
            found.setdefault(rendering.key, rendering)
        return tuple(found.values())

    @property
    def permissions(self) -> Permissions:
        """What all origins allow."""
        said = [one.permissions for one in self.listings]
        return Permissions(
            commercial=strictest((one.commercial for one in said), strict=False),
            derivatives=strictest((one.derivatives for one in said), strict=False),
            credit=strictest((one.credit for one in said), strict=True),
        )

    @property
    def nsfw(self) -> bool:
        """Whether any origin says that it is not safe for work."""
        return any(one.nsfw for one in self.listings)

    @property
    def nsfw_level(self) -> str | None:
        """The highest level that an origin says."""
        said = [one.nsfw_level for one in self.listings if one.nsfw_level is not None]
        return max(said, key=NSFW_LEVELS.index) if said else None

    @property
    def person(self) -> bool | None:
        """Whether any origin says that it shows a real person."""
        return strictest((one.person for one in self.listings), strict=True)

    @property
    def minor(self) -> bool | None:
        """Whether any origin says that it shows a minor."""
        return strictest((one.minor for one in self.listings), strict=True)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where one picture is shown: at least one entry with its own word of it, the first by precedence."""

    places: tuple[tuple[Listing, ListedRendering], ...]

    @property
    def named(self) -> tuple[Listing, ListedRendering]:
        """The place that names it."""
        return self.places[0]

    @property
    def hub(self) -> str:
        """The hub that it is asked of first."""
        return self.named[0].hub

    @property
    def key(self) -> str:
        """ListedRendering.key"""
        return self.named[1].key


def shown(listings: Iterable[Listing]) -> dict[str, Shown]:
    """Return the pictures of entries by key, each with all its places, in the order of the entries."""
    places: defaultdict[str, list[tuple[Listing, ListedRendering]]] = defaultdict(list)
    for listing in listings:
        for rendering in listing.renderings:
            places[rendering.key].append((listing, rendering))
    return {key: Shown(tuple(found)) for key, found in places.items()}


def strictest(values: Iterable[bool | None], strict: bool) -> bool | None:
    """Return `strict` where anybody says so, None where somebody says nothing, else what all say."""
    said = set(values)
    if strict in said:
        return strict
    return None if None in said else not strict
