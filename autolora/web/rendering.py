"""Rendering of the page's templates. Every value is escaped, and an unknown name is an error."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from starlette.responses import HTMLResponse

from autolora.web.query import MAX_TYPED_CHARS
from autolora.web.site import Site
from autolora.web.thumbnails import CARD_PX, DETAILS_PX

STATIC = Path(__file__).parent / "static"
COMPONENTS = STATIC.parents[1] / "report" / "components"
"""which the static report uses too"""


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a template of autolora/web/templates as the answer to a request."""
    site: Site = request.app.state.site
    current = site.served.current
    page = (
        _environment()
        .get_template(template)
        .render(
            **values,
            path=request.url.path,
            num_adapters=None if current is None else len(current.retriever.index.rows),
            digest=None if current is None else current.retriever.index.digest,
            card_px=CARD_PX,
            details_px=DETAILS_PX,
            max_typed=MAX_TYPED_CHARS,
            version=static_version(),
        )
    )
    return HTMLResponse(page, status_code=status)


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("autolora.web"),
                PrefixLoader({"components": PackageLoader("autolora.report", "components")}),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def static_version() -> str:
    """Return a digest of the static files, by which browsers notice a new version of them."""
    content = hashlib.sha256()
    for path in sorted([*STATIC.iterdir(), *COMPONENTS.iterdir()]):
        content.update(path.read_bytes())
    return content.hexdigest()[:12]
