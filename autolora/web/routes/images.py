"""Generating images: the page, its parts, and the same as JSON."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, HTMLResponse

from autolora.errors import MismatchError
from autolora.params import METHODS, Method
from autolora.params.limits import MAX_SEED, MAX_STRENGTH, check_acting, check_prompt
from autolora.records import Hit
from autolora.web.jobs import ImageRequest, Job, QueueFullError
from autolora.web.query import MAX_SELECTED, ImageView, Seed, Sha256, Text
from autolora.web.rendering import render
from autolora.web.results import cards_of
from autolora.web.site import Site

router = APIRouter()
NO_ADAPTER = "no adapter fits the prompt: the base model alone draws it; select adapters in a search to use them anyway"
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class WantedAdapter(BaseModel):
    """One adapter of an image."""

    model_config = ConfigDict(extra="forbid")

    sha256: Sha256
    strength: float = Field(1.0, ge=-MAX_STRENGTH, le=MAX_STRENGTH)


class WantedImage(BaseModel):
    """An image to generate."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text
    adapters: Annotated[list[WantedAdapter], Field(max_length=MAX_SELECTED)] | None = Field(
        None, description="empty: the base model alone; null: those that the prompt asks for"
    )
    seed: Seed = 0
    method: Method | None = Field(None, description="null: that of params.yaml")
    trigger_words: bool | None = Field(None, description="add them to the prompt; null: as params.yaml says")


@router.get("/generate", include_in_schema=False)
def show_form(request: Request, view: Annotated[ImageView, Query()]) -> HTMLResponse:
    """Return the page that generates images with the selected adapters."""
    site: Site = request.app.state.site
    selected = cards_of(site.opened(), site.gallery, site.params, view, view.use)
    return render(
        request,
        "generate.html",
        view=view,
        selected=selected,
        generation=site.params.generation,
        methods=METHODS,
        max_seed=MAX_SEED,
        jobs=[as_shown(site, job) for job in site.jobs.recent()],
    )


@router.get("/parts/images/{id}", include_in_schema=False)
def show_job(request: Request, id: JobId) -> HTMLResponse:
    """Return the state of an image, which the page asks for until the image is there."""
    site: Site = request.app.state.site
    return render(request, "parts/image.html", job=as_shown(site, _find(site, id)))


@router.get("/generated/{id}.png", include_in_schema=False)
def show_generated(request: Request, id: JobId) -> FileResponse:
    """Return a generated image, with its provenance in it."""
    job = _find(request.app.state.site, id)
    if job.file is None or not job.file.is_file():
        raise HTTPException(404, "the image does not exist (yet)")
    return FileResponse(
        job.file, media_type="image/png", filename=job.file.name, content_disposition_type="inline"
    )


@router.post("/api/images", status_code=202)
def generate_image(request: Request, wanted: WantedImage) -> dict[str, Any]:
    """Put an image into the queue; ask /api/images/ID for its state."""
    site: Site = request.app.state.site
    names = [adapter.sha256 for adapter in wanted.adapters or ()]
    try:
        check_prompt(wanted.prompt)
        check_acting(names)
    except (ValueError, MismatchError) as error:
        raise HTTPException(422, str(error)) from error
    if missing := [name for name in names if name not in site.opened().positions]:
        raise HTTPException(422, f"the index contains no adapter '{missing[0]}'")
    hits = _choose(site, wanted)
    notes = [NO_ADAPTER] if wanted.adapters is None and not hits else []
    try:
        job = site.jobs.submit(_to_request(site, wanted, hits), site.params.generation.steps, notes)
    except QueueFullError as error:
        raise HTTPException(429, "too many images wait: try again later") from error
    return as_shown(site, job)


@router.get("/api/images")
def list_images(request: Request) -> list[dict[str, Any]]:
    """Return the images that were asked for since the page was started, the newest first."""
    site: Site = request.app.state.site
    return [as_shown(site, job) for job in site.jobs.recent()]


@router.get("/api/images/{id}")
def describe_job(request: Request, id: JobId) -> dict[str, Any]:
    """Return the state of an image: waiting (with its position), running (with its step), done, failed or canceled."""
    site: Site = request.app.state.site
    return as_shown(site, _find(site, id))


@router.delete("/api/images/{id}")
def cancel_or_remove_image(request: Request, id: JobId) -> dict[str, Any]:
    """Cancel an image that waits or is being generated; remove one that has failed or was canceled before."""
    site: Site = request.app.state.site
    job = _find(site, id)
    site.jobs.remove(job)
    site.jobs.cancel(job)
    return as_shown(site, job)


def as_shown(site: Site, job: Job) -> dict[str, Any]:
    """Return what visitors see of a job."""
    return {
        "id": job.id,
        "prompt": job.request.prompt,
        "seed": job.request.seed,
        "adapters": [
            {"sha256": hit.sha256, "id": hit.id, "strength": hit.strength} for hit in job.request.hits
        ],
        "state": job.state,
        "position": site.jobs.position(job),
        "step": job.step,
        "steps": job.steps,
        "problem": job.problem,
        "image": f"/generated/{job.id}.png" if job.state == "done" else None,
        "facts": job.facts,
        "notes": job.notes,
        "width": site.params.generation.width,
        "height": site.params.generation.height,
    }


def _find(site: Site, id: str) -> Job:
    job = site.jobs.find(id)
    if job is None:
        raise HTTPException(404, "there is no such image")
    return job


def _choose(site: Site, wanted: WantedImage) -> Sequence[Hit]:
    """Return the adapters of an image, each with its strength."""
    if wanted.adapters == []:
        return []
    named = [(adapter.sha256, adapter.strength) for adapter in wanted.adapters or ()]
    return site.opened().retriever.choose(wanted.prompt, named)


def _to_request(site: Site, wanted: WantedImage, hits: Sequence[Hit]) -> ImageRequest:
    defaults = site.params.generation
    return ImageRequest(
        prompt=wanted.prompt,
        hits=tuple(hits),
        seed=wanted.seed,
        method=wanted.method or defaults.method,
        trigger_words=defaults.trigger_words if wanted.trigger_words is None else wanted.trigger_words,
    )
