"""A hub in memory for tests of the crawl: a paged list, model pages, counts of requests, and faults."""

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Availability, Model, Page
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing
from autolora.storage.hashes import hash_value

MIDNIGHT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass
class FakeHub:
    """A hub whose models a test changes between crawls."""

    name: str = "huggingface"
    page_size: int = 3
    models: dict[str, Model] = field(default_factory=dict)
    down: bool = False
    broken_pages: set[int] = field(default_factory=set)
    broken_models: set[str] = field(default_factory=set)
    """models whose own pages cannot be read"""
    hidden: set[str] = field(default_factory=set)
    """models that are missing from the list, but available"""
    unreadable: set[str] = field(default_factory=set)
    """models whose entries in the list are invalid"""
    availabilities: dict[str, list[Availability | None]] = field(default_factory=dict)
    """model -> the next responses of its own page; None: the request fails"""
    requests: Counter[str] = field(default_factory=Counter)
    """kind of request -> number of requests"""

    def put(self, id: str, hour: int, file: str = "lora.safetensors", **fields: Any) -> Listing:
        """Publish a model with one file, updated `hour` hours after the start of 2026; return its listing."""
        url = f"https://{self.name}/{id}/{hour}/{file}"
        rendering = ListedRendering(url=f"{url}.png", sha256=hash_value(url + "png"), prompt=None)
        updated = MIDNIGHT + datetime.timedelta(hours=hour)
        values: dict[str, Any] = {
            "hub": self.name, "id": id, "version": str(hour), "file": file, "url": url, "size": 1000,
            "sha256": hash_value(url), "license": "mit", "base_model": "FLUX.1-dev", "base": "flux.1-dev",
            "nsfw": False, "trigger_words": (), "renderings": (rendering,), "downloads": 10,
            "updated": f"{updated:%Y-%m-%dT%H:%M:%SZ}", "first_seen": MIDNIGHT.date(),
        }  # fmt: skip
        listing = Listing(**values | fields)
        self.models[id] = Model(
            id=id, version=str(hour), updated=updated, partial_listings=(listing,), withdrawn=False
        )
        return listing

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return the page of models that starts at the cursor, newest first."""
        self._count("page")
        start = int(cursor or 0)
        if start // self.page_size in self.broken_pages:
            raise HubError(f"hub {self.name}: page {start // self.page_size} answered 500")
        listed = [model for id, model in self.models.items() if id not in self.hidden]
        listed.sort(key=lambda model: (model.updated, model.id), reverse=True)
        end = start + self.page_size
        models = [_without_details(model, today) for model in listed[start:end]]
        unreadable = [model.id for model in models if model.id in self.unreadable]
        return Page(
            models=tuple(model for model in models if model.id not in self.unreadable),
            next=str(end) if end < len(listed) else None,
            problems=tuple(f"{id} has no date" for id in unreadable),
            unreadable=frozenset(unreadable),
        )

    def complete_listings(
        self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
    ) -> tuple[Listing, ...]:
        """Return the model's complete listings; a single request if one of them is not known."""
        if any(listing.url not in known for listing in model.partial_listings):
            self._count("model")
            if model.id in self.broken_models:
                raise HubError(f"hub {self.name}: {model.id} answered 500")
        complete = {listing.url: listing for listing in self.models[model.id].partial_listings}
        return tuple(
            replace(
                listing,
                size=complete[listing.url].size,
                sha256=complete[listing.url].sha256,
                renderings=complete[listing.url].renderings,
            )
            for listing in model.partial_listings
        )

    def availability(self, id: str) -> Availability:
        """Return the next response in `availabilities`, or else whether the model is published."""
        self._count("availability")
        responses = self.availabilities.get(id)
        if responses:
            response = responses.pop(0)
            if response is None:
                raise HubError(f"hub {self.name}: {id} answered 500")
            return response
        return Availability.AVAILABLE if id in self.models else Availability.NOT_FOUND

    def download(self, url: str, target: Path, limit: int) -> str:
        """Raise HubError: this hub has no files."""
        raise HubError(f"hub {self.name}: {url} cannot be downloaded")

    def _count(self, kind: str) -> None:
        """Count a request; raise HubError if the hub is down."""
        self.requests[kind] += 1
        if self.down:
            raise HubError(f"hub {self.name} cannot be reached")


def _without_details(model: Model, today: datetime.date) -> Model:
    """Return a model as the list contains it, without sizes, hashes and renderings."""
    listings = (
        replace(listing, size=None, sha256=None, renderings=(), first_seen=today)
        for listing in model.partial_listings
    )
    return replace(model, partial_listings=tuple(listings))
