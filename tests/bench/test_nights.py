"""The test bed of `python -m bench.nights`: what its hubs publish, its captioner, and its page."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from autolora import vlm
from autolora.params import load
from autolora.storage.hashes import hash_file
from autolora.vlm.captioning import Answer, CaptionRequest
from autolora.vlm.vllm_client import VllmClient
from bench.nights import page
from bench.nights.checks import Findings
from bench.nights.diary import Entry
from bench.nights.page import HEADER
from bench.nights.plan import PLAN
from bench.nights.site import change_hub, write_pool
from playground.hubs.repos import HUBS
from playground.hubs.state import Hub
from playground.repository import ROOT, free_port
from playground.vlm.serving import CaptionServer

NIGHT = Entry(
    night=1, what="", expected="promoted", verdict="promoted", reasons=(), seconds=9, cpu_seconds=8, requests=7, new=2,
    adapters=2, catalog_lines=3, served="a" * 64, tags=("release/2026-01-05",),
    files=dict.fromkeys(("data", "cache", ".git", ".dvc/cache", "../remote"), 5),
    bytes=dict.fromkeys(("data", "cache", ".git", ".dvc/cache", "../remote"), 10**6), disk=3 * 10**6,
)  # fmt: skip
FINDINGS = Findings(
    false_promotions=("22, poisoned: promoted",), false_refusals=(), other=(), releases=20, release_change=1e-7,
    wrong_releases=(), rebuild_change=0.0, rebuild_differs=("index",),
)  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights") / "pool"
    shutil.copytree(ROOT / "playground/pool", folder)
    write_pool(folder)
    return folder


def test_each_night_publishes_what_the_plan_says(pool: Path) -> None:
    rows = [json.loads(line) for line in (pool / "schedule.jsonl").read_text().splitlines()]
    assert len({row["repo"] for row in rows}) == len(rows)
    for number, night in enumerate(PLAN[1:], 2):
        own = [row["repo"] for row in rows if row["day"] == number]
        assert len([name for name in own if "/copy-" not in name]) == night.new
    assert {hub for row in rows for hub in row["hubs"]} == set(HUBS)
    (original, *_), (copy,) = (
        [*(pool / name).glob("*.safetensors")] for name in (rows[0]["repo"], "duplicate10/copy-0")
    )
    assert hash_file(original) == hash_file(copy)


def test_changes_of_hubs_are_repeated_alike(pool: Path) -> None:
    """A test bed that continues has the hubs of one that was never interrupted."""
    hubs = [Hub(pool, day=30) for _ in range(2)]
    for hub in hubs:
        for night in (3, 4, 6):
            change_hub(hub, PLAN[night - 1].changes[0], night, 0)
    heads = [{repo.id: (repo.head.sha, hub.withdrawal(repo.id)) for repo in hub.visible()} for hub in hubs]
    assert heads[0] == heads[1] != {repo.id: (repo.head.sha, None) for repo in Hub(pool, day=30).visible()}


@pytest.mark.slow
def test_the_captioner_answers_as_the_model_does(pool: Path) -> None:
    params = load(ROOT / "params.yaml")
    server, port = CaptionServer(params), free_port()
    request = CaptionRequest(
        image=next(pool.glob("*/*/images/1.png")),
        instructions=tuple(asdict(params.captions.instructions).values()),
    )
    client = VllmClient(
        replace(params.vllm, urls=(f"http://127.0.0.1:{port}/v1",)), vlm.digest(params.models), 2
    )
    engine = vlm.captioner(params.models, replace(params.captions, batch=1), params.vllm)
    with server.running(port):
        client.check()
        answers = [*client.describe([request], 48, 1024)]
        assert answers == [*engine.describe([request], 48, 1024)]
        server.reply = lambda _: "the same"
        assert {
            answer.text for answer in client.describe([request], 48, 1024) if isinstance(answer, Answer)
        } == {"the same"}


def test_the_page_names_what_was_wrong() -> None:
    entries = [replace(NIGHT, night=night, new=night, adapters=2 * night) for night in range(1, 5)]
    entries += [replace(NIGHT, night=5, new=0, verdict="nothing")]
    text = page.render(entries, FINDINGS)
    assert "| bad releases promoted | 1 of 0: 22, poisoned: promoted |" in text
    assert "digests of index differ" in text and "| 20 of 20, largest change 1.0e-07 |" in text
    assert page.table(entries).splitlines()[2].count("|") == len(HEADER) + 1
    assert page.draw(entries).startswith(b"<?xml")
    rows = {row.name: row.value for row in page.headlines(entries, FINDINGS)}
    assert rows["operation.nights_bad_promoted"] == 1 and rows["operation.nights"] == 5
