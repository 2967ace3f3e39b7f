"""Images: reduced renderings of the pool."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request
from starlette.responses import Response

from autolora.web.site import Site

router = APIRouter(include_in_schema=False)
CACHED = {"Cache-Control": "private, max-age=86400"}
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.get("/images/{sha256}/{side}.webp")
def show_image(
    request: Request, sha256: Sha256, side: int, nsfw: Annotated[bool, Query()] = False
) -> Response:
    """Return a rendering; one that is not safe for work only on request."""
    site: Site = request.app.state.site
    if sha256 in site.gallery.unsafe and not nsfw:
        raise HTTPException(404, "this image is not safe for work: ask for such images")
    content = site.thumbnails.load(sha256, side)
    if content is None:
        raise HTTPException(404, "there is no such image")
    return Response(content, media_type="image/webp", headers=CACHED)
