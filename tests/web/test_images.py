"""Generating images: the queue, progress, cancellation, and the image with its provenance."""

import threading
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.generation.provenance import read_provenance
from autolora.search.retriever import Retriever
from autolora.web import jobs as jobs_module
from autolora.web.jobs import ImageRequest, Job, Jobs, QueueFullError
from autolora.web.routes.images import NO_ADAPTER
from tests.support import small_root
from tests.support.waiting import LIMIT_S, wait_until

REQUEST = ImageRequest(prompt="a cat", hits=(), seed=0, method="direct", trigger_words=False)


def ended(client: httpx2.Client, id: str) -> dict[str, Any]:
    """Return an image after it has been generated, has failed or was canceled."""
    wait_until(lambda: client.get(f"/api/images/{id}").json()["state"] not in ("waiting", "running"))
    job: dict[str, Any] = client.get(f"/api/images/{id}").json()
    return job


def test_an_image_is_generated_with_the_selected_adapters(client: httpx2.Client, tmp_path: Path) -> None:
    hit = client.get("/api/search", params={"q": "a cat", "k": 1}).json()["adapters"][0]
    wanted = {"prompt": "a cat", "adapters": [{"sha256": hit["sha256"], "strength": 0.5}], "seed": 3}
    answer = client.post("/api/images", json=wanted)
    assert answer.status_code == 202
    job = ended(client, answer.json()["id"])
    assert (job["state"], job["step"], job["steps"]) == ("done", 3, 3), job["problem"]
    content = client.get(job["image"])
    assert content.headers["content-type"] == "image/png"
    (tmp_path / "image.png").write_bytes(content.content)
    provenance = read_provenance(tmp_path / "image.png")
    assert provenance["seed"] == 3 and provenance["adapters"][0]["sha256"] == hit["sha256"]
    assert provenance["adapters"][0]["strength"] == 0.5
    part = client.get(f"/parts/images/{job['id']}").text
    assert f'src="{job["image"]}"' in part
    shown, _, folded = part.partition("<details>")
    assert (
        f'<a href="/?adapter={hit["sha256"]}">{hit["id"]}</a> × 0.5' in shown
        and "<dt>adapters</dt>" in folded
    )
    assert job["id"] in client.get("/generate").text


@pytest.mark.slow
def test_an_image_passes_the_gates_that_a_refresh_has_put_in_place(client: httpx2.Client, root: Path) -> None:
    sha256 = client.get("/api/search", params={"k": 1}).json()["adapters"][0]["sha256"]
    wanted = {"prompt": "a cat", "adapters": [{"sha256": sha256}], "method": "gated"}

    def gates() -> str:
        job = ended(client, client.post("/api/images", json=wanted).json()["id"])
        assert job["state"] == "done", job["problem"]
        text: str = job["facts"]["gates"]
        return text

    folder = fusion.folder(root)
    former = fusion.load(small_root.SLOTS, folder)
    before = gates()
    variant = replace(former.variant, init_bias=0.0)
    try:
        fusion.save(fusion.build(small_root.CONFIG, variant), small_root.SLOTS, folder)
        after = gates()
    finally:
        fusion.save(former, small_root.SLOTS, folder)
    assert after != before == gates()


def test_adapters_can_be_left_to_the_prompt(spoken: httpx2.Client) -> None:
    job = ended(spoken, spoken.post("/api/images", json={"prompt": "a cat", "adapters": None}).json()["id"])
    assert job["state"] == "done" and job["facts"]["prompt"] == "a cat"


def test_a_prompt_that_no_adapter_fits_is_drawn_by_the_base_model_which_the_page_says(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retriever, "select", lambda *arguments: [])
    asked = client.post("/api/images", json={"prompt": "an ox", "adapters": None}).json()
    assert asked["state"] in ("waiting", "running") and asked["notes"] == [NO_ADAPTER]
    job = ended(client, asked["id"])
    assert job["notes"] == [NO_ADAPTER] and job["facts"]["adapters"] == "none: the base model alone"
    assert "No adapter fits the prompt" in client.get(f"/parts/images/{job['id']}").text
    alone = client.post("/api/images", json={"prompt": "an ox", "adapters": []}).json()
    assert ended(client, alone["id"])["notes"] == []
    assert "if none fits it, the base model alone" in client.get("/generate").text


def test_what_the_text_encoders_do_not_read_stands_beside_the_image(client: httpx2.Client) -> None:
    wanted = {"prompt": "a cat " * 100, "adapters": []}
    job = ended(client, client.post("/api/images", json=wanted).json()["id"])
    assert [note.split()[0] for note in job["notes"]] == ["CLIP", "T5"]
    assert all(note in unescape(client.get(f"/parts/images/{job['id']}").text) for note in job["notes"])


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "a cat", "adapters": [{"sha256": "0" * 64}]}, "no adapter"),
        ({"prompt": "a cat", "adapters": [{"sha256": "../x"}]}, "adapters.0.sha256"),
        ({"prompt": "a cat", "adapters": [{"sha256": "0" * 64, "strength": 1e9}]}, "adapters.0.strength"),
        ({"prompt": "a cat", "seed": -1}, "seed"),
        ({"prompt": "a cat", "output": "/etc/x.png"}, "output"),
    ],
)
def test_invalid_requests_are_refused(client: httpx2.Client, wanted: dict[str, Any], problem: str) -> None:
    answer = client.post("/api/images", json=wanted)
    assert answer.status_code == 422 and problem in answer.json()["error"]


def test_an_adapter_can_be_used_once(client: httpx2.Client) -> None:
    sha256 = client.get("/api/search", params={"k": 1}).json()["adapters"][0]["sha256"]
    answer = client.post("/api/images", json={"prompt": "a cat", "adapters": [{"sha256": sha256}] * 2})
    assert answer.status_code == 422 and "given twice" in answer.json()["error"]


class Gate:
    """Generates an image in two steps, the second of which waits until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def generate(self, job: Job, on_step: Callable[[int], None]) -> None:
        on_step(1)
        self.entered.set()
        assert self.opened.wait(LIMIT_S)
        on_step(2)


def test_images_wait_for_each_other_and_the_queue_is_bounded() -> None:
    gate = Gate()
    jobs = Jobs(gate.generate, max_waiting=2)
    running = jobs.submit(REQUEST, steps=2)
    assert gate.entered.wait(LIMIT_S)
    waiting = [jobs.submit(REQUEST, steps=2) for _ in range(2)]
    assert [jobs.position(job) for job in (running, *waiting)] == [0, 1, 2]
    with pytest.raises(QueueFullError):
        jobs.submit(REQUEST, steps=2)
    jobs.cancel(waiting[0])
    assert waiting[0].state == "canceled" and jobs.position(waiting[1]) == 1
    gate.opened.set()
    wait_until(lambda: waiting[1].is_over)
    assert [running.state, waiting[1].state, running.step] == ["done", "done", 2]
    jobs.close()


def test_a_running_image_is_canceled_after_its_step() -> None:
    gate = Gate()
    jobs = Jobs(gate.generate, max_waiting=2)
    job = jobs.submit(REQUEST, steps=2)
    assert gate.entered.wait(LIMIT_S)
    jobs.cancel(job)
    following = jobs.submit(REQUEST, steps=2)
    gate.opened.set()
    wait_until(lambda: following.is_over)
    assert job.state == "canceled" and following.state == "done"
    jobs.close()


def test_an_image_that_is_canceled_after_its_last_step_leaves_no_file(tmp_path: Path) -> None:
    entered, opened = threading.Event(), threading.Event()

    def generate(job: Job, on_step: Callable[[int], None]) -> None:
        on_step(1)
        entered.set()
        assert opened.wait(LIMIT_S)
        job.file = tmp_path / "image.png"
        job.file.write_bytes(b"image")

    jobs = Jobs(generate, max_waiting=2)
    job = jobs.submit(REQUEST, steps=1)
    assert entered.wait(LIMIT_S)
    jobs.cancel(job)
    following = jobs.submit(REQUEST, steps=1)
    assert jobs.position(following) == 1  # the canceled one is still being generated
    opened.set()
    wait_until(lambda: following.is_over)
    assert job.state == "canceled" and job.file is None
    assert following.state == "done" and following.file is not None
    jobs.remove(job)
    jobs.close()


@pytest.mark.parametrize(
    ("error", "problem"),
    [(MissingArtifact("no weights"), "no weights"), (ZeroDivisionError(), "ZeroDivisionError")],
)
def test_a_failure_is_stated_and_the_next_image_is_generated(error: Exception, problem: str) -> None:
    errors = [error]

    def generate(job: Job, on_step: Callable[[int], None]) -> None:
        if errors:
            raise errors.pop()

    jobs = Jobs(generate, max_waiting=2)
    failed, following = jobs.submit(REQUEST, 1), jobs.submit(REQUEST, 1)
    wait_until(lambda: following.is_over)
    assert failed.state == "failed" and problem in failed.problem and following.state == "done"
    jobs.close()


def test_failed_and_canceled_images_can_be_removed_and_others_cannot() -> None:
    gate = Gate()
    jobs = Jobs(gate.generate, max_waiting=2)
    running, waiting = jobs.submit(REQUEST, steps=2), jobs.submit(REQUEST, steps=2)
    assert gate.entered.wait(LIMIT_S)
    jobs.cancel(waiting)
    for job in (running, waiting):
        jobs.remove(job)
    assert jobs.recent() == [running]
    gate.opened.set()
    wait_until(lambda: running.is_over)
    jobs.remove(running)
    assert jobs.find(running.id) is running
    jobs.close()


@pytest.mark.usefixtures("no_gates")
def test_a_failed_image_leaves_the_list_on_request(client: httpx2.Client) -> None:
    adapters = [{"sha256": hit["sha256"]} for hit in client.get("/api/search?k=2").json()["adapters"]]
    wanted = {"prompt": "a cat", "adapters": adapters, "method": "gated"}
    job = ended(client, client.post("/api/images", json=wanted).json()["id"])
    assert job["state"] == "failed" and "no trained gates" in job["problem"]
    assert f'data-remove="{job["id"]}"' in client.get("/generate").text
    assert client.delete(f"/api/images/{job['id']}").json()["state"] == "failed"
    assert job["id"] not in client.get("/generate").text
    assert client.get(f"/api/images/{job['id']}").status_code == 404


def test_old_images_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_REMEMBERED", 2)
    jobs = Jobs(lambda job, on_step: None, max_waiting=9)
    made: list[Job] = []
    for _ in range(4):
        made.append(jobs.submit(REQUEST, 1))
        wait_until(lambda: made[-1].is_over)
    assert jobs.find(made[0].id) is None and jobs.find(made[-1].id) is made[-1]
    jobs.close()


def test_an_idle_worker_gives_the_memory_back_once_and_works_on() -> None:
    released, drawn = threading.Semaphore(0), []
    jobs = Jobs(lambda job, on_step: drawn.append(job.id), release=released.release, idle_s=0.02)
    for count in (1, 2):
        job = jobs.submit(REQUEST, steps=1)
        assert released.acquire(timeout=LIMIT_S) and job.state == "done" and len(drawn) == count
        assert not released.acquire(timeout=0.2)
    jobs.close()
