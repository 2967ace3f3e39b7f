"""The sources of one file or image: all listings of the same content, merged under the strictest metadata."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from autolora.catalog.names import FOLDER_HUB
from autolora.records import NSFW_LEVELS, ListedRendering, Listing, Permissions
from autolora.storage.hashes import hash_value


@dataclass(frozen=True, slots=True)
class Sources:
    """All listings of one file: at least one, the primary listing first."""

    listings: tuple[Listing, ...]

    @property
    def primary(self) -> Listing:
        """The listing that gives the adapter its name."""
        return self.listings[0]

    @property
    def ids(self) -> list[str]:
        """Each source as hub:id, without repetition."""
        return list(dict.fromkeys(f"{listing.hub}:{listing.id}" for listing in self.listings))

    @property
    def digest(self) -> str:
        """The sha256 of the metadata from all hubs."""
        if len(self.listings) == 1:
            return self.primary.digest
        return hash_value([listing.digest for listing in self.listings])

    @property
    def first_seen(self) -> date:
        """The first day on which a crawl listed the file on any hub."""
        return min(listing.first_seen for listing in self.listings)

    @property
    def renderings(self) -> tuple[ListedRendering, ...]:
        """The renderings of all sources, each key once."""
        by_key: dict[str, ListedRendering] = {}
        for listing in self.listings:
            for rendering in listing.renderings:
                by_key.setdefault(rendering.key, rendering)
        return tuple(by_key.values())

    @property
    def description(self) -> tuple[str, ...]:
        """What the sources say that the adapter does, each text once, and the names of copies of one's own file."""
        copies = (f"also {listing.id}" for listing in self.listings[1:] if listing.hub == FOLDER_HUB)
        texts = (text for listing in self.listings for text in listing.description)
        return tuple(dict.fromkeys((*texts, *copies)))

    @property
    def permissions(self) -> Permissions:
        """The permissions that all sources grant."""
        permissions = [listing.permissions for listing in self.listings]
        return Permissions(
            commercial=strictest((item.commercial for item in permissions), strict=False),
            derivatives=strictest((item.derivatives for item in permissions), strict=False),
            credit=strictest((item.credit for item in permissions), strict=True),
        )

    @property
    def nsfw(self) -> bool:
        """Whether any source is flagged as not safe for work."""
        return any(listing.nsfw for listing in self.listings)

    @property
    def nsfw_level(self) -> str | None:
        """The highest level that a source reports; None if no source reports one."""
        levels = [listing.nsfw_level for listing in self.listings if listing.nsfw_level is not None]
        return max(levels, key=NSFW_LEVELS.index) if levels else None

    @property
    def person(self) -> bool | None:
        """Whether any source is flagged as showing a real person."""
        return strictest((listing.person for listing in self.listings), strict=True)

    @property
    def minor(self) -> bool | None:
        """Whether any source is flagged as showing a minor."""
        return strictest((listing.minor for listing in self.listings), strict=True)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """All occurrences of one image in listings: at least one, in the order of the catalog."""

    occurrences: tuple[tuple[Listing, ListedRendering], ...]
    """each listing with its own metadata of the image"""

    @property
    def primary(self) -> tuple[Listing, ListedRendering]:
        """The occurrence that gives the image its name."""
        return self.occurrences[0]

    @property
    def hub(self) -> str:
        """The hub that the image is downloaded from first."""
        return self.primary[0].hub

    @property
    def key(self) -> str:
        """ListedRendering.key"""
        return self.primary[1].key


def group_sources(
    listings: Iterable[Listing], key: Callable[[Listing], str] = lambda listing: listing.key
) -> dict[str, Sources]:
    """Return key -> the sources of one file, ordered by first_seen, within a day in the order of the listings.

    Of one's own files of a day, those come first about which something is said, then the least recently changed.

    key: returns the group of a listing. The groups are ordered by their first source.
    """
    groups: dict[str, list[Listing]] = {}
    for listing in sorted(listings, key=precedence):
        groups.setdefault(key(listing), []).append(listing)
    return {group: Sources(tuple(members)) for group, members in groups.items()}


def precedence(listing: Listing) -> tuple[date, bool, str]:
    """Return what is sorted by: the day; of one's own files whether nothing is said about it, and its last change."""
    if listing.hub != FOLDER_HUB:
        return listing.first_seen, False, ""
    is_silent = not listing.trigger_words and not listing.description
    return listing.first_seen, is_silent, listing.updated or ""


def image_sources(listings: Iterable[Listing]) -> dict[str, ImageSource]:
    """Return the images of listings by key, each with all its occurrences in the order of the listings."""
    occurrences: defaultdict[str, list[tuple[Listing, ListedRendering]]] = defaultdict(list)
    for listing in listings:
        for rendering in listing.renderings:
            occurrences[rendering.key].append((listing, rendering))
    return {key: ImageSource(tuple(pairs)) for key, pairs in occurrences.items()}


def strictest(values: Iterable[bool | None], strict: bool) -> bool | None:
    """Return `strict` if any value equals it, else None if any value is unknown, else the opposite of `strict`."""
    distinct = set(values)
    if strict in distinct:
        return strict
    return None if None in distinct else not strict
