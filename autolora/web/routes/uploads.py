"""Files that visitors drop onto the page. They arrive as the body of a request, so that nothing has to be parsed."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from autolora.errors import MissingArtifact
from autolora.search.by_image import NO_CAPTIONER
from autolora.storage.files import MB
from autolora.web.provenance import ImageRecord, read_image
from autolora.web.rendering import render
from autolora.web.site import Site

router = APIRouter()
FileName = Annotated[str, Query(max_length=200, description="name of the file, as the page shows it")]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
FILES, IMAGES, IMAGE_PARTS, CAPTIONS = "/api/files", "/api/provenance", "/parts/provenance", "/api/captions"


def upload_limits(max_file_mb: float, max_image_mb: float) -> dict[str, int]:
    """Return path -> bytes that a request may upload there."""
    return {
        FILES: int(max_file_mb * MB),
        **dict.fromkeys((IMAGES, IMAGE_PARTS, CAPTIONS), int(max_image_mb * MB)),
    }


@router.post(FILES, openapi_extra=BODY)
async def upload_file(request: Request, name: FileName = "file.safetensors") -> dict[str, Any]:
    """Read a LoRA file (the body of the request) and return its id, which the parameter `file` of a search takes."""
    site: Site = request.app.state.site
    index = site.opened().retriever.index
    async with site.uploads.receive(request, site.params.crawl.max_file_mb) as path:
        lora = await asyncio.to_thread(site.file_encoder.read, path, name, index)
    return {
        "id": site.uploads.remember(lora),
        "name": lora.name,
        "sha256": lora.sha256,
        "layout": lora.layout,
        "rank": lora.rank,
        "num_slots": lora.num_slots,
        "warnings": list(lora.warnings),
    }


@router.post(IMAGES, openapi_extra=BODY)
async def describe_image(request: Request) -> dict[str, Any]:
    """Return how a generated image (the body of the request, a PNG) was made."""
    return (await _receive_image(request)).provenance


@router.post(IMAGE_PARTS, include_in_schema=False)
async def show_image_record(request: Request) -> HTMLResponse:
    """Return how a generated image was made, for the drawer of the page; of another image, how to search by it."""
    site: Site = request.app.state.site
    try:
        record = await _receive_image(request)
    except MissingArtifact as error:
        return _show_other_image(request, error)
    current = site.served.current
    indexed = {} if current is None else current.positions
    known = {sha256: name for sha256, name in record.names.items() if sha256 in indexed}
    return render(request, "parts/provenance.html", record=record, known=known)


@router.post(CAPTIONS, openapi_extra=BODY)
async def caption_image(request: Request) -> dict[str, str]:
    """Return the caption of an image (the body of the request), in whose words a search finds adapters."""
    site: Site = request.app.state.site
    async with site.uploads.receive(request, site.params.pool.max_image_mb) as path:
        return {"caption": await asyncio.to_thread(site.captioner.describe, path)}


def _show_other_image(request: Request, error: MissingArtifact) -> HTMLResponse:
    """Return that nothing says how an image was made, and whether a model can describe it."""
    site: Site = request.app.state.site
    missing = NO_CAPTIONER if site.params.captions.engine is None else ""
    return render(request, "parts/other_image.html", status=404, message=error, missing=missing)


async def _receive_image(request: Request) -> ImageRecord:
    site: Site = request.app.state.site
    async with site.uploads.receive(request, site.params.pool.max_image_mb) as path:
        return await asyncio.to_thread(read_image, path)
