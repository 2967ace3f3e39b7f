"""The page as an ASGI application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from difflib import get_close_matches
from pathlib import Path

from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.staticfiles import StaticFiles

import autolora
from autolora.params import Params
from autolora.web.errors import add_error_pages
from autolora.web.guard import Access, Guard
from autolora.web.rendering import COMPONENTS, STATIC
from autolora.web.routes import api, files, health, images, pages, uploads
from autolora.web.site import Site, open_site

FOLLOW_EVERY_S = 2.0
API = "/api/"

logger = logging.getLogger(__name__)


def create_app(root: Path, params: Params, access: Access, started: Callable[[], None]) -> Guard:
    """Return the application. It opens the index before the server answers, and then calls `started`."""
    site = open_site(root, params)

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(site.follow)
        following = asyncio.create_task(_follow(site))
        started()
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(site.jobs.close)

    app = FastAPI(
        title="AutoLoRA",
        version=autolora.__version__,
        summary="Search for FLUX LoRAs by what is in their weights.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=run,
        dependencies=[Depends(check_parameters)],
    )
    app.state.site = site
    for routes in (pages, files, uploads, images, api, health):
        app.include_router(routes.router)
    app.mount("/components", StaticFiles(directory=COMPONENTS), name="components")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    add_error_pages(app)
    limits = uploads.upload_limits(params.crawl.max_file_mb, params.pool.max_image_mb)
    return Guard(app, access, limits)


async def _follow(site: Site) -> None:
    """Open each newly released index while the page is running."""
    while True:
        await asyncio.sleep(FOLLOW_EVERY_S)
        try:
            await asyncio.to_thread(site.follow)
        except Exception:  # whatever it is, the page goes on with the index that it has
            logger.exception("the released index cannot be followed; trying again")


def check_parameters(request: Request) -> None:
    """Answer 422 to a request to the API with a parameter that its route does not have. Pages ignore such ones.

    A misspelled filter must not be a search without it.
    """
    path = request.scope["route"].path
    if not path.startswith(API):
        return
    operation = request.app.openapi()["paths"][path][request.method.lower()]
    known = [field["name"] for field in operation.get("parameters", ()) if field["in"] == "query"]
    if unknown := [name for name in request.query_params if name not in known]:
        raise HTTPException(422, "; ".join(_describe(name, known) for name in unknown))


def _describe(name: str, known: list[str]) -> str:
    """Return what to write instead of an unknown parameter."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"{name}: there is no such parameter: did you mean {near[0]}?"
    return f"{name}: there is no such parameter: give {', '.join(known) or 'none'}"
