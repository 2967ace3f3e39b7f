"""The pool over time: two releases side by side, what the last refresh brought, size and recall."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from autolora.releases.tags import release_tags
from autolora.report.values import report_values
from autolora.stages import is_pipeline
from autolora.web.query import Comparison
from autolora.web.releases import choices, compare, previous
from autolora.web.rendering import render
from autolora.web.results import Results
from autolora.web.served import OpenIndex
from autolora.web.site import Site

router = APIRouter(include_in_schema=False)
COMPARED = 12
"""adapters of each release"""


@router.get("/compare")
def show_comparison(request: Request, wanted: Annotated[Comparison, Query()]) -> HTMLResponse:
    """Return the results of two releases for one prompt, side by side."""
    site: Site = request.app.state.site
    revisions = site.releases.list()
    served = site.opened().retriever.index.digest
    listed = choices(site.releases.at_hand(), served)
    earlier = previous(listed, served)
    if not wanted.before and not wanted.after and earlier is not None:
        wanted = wanted.model_copy(update={"before": earlier.commit})
    index_of = {revision.commit.sha: revision.index for revision in revisions}
    return render(
        request,
        "compare.html",
        wanted=wanted,
        choices=listed if revisions else [],
        num_others=len({tag.index for tag in release_tags(site.root)} - {choice.index for choice in listed}),
        chosen={side: index_of.get(getattr(wanted, side), served) for side in ("before", "after")},
        sides=_sides(site, wanted) if wanted.q.strip() and revisions else None,
        is_pipeline=is_pipeline(site.root),
    )


@router.get("/pool")
def show_pool(request: Request) -> HTMLResponse:
    """Return what the report shows, without its images: the page of the search begins with those."""
    site: Site = request.app.state.site
    return render(
        request, "pool.html", **report_values(site.root, site.params), newest=(), adapter_url="/?adapter="
    )


def _sides(site: Site, wanted: Comparison) -> dict[str, Any]:
    """Return the results of both releases, and what has become of each adapter."""
    limit = wanted.k or COMPARED
    limited = wanted.model_copy(update={"k": limit, "like": None, "file": None})
    opened = [_open(site, commit) for commit in (wanted.before, wanted.after)]
    results: list[Results] = [site.search(limited, index) for index in opened]
    before, after = ([card.sha256 for card in result.cards] for result in results)
    in_both = opened[0].positions.keys() & opened[1].positions.keys()
    return {"before": results[0], "after": results[1], "moves": compare(before, after, in_both, limit)}


def _open(site: Site, commit: str) -> OpenIndex:
    """Return a release by its commit, or the served one if it is the same index."""
    served = site.opened()
    is_served = any(
        revision.commit.sha == commit and revision.index == served.retriever.index.digest
        for revision in site.releases.list()
    )
    return served if is_served or not commit else site.releases.open(commit, served.retriever)
