"""The searches of the page as JSON; /api/openapi.json describes them."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request

from autolora.web.query import Search
from autolora.web.results import Card, cards_of
from autolora.web.site import Site

router = APIRouter(prefix="/api")
PRIVATE = ("recipe", "listing_digest", "captions_digest", "exact_hash", "row_hash")
"""columns of the index that say nothing about an adapter"""


@router.get("/search")
def search_adapters(request: Request, wanted: Annotated[Search, Query()]) -> dict[str, Any]:
    """Return the adapters that pass the filters, best first."""
    site: Site = request.app.state.site
    results = site.search(wanted)
    return {
        "index": results.index,
        "num_adapters": results.num_adapters,
        "num_passing": results.num_passing,
        "unanswered": [asdict(row) for row in results.survey.unanswered],
        "further": results.survey.further,
        "num_hidden": results.survey.num_hidden,
        "unread": results.unread or None,
        "adapters": [as_json(card) for card in results.cards],
    }


@router.get("/adapters/{sha256}")
def describe_adapter(
    request: Request,
    sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
    wanted: Annotated[Search, Query()],
) -> dict[str, Any]:
    """Return an adapter, and with a prompt why a search finds it."""
    site: Site = request.app.state.site
    opened = site.opened()
    cards = cards_of(opened, site.gallery, site.params, wanted, [sha256])
    if not cards:
        raise HTTPException(404, "the index contains no such adapter")
    reasons = opened.retriever.reasons(wanted.q, [cards[0].hit]) if cards[0].hit else []
    return as_json(cards[0]) | {"reasons": asdict(reasons[0]) if reasons else None}


def as_json(card: Card) -> dict[str, Any]:
    """Return an adapter as JSON: its columns of the index, and how it fits the search."""
    columns = {name: value for name, value in card.row.items() if name not in PRIVATE}
    return columns | {
        "score": card.score,
        "relevance": card.hit.relevance if card.hit else None,
        "part": card.hit.part if card.hit else None,
        "match": card.words or None,
        "page": card.page,
        "images": card.images,
        "does": card.does or None,
    }
