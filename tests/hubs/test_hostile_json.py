"""Answers with anything anywhere: a client raises HubError or gives listings that the catalog can hold."""

import datetime
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs import Hub
from autolora.hubs.folder.client import Folder
from autolora.hubs.http.endpoint import Source
from autolora.hubs.huggingface.client import HuggingFace
from autolora.hubs.modelscope.client import ModelScope
from autolora.hubs.validation import is_safe
from autolora.records import Listing
from tests.support.tiny_pool import RULES

ANYTHING = re.compile(".*")
TODAY = datetime.date(2026, 1, 5)
ODD: list[Any] = [
    None, True, False, 0, -1, 7, 10**30, 1.5, 1e308, "", " ", "text", "../../etc/passwd", "\x00\x1b[2J", "\ud800",
    "x" * 5000, "a" * 64, "http://169.254.169.254/", [], {}, [None], [[]], {"": None}, ["a", 3, {}],
]  # fmt: skip
FILES = ("lora.safetensors", "images/1.png", "README.md")
CARD = {
    "license": "mit", "license_name": "x", "base_model": ["black-forest-labs/FLUX.1-dev"], "tags": ["lora"],
    "instance_prompt": "TOK", "widget": [{"text": "a cat", "output": {"url": "images/1.png"}}],
}  # fmt: skip
REPO = {
    "id": "ann/ink", "sha": "a" * 40, "lastModified": "2026-01-02T03:04:05.000Z", "downloads": 7, "gated": False,
    "private": False, "disabled": False, "tags": ["lora", "license:mit"], "cardData": CARD,
    "siblings": [{"rfilename": name} for name in FILES],
}  # fmt: skip
TREE = [{"path": name, "size": 9, "lfs": {"oid": "b" * 64, "size": 9}} for name in FILES]
LISTED = {
    "id": "ann/ink", "last_modified": "2026-01-02T03:04:05Z", "license": "mit", "tags": ["LoRA"], "downloads": 7,
    "private": False, "gated": False,
}  # fmt: skip
DETAIL = {
    "BaseModel": ["black-forest-labs/FLUX.1-dev"],
    "License": "mit",
    "Visibility": 5,
    "ProtectedMode": 2,
}
ENTRIES = [
    {"Path": name, "Type": "blob", "Size": 9, "Sha256": "b" * 64, "Revision": "c" * 40} for name in FILES
]


def damaged(value: Any, draw: random.Random, share: float) -> Any:
    """Return a JSON value with a share of its nodes replaced, left out or repeated."""
    if draw.random() < share:
        return draw.choice(ODD)
    if isinstance(value, dict):
        kept = {key: damaged(one, draw, share) for key, one in value.items() if draw.random() > share}
        return kept | (
            {draw.choice(list(value)): draw.choice(ODD)} if value and draw.random() < share else {}
        )
    if isinstance(value, list):
        return [damaged(one, draw, share) for one in value for _ in range(2 if draw.random() < share else 1)]
    return value


def check(listings: Iterator[Listing]) -> int:
    """Hold listings against what later stages rely on; return how many there are."""
    found = list(listings)
    for listing in found:
        row = json.loads(json.dumps(listing.to_row()))
        assert Listing.from_row(row) == listing
        assert is_safe(listing.file) and listing.url.isascii() and " " not in listing.url
        texts = [listing.license, listing.base_model, *listing.trigger_words]
        assert all(text is None or text.isprintable() for text in texts)
        assert len(listing.renderings) <= RULES.max_renderings
    return len(found)


def listings(hub: Hub) -> Iterator[Listing]:
    """Yield what a hub lists; a model that fails does not touch the others."""
    try:
        models = hub.page(RULES, None, TODAY).models
    except HubError:
        return
    for model in models:
        try:
            yield from hub.complete(model, RULES, {})
            hub.standing(model.id)
        except HubError:
            continue


@pytest.mark.long(full=5000, sample=30)
def test_any_answer_of_hugging_face(httpserver: HTTPServer, seed: int) -> None:
    draw = random.Random(seed)
    share = draw.choice([0.0, 0.02, 0.1, 0.3])

    def answer(request: Request) -> Response:
        value = TREE if "/tree/" in request.path else [REPO] * 5 if request.path == "/api/models" else REPO
        return Response(json.dumps(damaged(value, draw, share)))

    httpserver.clear()
    httpserver.expect_request(ANYTHING).respond_with_handler(answer)
    endpoint = httpserver.url_for("").rstrip("/")
    number = check(listings(HuggingFace(Source("huggingface", endpoint, 5.0, 1, None))))
    assert number == 1 or share


@pytest.mark.long(full=5000, sample=30)
def test_any_answer_of_modelscope(httpserver: HTTPServer, seed: int) -> None:
    draw = random.Random(seed)
    share = draw.choice([0.0, 0.02, 0.1, 0.3])

    def answer(request: Request) -> Response:
        page = {"models": [LISTED] * 5, "total_count": 5, "page_number": 1, "page_size": 50}
        data = {"Files": ENTRIES} if request.path.endswith("/files") else DETAIL
        name, value = ("data", page) if request.path.startswith("/openapi") else ("Data", data)
        return Response(json.dumps({"Success": True, name: damaged(value, draw, share)}))

    httpserver.clear()
    httpserver.expect_request(ANYTHING).respond_with_handler(answer)
    endpoint = httpserver.url_for("").rstrip("/")
    number = check(listings(ModelScope(Source("modelscope", endpoint, 5.0, 1, None))))
    assert number == 1 or share


@pytest.mark.long(full=5000, sample=30)
def test_any_sidecar(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    sidecar = {
        "license": "mit", "base_model": "FLUX.1-dev", "trigger_words": ["TOK"], "nsfw_level": "soft", "person": True,
        "minor": False, "renderings": ["1.png", {"path": "2.png", "prompt": "a cat", "nsfw_level": "none"}],
    }  # fmt: skip
    for name in ("ink.safetensors", "1.png", "2.png"):
        (tmp_path / name).write_bytes(b"content")
    text = json.dumps(damaged(sidecar, draw, draw.choice([0.0, 0.05, 0.3]))).encode()
    if draw.random() < 0.3:
        cut = draw.randrange(len(text))
        text = text[:cut] + draw.randbytes(draw.randrange(4)) + text[cut + draw.randrange(4) :]
    (tmp_path / "ink.json").write_bytes(text)
    assert check(listings(Folder(tmp_path))) <= 1
