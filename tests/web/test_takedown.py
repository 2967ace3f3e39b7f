"""A takedown applies to a running page at the next request."""

import datetime
import os
from pathlib import Path

import httpx2
import pytest

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown
from autolora.web.thumbnails import CARD_PX
from tests.support.waiting import LIMIT_S
from tests.web.conftest import serving


def take_down(root: Path, kind: str, sha256: str) -> None:
    day = datetime.date(2026, 1, 5)
    row = Takedown(kind=kind, sha256=sha256, hub="", id="", file="", reason="asked", date=day)
    takedowns.write(root, takedowns.read(root).with_rows([row]))


def test_adapters_and_images_disappear_at_once(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolora.web.app.FOLLOW_EVERY_S", 3600.0)
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        gone = client.get("/api/search", params={"q": "a cat", "k": 1}).json()["adapters"][0]["sha256"]
        (image,) = client.get(f"/api/adapters/{gone}").json()["images"][:1]
        assert client.get(f"/images/{image}/{CARD_PX}.webp").status_code == 200
        take_down(own_root, "rendering", image)
        assert client.get(f"/images/{image}/{CARD_PX}.webp").status_code == 404
        take_down(own_root, "weights", gone)
        assert client.get("/api/search", params={"k": 12}).json()["num_adapters"] == 11
        assert client.get(f"/api/adapters/{gone}").status_code == 404
        takedowns.takedowns_path(own_root).write_text("damaged\n")
        os.utime(takedowns.takedowns_path(own_root), (1, 1))
        assert client.get("/api/search", params={"k": 12}).json()["num_adapters"] == 11
        assert client.get(f"/images/{image}/{CARD_PX}.webp").status_code == 404
