"""Randomly damaged responses: a client raises HubError or returns listings that are valid catalog rows."""

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
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.huggingface.client import HuggingFace
from autolora.hubs.modelscope.client import ModelScope
from autolora.hubs.validation import is_safe_path
from autolora.records import Listing
from tests.support.tiny_pool import RULES

ANY_PATH = re.compile(".*")
TODAY = datetime.date(2026, 1, 5)
UNEXPECTED: list[Any] = [
    None, True, False, 0, -1, 7, 10**30, 1.5, 1e308, "", " ", "text", "../../etc/passwd", "\x00\x1b[2J", "\ud800",
    "x" * 5000, "a" * 64, "http://169.254.169.254/", [], {}, [None], [[]], {"": None}, ["a", 3, {}],
]  # fmt: skip
FILES = ("lora.safetensors", "images/1.png", "README.md")
CARD = {
    "license": "mit", "license_name": "x", "base_model": ["black-forest-labs/FLUX.1-dev"], "tags": ["lora"],
    "instance_prompt": "TOK", "widget": [{"text": "a cat", "output": {"url": "images/1.png"}}],
}  # fmt: skip
REPOSITORY = {
    "id": "ann/ink", "sha": "a" * 40, "lastModified": "2026-01-02T03:04:05.000Z", "downloads": 7, "gated": False,
    "private": False, "disabled": False, "tags": ["lora", "license:mit"], "cardData": CARD,
    "siblings": [{"rfilename": name} for name in FILES],
}  # fmt: skip
TREE = [{"path": name, "size": 9, "lfs": {"oid": "b" * 64, "size": 9}} for name in FILES]
LIST_ENTRY = {
    "id": "ann/ink", "last_modified": "2026-01-02T03:04:05Z", "license": "mit", "tags": ["LoRA"], "downloads": 7,
    "private": False, "gated": False,
}  # fmt: skip
DETAILS = {
    "BaseModel": ["black-forest-labs/FLUX.1-dev"],
    "License": "mit",
    "Tags": ["LoRA", "nsfw"],
    "TriggerWords": ["inkwsh"],
    "MuseInfo": {
        "versions": [
            {
                "stats": {"fileList": ["lora.safetensors"]},
                "modelVersion": {"triggerWords": '["inkwsh"]'},
                "coverImages": [{"url": "https://resources.modelscope.cn/a.png", "prompt": "a cat"}],
            }
        ]
    },
    "Visibility": 5,
    "ProtectedMode": 2,
}
FILE_ENTRIES = [
    {"Path": name, "Type": "blob", "Size": 9, "Sha256": "b" * 64, "Revision": "c" * 40} for name in FILES
]


def damaged(value: Any, rng: random.Random, share: float) -> Any:
    """Return a JSON value with a share of its nodes replaced, removed or duplicated."""
    if rng.random() < share:
        return rng.choice(UNEXPECTED)
    if isinstance(value, dict):
        fields = {key: damaged(item, rng, share) for key, item in value.items() if rng.random() > share}
        return fields | (
            {rng.choice(list(value)): rng.choice(UNEXPECTED)} if value and rng.random() < share else {}
        )
    if isinstance(value, list):
        return [damaged(item, rng, share) for item in value for _ in range(2 if rng.random() < share else 1)]
    return value


def check(listings: Iterator[Listing]) -> int:
    """Check the properties of listings that later stages rely on; return the number of listings."""
    checked = list(listings)
    for listing in checked:
        row = json.loads(json.dumps(listing.to_row()))
        assert Listing.from_row(row) == listing
        assert is_safe_path(listing.file) and listing.url.isascii() and " " not in listing.url
        texts = [listing.license, listing.base_model, *listing.trigger_words]
        assert all(text is None or text.isprintable() for text in texts)
        assert len(listing.renderings) <= RULES.max_renderings
    return len(checked)


def crawl(hub: Hub) -> Iterator[Listing]:
    """Yield the listings of a hub's first page; skip models that fail."""
    try:
        models = hub.page(RULES, None, TODAY).models
    except HubError:
        return
    for model in models:
        try:
            yield from hub.complete_listings(model, RULES, {})
            hub.availability(model.id)
        except HubError:
            continue


@pytest.mark.long(full=5000, sample=30)
def test_damaged_hugging_face_responses(httpserver: HTTPServer, seed: int) -> None:
    rng = random.Random(seed)
    share = rng.choice([0.0, 0.02, 0.1, 0.3])

    def respond(request: Request) -> Response:
        value = (
            TREE
            if "/tree/" in request.path
            else [REPOSITORY] * 5
            if request.path == "/api/models"
            else REPOSITORY
        )
        return Response(json.dumps(damaged(value, rng, share)))

    httpserver.clear()
    httpserver.expect_request(ANY_PATH).respond_with_handler(respond)
    url = httpserver.url_for("").rstrip("/")
    num_listings = check(crawl(HuggingFace(Endpoint("huggingface", url, 5.0, 1, None))))
    assert num_listings == 1 or share


@pytest.mark.long(full=5000, sample=30)
def test_damaged_modelscope_responses(httpserver: HTTPServer, seed: int) -> None:
    rng = random.Random(seed)
    share = rng.choice([0.0, 0.02, 0.1, 0.3])

    def respond(request: Request) -> Response:
        page = {"models": [LIST_ENTRY] * 5, "total_count": 5, "page_number": 1, "page_size": 50}
        data = {"Files": FILE_ENTRIES} if request.path.endswith("/files") else DETAILS
        name, value = ("data", page) if request.path.startswith("/openapi") else ("Data", data)
        return Response(json.dumps({"Success": True, name: damaged(value, rng, share)}))

    httpserver.clear()
    httpserver.expect_request(ANY_PATH).respond_with_handler(respond)
    url = httpserver.url_for("").rstrip("/")
    num_listings = check(crawl(ModelScope(Endpoint("modelscope", url, 5.0, 1, None))))
    assert num_listings == 1 or share


@pytest.mark.long(full=5000, sample=30)
def test_damaged_sidecars(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    sidecar = {
        "license": "mit", "base_model": "FLUX.1-dev", "trigger_words": ["TOK"], "nsfw_level": "soft", "person": True,
        "minor": False, "renderings": ["1.png", {"path": "2.png", "prompt": "a cat", "nsfw_level": "none"}],
    }  # fmt: skip
    for name in ("ink.safetensors", "1.png", "2.png"):
        (tmp_path / name).write_bytes(b"content")
    text = json.dumps(damaged(sidecar, rng, rng.choice([0.0, 0.05, 0.3]))).encode()
    if rng.random() < 0.3:
        cut = rng.randrange(len(text))
        text = text[:cut] + rng.randbytes(rng.randrange(4)) + text[cut + rng.randrange(4) :]
    (tmp_path / "ink.json").write_bytes(text)
    assert check(crawl(Folder(tmp_path))) <= 1
