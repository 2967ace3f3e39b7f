"""A small hub in memory, real to the crawl: a list in pages, models' own pages, counts of what was asked, faults."""

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autolora.errors import HubError
from autolora.hubs import Model, Page, Standing
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing
from autolora.storage.files import hash_value

MIDNIGHT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass
class Shelf:
    """A hub whose models are changed by hand between crawls."""

    name: str = "huggingface"
    page_size: int = 3
    models: dict[str, Model] = field(default_factory=dict)
    down: bool = False
    broken_pages: set[int] = field(default_factory=set)
    broken_models: set[str] = field(default_factory=set)
    """their own pages cannot be read"""
    hidden: set[str] = field(default_factory=set)
    """not in the list, but there"""
    unreadable: set[str] = field(default_factory=set)
    """in the list, as something that is no entry"""
    standings: dict[str, list[Standing | None]] = field(default_factory=dict)
    """what models' own pages answer in turn; None is no answer"""
    asked: Counter[str] = field(default_factory=Counter)

    def put(self, id: str, hour: int, file: str = "lora.safetensors", **fields: Any) -> Listing:
        """Put a model of one file on the shelf, changed so many hours after the year began; return its listing."""
        url = f"https://{self.name}/{id}/{hour}/{file}"
        picture = ListedRendering(url=f"{url}.png", sha256=hash_value(url + "png"), prompt=None)
        updated = MIDNIGHT + datetime.timedelta(hours=hour)
        described: dict[str, Any] = {
            "hub": self.name, "id": id, "version": str(hour), "file": file, "url": url, "size": 1000,
            "sha256": hash_value(url), "license": "mit", "base_model": "FLUX.1-dev", "base": "flux.1-dev",
            "nsfw": False, "trigger_words": (), "renderings": (picture,), "downloads": 10,
            "updated": f"{updated:%Y-%m-%dT%H:%M:%SZ}", "first_seen": MIDNIGHT.date(),
        }  # fmt: skip
        listing = Listing(**described | fields)
        self.models[id] = Model(id=id, version=str(hour), updated=updated, drafts=(listing,), withdrawn=False)
        return listing

    def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
        """Return the models from the cursor on, newest first."""
        self._answer("page")
        start = int(cursor or 0)
        if start // self.page_size in self.broken_pages:
            raise HubError(f"hub {self.name}: page {start // self.page_size} answered 500")
        shown = [model for id, model in self.models.items() if id not in self.hidden]
        shown.sort(key=lambda model: (model.updated, model.id), reverse=True)
        end = start + self.page_size
        drafts = [
            tuple(
                replace(draft, size=None, sha256=None, renderings=(), first_seen=today)
                for draft in model.drafts
            )
            for model in shown[start:end]
        ]
        models = [replace(model, drafts=bare) for model, bare in zip(shown[start:end], drafts, strict=True)]
        unreadable = [model.id for model in models if model.id in self.unreadable]
        return Page(
            models=tuple(model for model in models if model.id not in self.unreadable),
            next=str(end) if end < len(shown) else None,
            problems=tuple(f"{id} has no date" for id in unreadable),
            unreadable=frozenset(unreadable),
        )

    def complete(self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]) -> tuple[Listing, ...]:
        """Return the model's files in full; one request where one of them is not known."""
        if any(draft.url not in known for draft in model.drafts):
            self._answer("model")
            if model.id in self.broken_models:
                raise HubError(f"hub {self.name}: {model.id} answered 500")
        whole = {draft.url: draft for draft in self.models[model.id].drafts}
        return tuple(
            replace(
                draft,
                size=whole[draft.url].size,
                sha256=whole[draft.url].sha256,
                renderings=whole[draft.url].renderings,
            )
            for draft in model.drafts
        )

    def standing(self, id: str) -> Standing:
        """Return what is next in `standings`, or whether the model is on the shelf."""
        self._answer("standing")
        answers = self.standings.get(id)
        if answers:
            answer = answers.pop(0)
            if answer is None:
                raise HubError(f"hub {self.name}: {id} answered 500")
            return answer
        return Standing.THERE if id in self.models else Standing.ABSENT

    def download(self, url: str, target: Path, limit: int) -> str:
        """Refuse: nobody downloads from a shelf."""
        raise HubError(f"hub {self.name}: {url} cannot be had")

    def _answer(self, what: str) -> None:
        self.asked[what] += 1
        if self.down:
            raise HubError(f"hub {self.name} cannot be reached")
