"""Whether the page can answer, and how fresh its index is: for monitors and load balancers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from autolora.clock import now
from autolora.errors import AutoLoraError
from autolora.refresh.last_refresh import read_last_refresh
from autolora.releases.state import read_state
from autolora.releases.tags import release_tags
from autolora.web.site import Site

router = APIRouter(include_in_schema=False)


@router.get("/health")
def show_health(request: Request) -> JSONResponse:
    """Return the state as JSON, with status 503 if no index can be searched.

    `status` is `ok`, `stale`, `refused`, `failed`, or `unavailable`; all but the last answer searches.
    """
    site: Site = request.app.state.site
    if site.served.current is None:
        return JSONResponse({"status": "unavailable", "problem": site.served.problem}, 503)
    searched = site.served.current.retriever.index
    content: dict[str, Any] = {"index": searched.digest, "adapters": len(searched.rows)}
    try:
        return JSONResponse(_status(site) | content)
    except AutoLoraError as error:  # a damaged record hides nothing that is searched
        return JSONResponse({"status": "failed", "problem": str(error)} | content)


def _status(site: Site) -> dict[str, Any]:
    """Return the status, the served release with its age, the pin, the gate's decision and the last refresh."""
    last, time = read_last_refresh(site.root), now()
    state = read_state(site.root, last, site.params.refresh.stale_days, time)
    outcome = "refused" if last.is_refused else "failed" if last.problem else "succeeded"
    status = "stale" if state.stale else "ok" if outcome == "succeeded" else outcome
    tag = next((tag.name for tag in release_tags(site.root) if tag.index == state.index), None)
    refresh = {
        "outcome": outcome if last.failed or last.succeeded else None,
        "ended": last.failed or last.succeeded,
        "reason": last.reason or last.problem,
        "running_since": last.started,
    }
    return {"status": status, "release": tag, "last_refresh": refresh} | state.to_json(time)
