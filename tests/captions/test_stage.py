"""Stage `captions`: which images are captioned, in which order, and what a kill leaves."""

import base64
import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.captions import stage
from autolora.captions.store import captions_path, prompt_digest, read_captions
from autolora.catalog import failed_items
from autolora.errors import CaptionError
from autolora.params import CaptionsParams, InstructionParams, VllmParams, load
from autolora.storage.files import read_rows, write_rows
from autolora.storage.incremental import read_digest
from autolora.vlm.captioning import Answer, CaptionRequest, FailedImage
from autolora.vlm.vllm_client import VllmClient
from tests.support import killing
from tests.support.fake_openai import FakeOpenAI
from tests.support.images import draw_images, write_pooled_images

ROOT = Path(__file__).parents[2]
PARAMS = CaptionsParams(
    engine="transformers",
    instructions=InstructionParams(short="Name it.", medium="Describe it.", long="Describe all of it."),
    max_tokens=16,
    max_image_side=1024,
    batch=2,
)
VLM = "v" * 64
DAY = date(2026, 1, 5)
IMAGES = draw_images(5)
RENDERINGS = {"a/one": IMAGES[:2], "b/two": IMAGES[1:4], "c/bad": IMAGES[4:]}


class FakeCaptioner:
    """Answers with the instruction and the name of the image; the server fails on the request numbered `fails_at`."""

    def __init__(
        self, fails_at: int | None = None, refused: Collection[str] = (), cut: Collection[str] = ()
    ) -> None:
        self.num_requests = 0
        self.fails_at, self.refused, self.cut = fails_at, refused, cut

    def describe(
        self, requests: Sequence[CaptionRequest], max_tokens: int, max_image_side: int
    ) -> Iterator[Answer | FailedImage]:
        for position, request in enumerate(requests):
            for instruction in request.instructions:
                self.num_requests += 1
                if self.num_requests == self.fails_at:
                    raise CaptionError("the server is down")
                if request.image.stem in self.refused and instruction != "Name it.":
                    yield FailedImage(position=position, reason="refused")
                    break
                text = f"{instruction} {request.image.stem[:8]}"
                cut = request.image.stem in self.cut
                yield Answer(position=position, instruction=instruction, text=text, cut=cut)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pooled_images(tmp_path, RENDERINGS, refused=["c/bad"])
    return tmp_path


def run(
    root: Path, params: CaptionsParams = PARAMS, vlm_digest: str = VLM, fails_at: int | None = None
) -> int:
    """Run the stage and return the number of requests."""
    captioner = FakeCaptioner(fails_at)
    for batch in stage.plan(root, params, vlm_digest):
        stage.caption_batch(root, params, batch, captioner)
    stage.finish(root, params, vlm_digest, "float32", DAY)
    return captioner.num_requests


def run_refused(root: Path, refused: Collection[str]) -> None:
    """Run the stage with a server that refuses all instructions but the first about some images."""
    failures: dict[str, str] = {}
    for batch in stage.plan(root, PARAMS, VLM):
        failures |= stage.caption_batch(root, PARAMS, batch, FakeCaptioner(refused=refused)).failures
    stage.finish(root, PARAMS, VLM, "float32", DAY, failures)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def output_files(root: Path) -> Iterator[tuple[str, bytes, int]]:
    """Yield name, content and modification time of each file that the stage writes."""
    for folder in ("data/captions", "digests"):
        for path in sorted((root / folder).iterdir()):
            yield path.name, path.read_bytes(), path.stat().st_mtime_ns


def test_plan_contains_each_accepted_image_once_with_all_lengths_in_catalog_order(root: Path) -> None:
    batches = stage.plan(root, PARAMS, VLM)
    assert [len(batch.images) for batch in batches] == [2, 2]
    assert [image for batch in batches for image in batch.images] == [sha256(data) for data in IMAGES[:4]]
    lengths = [
        [prompt.length for prompt in prompts] for batch in batches for prompts in batch.images.values()
    ]
    assert lengths == [["short", "medium", "long"]] * 4


def test_stored_captions_are_sorted_and_identify_image_prompt_and_vlm(root: Path) -> None:
    assert run(root) == 12
    rows = read_captions(root)
    assert len(rows) == 12
    keys = [(row.image, row.prompt, row.vlm) for row in rows]
    assert keys == sorted(keys)
    assert {row.text for row in rows if row.length == "medium"} == {
        f"Describe it. {row.image[:8]}" for row in rows
    }
    assert read_digest(root, "captions")["rows"] == 12


def test_cut_captions_are_marked_and_counted_and_the_rows_of_others_are_as_before(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(root)
    assert "cut" not in caplog.text
    before, digest = captions_path(root).read_text().splitlines(), read_digest(root, "captions")["sha256"]
    assert not any('"cut"' in line for line in before)
    cut = sha256(IMAGES[1])
    captions_path(root).unlink()
    (batch, *others) = stage.plan(root, PARAMS, VLM)
    stage.caption_batch(root, PARAMS, batch, FakeCaptioner(cut={cut}))
    for other in others:
        stage.caption_batch(root, PARAMS, other, FakeCaptioner())
    stage.finish(root, PARAMS, VLM, "float32", DAY)
    assert "3 captions are cut" in caplog.text
    after = captions_path(root).read_text().splitlines()
    expected = [
        line.replace("{", '{"cut":true,', 1) if f'"image":"{cut}"' in line else line for line in before
    ]
    assert after == expected
    assert {caption.image for caption in read_captions(root) if caption.cut} == {cut}
    assert read_digest(root, "captions")["sha256"] != digest
    assert run(root) == 0


@pytest.mark.parametrize("more_than_half", [0, 1])
def test_captions_that_are_mostly_the_same_text_are_said(
    root: Path, caplog: pytest.LogCaptureFixture, more_than_half: int
) -> None:
    run(root)
    rows = list(read_rows(captions_path(root)))
    equal = len(rows) // 2 + more_than_half
    for row in rows[:equal]:
        row["text"] = "no"
    write_rows(captions_path(root), rows)
    stage.finish(root, PARAMS, VLM, "float32", DAY)
    assert (f"{equal} of {len(rows)} captions are 'no'" in caplog.text) == bool(more_than_half)


def test_second_run_sends_and_writes_nothing(root: Path) -> None:
    run(root)
    before = list(output_files(root))
    assert run(root) == 0
    assert list(output_files(root)) == before


def test_failed_run_stores_its_answers_and_the_next_run_completes_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptionError):
        run(root, fails_at=8)
    assert len(read_captions(root)) == 7
    assert not (root / "digests").exists()
    with captions_path(root).open("a") as stream:
        stream.write('{"image": "torn')
    assert run(root) == 5
    uninterrupted = tmp_path / "uninterrupted"
    write_pooled_images(uninterrupted, RENDERINGS, refused=["c/bad"])
    run(uninterrupted)
    assert [file[:2] for file in output_files(root)] == [file[:2] for file in output_files(uninterrupted)]


@pytest.mark.parametrize("was_stored", [0, 2, 6])
def test_a_batch_that_a_killed_run_had_stored_is_not_stored_again(root: Path, was_stored: int) -> None:
    """The run was killed before the batch, while it wrote some of its captions, or before its shard was removed."""
    batch = stage.plan(root, PARAMS, VLM)[0]
    rows = [*stage.caption(root, PARAMS, batch, FakeCaptioner()), {"image": "i" * 64, "reason": "refused"}]
    stage.store(root, [dict(row) for row in rows[:was_stored]])
    shards = (
        [{"reason": None} | row for row in part] for part in (rows[:3], rows[3:])
    )  # as shards have them
    assert stage.store_leftovers(root, shards) == 6 - was_stored
    assert sorted(caption.text for caption in read_captions(root)) == sorted(row["text"] for row in rows[:-1])


def test_digest_does_not_depend_on_the_order_of_batches(root: Path) -> None:
    for batch in reversed(stage.plan(root, PARAMS, VLM)):
        stage.caption_batch(root, PARAMS, batch, FakeCaptioner())
    digest_of_reversed_order = stage.finish(root, PARAMS, VLM, "float32", DAY)
    captions_path(root).unlink()
    run(root)
    assert read_digest(root, "captions")["sha256"] == digest_of_reversed_order


def test_captions_of_a_withdrawn_adapter_are_removed(root: Path) -> None:
    run(root)
    remaining_images = {sha256(data) for data in RENDERINGS["a/one"]}
    remaining = [caption for caption in read_captions(root) if caption.image in remaining_images]
    write_pooled_images(root, {"a/one": RENDERINGS["a/one"]})
    assert run(root) == 0
    assert read_captions(root) == remaining


def test_only_a_new_image_is_captioned(root: Path) -> None:
    run(root)
    write_pooled_images(root, RENDERINGS)
    assert run(root) == 3


def test_refused_images_are_recorded_and_named_and_all_others_are_captioned(root: Path) -> None:
    refused = sha256(IMAGES[1])  # of two adapters
    with pytest.raises(
        CaptionError, match=rf"1 images have no caption: http://127\.0\.0\.1/{refused} \(refused\)"
    ):
        run_refused(root, {refused})
    captions = read_captions(root)
    assert len(captions) == 10  # the first caption of the refused image was answered
    assert not (root / "digests").exists()
    (item,) = failed_items.read(root).values()
    assert (item.stage, item.key, item.id, item.reason) == ("captions", refused, "a/one", "refused")
    assert item.is_deferred(DAY)
    write_pooled_images(
        root, {"a/one": IMAGES[:1], "b/two": IMAGES[2:4]}
    )  # as after the crawl that defers it
    assert run(root) == 0
    assert len(read_captions(root)) == 9
    assert failed_items.read(root).keys() == {refused}
    write_pooled_images(root, RENDERINGS, refused=["c/bad"])
    assert run(root) == 3
    assert not failed_items.read(root)


def test_failure_of_most_images_is_taken_for_a_general_one(root: Path) -> None:
    with pytest.raises(CaptionError, match=r"3 of 4 images have no caption \(refused\)\. These are too many"):
        run_refused(root, [sha256(data) for data in IMAGES[:3]])
    assert not failed_items.read(root)


def caption_all(root: Path, url: str) -> None:
    """Run the stage with a server, several batches at once as its flow does."""
    client = VllmClient(VllmParams(urls=(url,), timeout_s=60, attempts=1), VLM, PARAMS.batch)
    with ThreadPoolExecutor(2) as pool:
        batches = stage.plan(root, PARAMS, VLM)
        list(pool.map(lambda batch: stage.caption_batch(root, PARAMS, batch, client), batches))
    stage.finish(root, PARAMS, VLM, "float32", DAY)


def image_and_prompt(request: dict[str, Any]) -> tuple[str, str]:
    """Return the sha256 of the image and the digest of the prompt of a request."""
    image_part, text_part = request["messages"][0]["content"]
    image = base64.b64decode(image_part["image_url"]["url"].partition(",")[2])
    return sha256(image), prompt_digest(text_part["text"], request["max_tokens"])


@pytest.fixture(scope="module")
def fake_vllm() -> Iterator[tuple[FakeOpenAI, str]]:
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        server = FakeOpenAI(http, VLM)
        server.reply = lambda request: "an image of " + "".join(image_and_prompt(request))
        yield server, http.url_for("/v1")


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, fake_vllm: tuple[FakeOpenAI, str]
) -> tuple[Path, float]:
    """Return a repository after an uninterrupted run, and the seconds of another run."""
    root = tmp_path_factory.mktemp("uninterrupted")
    write_pooled_images(root, RENDERINGS)
    killing.run(caption_all, root, fake_vllm[1])
    again = tmp_path_factory.mktemp("again")
    write_pooled_images(again, RENDERINGS)
    return root, killing.run(caption_all, again, fake_vllm[1])


@pytest.mark.slow
@pytest.mark.long(full=200, sample=3)
def test_killed_stage_ends_equal_and_requests_no_caption_twice(
    tmp_path: Path, fake_vllm: tuple[FakeOpenAI, str], uninterrupted: tuple[Path, float], seed: int
) -> None:
    (server, url), (expected_root, seconds), rng = fake_vllm, uninterrupted, random.Random(seed)
    write_pooled_images(tmp_path, RENDERINGS)
    stored: set[tuple[str, str]] = set()
    for after_s in (rng.uniform(0, 1.1 * seconds), rng.uniform(0, seconds), None):
        server.requests.clear()
        if after_s is None:
            killing.run(caption_all, tmp_path, url)
        else:
            killing.kill(caption_all, tmp_path, url, after_s=after_s)
        assert not stored & {image_and_prompt(request) for request in server.requests}
        stored = {(caption.image, caption.prompt) for caption in read_captions(tmp_path)}
    assert [file[:2] for file in output_files(tmp_path)] == [file[:2] for file in output_files(expected_root)]


@pytest.mark.parametrize(
    ("change", "vlm_digest", "num_requests"),
    [
        ({"instructions": replace(PARAMS.instructions, long="Describe everything.")}, VLM, 4),
        ({"max_tokens": 17}, VLM, 12),
        ({}, "w" * 64, 12),
        ({"engine": "vllm", "batch": 3, "max_image_side": 64}, VLM, 0),
        ({"max_image_side": 63}, VLM, 12),  # the images have 64 px, so they are downsized
    ],
)
def test_only_prompt_and_model_invalidate_captions(
    root: Path, change: dict[str, object], vlm_digest: str, num_requests: int
) -> None:
    run(root)
    assert run(root, replace(PARAMS, **change), vlm_digest) == num_requests  # type: ignore[arg-type]
    assert len(read_captions(root)) == 12


def test_empty_pool_writes_an_empty_file_and_a_digest(tmp_path: Path) -> None:
    write_pooled_images(tmp_path, {})
    run(tmp_path)
    assert read_captions(tmp_path) == []
    assert captions_path(tmp_path).exists()
    assert read_digest(tmp_path, "captions")["rows"] == 0


@pytest.mark.slow
def test_playground_model_captions_a_pool(root: Path) -> None:
    values = load(ROOT / "params.yaml")
    models = replace(values.models, vlm=str(ROOT / "playground/models/vlm"), threads=1)
    captioner = vlm.captioner(models, values.captions, values.vllm)
    digest = vlm.digest(models)
    for batch in stage.plan(root, values.captions, digest):
        stage.caption_batch(root, values.captions, batch, captioner)
    stage.finish(root, values.captions, digest, "float32", DAY)
    rows = read_captions(root)
    assert {row.length for row in rows} == set(asdict(values.captions.instructions))
    assert all(row.text for row in rows)
    assert read_digest(root, "captions")["recipe"]["vlm"] == digest
