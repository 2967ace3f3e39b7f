"""A refresh with images that the VLM cannot take: the others are captioned, the failed ones are tried again later."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora.captions import stage
from autolora.captions.store import read_captions
from autolora.catalog import failed_items
from autolora.catalog.diff import compare, snapshot
from autolora.catalog.store import read_active
from autolora.params import CaptionsParams, CrawlParams, InstructionParams, VllmParams
from autolora.refresh.summary import refresh_summary
from autolora.show.facts import facts
from autolora.show.lookup import lookup
from autolora.vlm.vllm_client import VllmClient
from flows import refresh
from tests.support.fake_openai import FakeOpenAI
from tests.support.images import draw_images, write_pool
from tests.support.two_hubs import DAYS, INCREMENTAL, RULES, TwoHubs

PARAMS = CaptionsParams(
    engine="vllm",
    instructions=InstructionParams(short="Name it.", medium="Describe it.", long="Describe all of it."),
    max_tokens=16,
    max_image_side=128,
    batch=4,
)
VLM = "v" * 64
TOO_LARGE, DAMAGED, REFUSED = "ann/ink", "bob/cat", "cat/sea"
NUM_IMAGES = 6


class Refreshes:
    """Refreshes of two hubs whose images a fake vLLM server captions; the stage `pool` is replaced."""

    def __init__(self, root: Path, server: FakeOpenAI, url: str) -> None:
        self.hubs, self.server = TwoHubs(root), server
        self.root, self.url, self.day, self.rules = root, url, 0, RULES
        images = dict(zip((*self.hubs.huggingface.models, "77"), draw_images(NUM_IMAGES), strict=True))
        large = io.BytesIO()
        Image.open(io.BytesIO(images[TOO_LARGE])).resize((1000, 1000)).save(large, "PNG")
        self.images = images | {TOO_LARGE: large.getvalue()}
        server.status = self.status

    def run(self, day: int) -> None:
        """Crawl and run the stages as a refresh does, on a day."""
        self.day = day
        self.crawl(0)
        refresh.reproduce_and_defer(0)

    def crawl(self, lock: int) -> None:
        self.hubs.crawl(self.day, self.rules)

    def reproduce(self, lock: int, *targets: str) -> None:
        """Write the pool that the catalog describes, with one image damaged, and run the stage `captions`."""
        listings = read_active(self.root)
        write_pool(
            self.root,
            listings,
            {row.key: self.images[listing.id] for listing in listings for row in listing.renderings},
        )
        client = VllmClient(VllmParams(urls=(self.url,), timeout_s=60, attempts=1), VLM, PARAMS.batch)
        failures: dict[str, str] = {}
        for batch in stage.plan(self.root, PARAMS, VLM):
            failures |= dict(stage.caption_batch(self.root, PARAMS, batch, client).failures)
        stage.finish(self.root, PARAMS, VLM, "float32", DAYS[self.day], failures)

    def status(self, request: dict[str, Any]) -> int:
        """Refuse one image because of its size, even downsized, and one for another reason."""
        data = request["messages"][0]["content"][0]["image_url"]["url"].split(",")[1]
        content = base64.b64decode(data)
        if max(Image.open(io.BytesIO(content)).size) > 64:
            return 413
        return 400 if content == self.images[REFUSED] else 200

    def captioned(self) -> set[str]:
        """Return the ids of the models whose image has all captions."""
        captions = [caption.image for caption in read_captions(self.root)]
        listed = {image.key: row.id for row in read_active(self.root) for image in row.renderings}
        return {id for key, id in listed.items() if captions.count(key) == 3}

    def failed(self) -> dict[str, int]:
        """Return model -> number of failed attempts of its image."""
        return {item.id: item.failed_attempts for item in failed_items.read(self.root).values()}


@pytest.fixture
def refreshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refreshes]:
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        made = Refreshes(tmp_path, FakeOpenAI(http, VLM), http.url_for("/v1"))
        made.images[DAMAGED] = made.images[DAMAGED][:-50]
        monkeypatch.setattr(refresh, "ROOT", tmp_path)
        monkeypatch.setattr(refresh, "crawl", made.crawl)
        monkeypatch.setattr(refresh, "reproduce", made.reproduce)
        yield made


def test_refresh_captions_all_images_but_the_failed_ones_and_names_these(refreshes: Refreshes) -> None:
    refreshes.run(day=0)
    failed = {TOO_LARGE, DAMAGED, REFUSED}
    assert refreshes.captioned() == {"ann/neon", "bob/dog", "77"}
    assert {row.id for row in read_active(refreshes.root)} == {*refreshes.captioned(), *failed}
    items = {item.id: item for item in failed_items.read(refreshes.root).values()}
    reasons = {
        TOO_LARGE: "Error code: 413",
        DAMAGED: "damaged since its download",
        REFUSED: "Error code: 400",
    }
    assert items.keys() == reasons.keys()
    state = snapshot(refreshes.root)
    report = refresh_summary(compare(state, state), [], list(items.values()))
    for id, reason in reasons.items():
        assert reason in items[id].reason
        assert f"- **deferred, caption failed: `huggingface:{id}`: 1 image** ({items[id].name}: " in report
        shown = facts(lookup(refreshes.root, id, RULES))["missing images"]
        assert shown.startswith("1, caption failed (https://") and shown.endswith(f"attempt on {DAYS[1]}")


@pytest.mark.parametrize("rules", [RULES, INCREMENTAL], ids=["full scan", "incremental scan"])
def test_failed_images_are_tried_again_by_the_rule_of_deferral(
    refreshes: Refreshes, rules: CrawlParams
) -> None:
    refreshes.rules = rules
    refreshes.run(day=0)
    assert refreshes.failed() == {TOO_LARGE: 1, DAMAGED: 1, REFUSED: 1}
    asked = len(refreshes.server.requests)
    refreshes.run(day=0)  # again on the same day: nothing is due
    assert len(refreshes.server.requests) == asked
    refreshes.images[DAMAGED] = draw_images(NUM_IMAGES)[2]  # restored
    refreshes.run(day=1)
    assert refreshes.captioned() == {"ann/neon", "bob/dog", "77", DAMAGED}
    assert refreshes.failed() == {TOO_LARGE: 2, REFUSED: 2}
    assert len(refreshes.server.requests) == asked + 3 + 2
    refreshes.run(day=2)  # the next attempt is two days later
    assert refreshes.failed() == {TOO_LARGE: 2, REFUSED: 2}
    assert len(refreshes.server.requests) == asked + 3 + 2
    refreshes.server.status = lambda request: 200
    refreshes.run(day=3)
    assert refreshes.captioned() == set(refreshes.images)
    assert not refreshes.failed()
