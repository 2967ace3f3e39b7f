"""Pages and parts of pages: search, the details of an adapter, and what a refresh brought."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from autolora.report.values import report_values
from autolora.web.query import MAX_RESULTS, RESULTS, View
from autolora.web.rendering import render
from autolora.web.results import Card, cards_of
from autolora.web.site import Site

router = APIRouter(include_in_schema=False)
QueryView = Annotated[View, Query()]
NEAREST = 6
"""similar adapters among the details of one"""


@router.get("/")
def show_page(request: Request, view: QueryView) -> HTMLResponse:
    """Return the page: the prompt box, the filters, the results, and the open adapter if one is."""
    site: Site = request.app.state.site
    if site.served.current is None:
        return render(request, "empty.html", problem=site.served.problem)
    opened_index = site.opened()
    values = _results(site, view) | {
        "facets": opened_index.facets,
        "has_weights": opened_index.retriever.index.has_weights,
        "has_captioner": site.params.captions.engine is not None,
    }
    opened = _details(site, view, view.adapter) if view.adapter else {"card": None}
    return render(request, "search.html", **values | opened)


@router.get("/parts/results")
def show_results(request: Request, view: QueryView) -> HTMLResponse:
    """Return the results alone, which replace the former ones while a visitor types."""
    return render(request, "parts/results.html", **_results(request.app.state.site, view))


@router.get("/parts/adapters/{sha256}")
def show_adapter(request: Request, sha256: str, view: QueryView) -> HTMLResponse:
    """Return the details of an adapter, and why a search has found it."""
    site: Site = request.app.state.site
    return render(request, "parts/adapter.html", view=view, **_details(site, view, sha256))


@router.get("/pool")
def show_pool(request: Request) -> HTMLResponse:
    """Return what the report shows, without its images: the page of the search begins with those."""
    site: Site = request.app.state.site
    values = report_values(site.root, site.params)
    return render(request, "pool.html", **values, newest=(), adapter_url="/?adapter=")


def _results(site: Site, view: View) -> dict[str, Any]:
    opened = site.opened()
    results = site.search(view)
    similar_to = cards_of(opened, site.gallery, site.params, view, [view.like]) if view.like else []
    uploaded = site.uploads.find(view.file) if view.file else None
    return {
        "view": view,
        "results": results,
        "similar_to": similar_to[0] if similar_to else None,
        "uploaded": uploaded,
        "is_known": uploaded is not None and uploaded.sha256 in opened.positions,
        "selected": cards_of(opened, site.gallery, site.params, view, view.use),
        "more": min(len(results.cards) + RESULTS, MAX_RESULTS),
    }


def _details(site: Site, view: View, sha256: str) -> dict[str, Any]:
    """Return what the details of an adapter show; without a card if the index does not contain it."""
    opened = site.opened()
    cards = cards_of(opened, site.gallery, site.params, view, [sha256])
    if not cards:
        return {"card": None, "missing": sha256}
    (card,) = cards
    has_weights = opened.retriever.index.has_weights
    like = view.model_copy(update={"like": sha256, "file": None, "k": NEAREST})
    nearest = site.search(like).cards if has_weights else []
    reasons = None
    if card.hit is not None:
        (reasons,) = opened.retriever.reasons(view.q, [card.hit])
    return {
        "card": card,
        "images": _sized(site, card),
        "nearest": nearest,
        "reasons": reasons,
        "has_weights": has_weights,
    }


def _sized(site: Site, card: Card) -> list[dict[str, Any]]:
    """Return the images of an adapter with their width and height; those that are not in the pool are left out."""
    sizes = {image: site.thumbnails.size(image) for image in card.images}
    return [
        {"sha256": image, "width": size[0], "height": size[1]}
        for image, size in sizes.items()
        if size is not None
    ]
