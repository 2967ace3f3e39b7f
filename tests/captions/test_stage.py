"""The stage `captions`: asks what is missing, once, and survives a kill."""

import base64
import hashlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.captions import stage
from autolora.captions import store as captions
from autolora.errors import CaptionError
from autolora.params import CaptionsParams, InstructionParams, VllmParams, load
from autolora.storage.incremental import read_digest
from autolora.vlm.served import Served
from tests.support import killing
from tests.support.fake_openai import Server
from tests.support.images import draw_pictures, write_pictures

ROOT = Path(__file__).parents[2]
PARAMS = CaptionsParams(
    engine="transformers",
    instructions=InstructionParams(short="Name it.", medium="Say it.", long="Tell it."),
    max_tokens=16,
    batch=2,
    concurrency=4,
)
VLM = "v" * 64
PICTURES = draw_pictures(5)
SHOWN = {"a/one": PICTURES[:2], "b/two": PICTURES[1:4], "c/bad": PICTURES[4:]}


class Teller:
    """Answers with the name of the picture, and counts; fails on the request numbered `fails_at`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked = 0
        self.fails_at = fails_at

    def describe(
        self, images: Sequence[Path], instruction: str, max_tokens: int
    ) -> Iterator[tuple[int, str]]:
        for place, image in enumerate(images):
            self.asked += 1
            if self.asked == self.fails_at:
                raise CaptionError("the server is down")
            yield place, f"{instruction} {image.stem[:8]}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pictures(tmp_path, SHOWN, refused=["c/bad"])
    return tmp_path


def run(root: Path, params: CaptionsParams = PARAMS, name: str = VLM, engine: Teller | None = None) -> Teller:
    engine = engine or Teller()
    for batch in stage.plan(root, params, name):
        stage.caption_batch(root, params, batch, engine)
    stage.finish(root, params, name)
    return engine


def written(root: Path) -> Iterator[tuple[str, bytes, int]]:
    for folder in ("data/captions", "digests"):
        for path in sorted((root / folder).iterdir()):
            yield path.name, path.read_bytes(), path.stat().st_mtime_ns


def test_plan_holds_each_accepted_picture_once_a_length_in_catalog_order(root: Path) -> None:
    batches = stage.plan(root, PARAMS, VLM)
    assert [batch.length for batch in batches] == ["short"] * 2 + ["medium"] * 2 + ["long"] * 2
    assert all(len(batch.images) == 2 for batch in batches)
    order = list(dict.fromkeys(stage.wanted_images(root)))
    assert [image for batch in batches[:2] for image in batch.images] == order
    assert len(order) == 4


def test_captions_are_kept_sorted_with_what_they_answer(root: Path) -> None:
    assert run(root).asked == 12
    rows = captions.captions(root)
    assert len(rows) == 12
    assert [(row.image, row.prompt, row.vlm) for row in rows] == sorted(
        (r.image, r.prompt, r.vlm) for r in rows
    )
    assert {row.text for row in rows if row.length == "medium"} == {
        f"Say it. {row.image[:8]}" for row in rows
    }
    assert read_digest(root, "captions")["rows"] == 12


def test_second_run_asks_and_writes_nothing(root: Path) -> None:
    run(root)
    before = list(written(root))
    assert run(root).asked == 0
    assert list(written(root)) == before


def test_failed_run_keeps_what_was_answered_and_ends_equal(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptionError):
        run(root, engine=Teller(fails_at=8))
    assert len(captions.captions(root)) == 7
    assert not (root / "digests").exists()
    with captions.captions_path(root).open("a") as stream:
        stream.write('{"image": "torn')
    assert run(root).asked == 5
    straight = tmp_path / "straight"
    write_pictures(straight, SHOWN, refused=["c/bad"])
    run(straight)
    assert [row[:2] for row in written(root)] == [row[:2] for row in written(straight)]


def test_order_of_batches_leaves_no_trace(root: Path) -> None:
    for batch in reversed(stage.plan(root, PARAMS, VLM)):
        stage.caption_batch(root, PARAMS, batch, Teller())
    backwards = stage.finish(root, PARAMS, VLM)
    captions.captions_path(root).unlink()
    run(root)
    assert read_digest(root, "captions")["sha256"] == backwards


def test_withdrawn_adapter_takes_its_own_captions_along(root: Path) -> None:
    run(root)
    kept = [
        row
        for row in captions.captions(root)
        if row.image in {hashlib.sha256(data).hexdigest() for data in SHOWN["a/one"]}
    ]
    write_pictures(root, {"a/one": SHOWN["a/one"]})
    assert run(root).asked == 0
    assert captions.captions(root) == kept


def test_new_picture_is_all_that_is_asked_about(root: Path) -> None:
    run(root)
    write_pictures(root, SHOWN)
    assert run(root).asked == 3


def caption_all(root: Path, url: str) -> None:
    """Run the stage against a server as its flow does, several batches at once."""
    engine = Served(VllmParams(url=url, timeout_s=60, attempts=1), VLM, PARAMS.concurrency)
    with ThreadPoolExecutor(2) as pool:
        batches = stage.plan(root, PARAMS, VLM)
        list(pool.map(lambda batch: stage.caption_batch(root, PARAMS, batch, engine), batches))
    stage.finish(root, PARAMS, VLM)


def question(request: dict[str, Any]) -> tuple[str, str]:
    """Return the picture (sha256) and the prompt's digest that a request is about."""
    picture, text = request["messages"][0]["content"]
    image = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
    return hashlib.sha256(image).hexdigest(), stage.prompt_digest(text["text"], request["max_tokens"])


@pytest.fixture(scope="module")
def teller() -> Iterator[tuple[Server, str]]:
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        server = Server(http, VLM)
        server.reply = lambda request: "shows " + "".join(question(request))
        yield server, http.url_for("/v1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, teller: tuple[Server, str]) -> tuple[Path, float]:
    """A root whose stage was let alone, and the seconds it took."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_pictures(root, SHOWN)
    killing.run(caption_all, root, teller[1])
    again = tmp_path_factory.mktemp("again")
    write_pictures(again, SHOWN)
    return root, killing.run(caption_all, again, teller[1])


@pytest.mark.long(full=200, sample=3)
def test_a_stage_killed_anywhere_ends_equal_and_asks_nothing_twice(
    tmp_path: Path, teller: tuple[Server, str], undisturbed: tuple[Path, float], seed: int
) -> None:
    (server, url), (whole, seconds), rng = teller, undisturbed, random.Random(seed)
    write_pictures(tmp_path, SHOWN)
    kept: set[tuple[str, str]] = set()
    for moment in (rng.uniform(0, 1.1 * seconds), rng.uniform(0, seconds), None):
        server.asked.clear()
        if moment is None:
            killing.run(caption_all, tmp_path, url)
        else:
            killing.kill(caption_all, tmp_path, url, after_s=moment)
        assert not kept & {question(request) for request in server.asked}
        kept = {(row.image, row.prompt) for row in captions.captions(tmp_path)}
    assert [row[:2] for row in written(tmp_path)] == [row[:2] for row in written(whole)]


@pytest.mark.parametrize(
    ("change", "name", "asked"),
    [
        ({"instructions": replace(PARAMS.instructions, long="Tell everything.")}, VLM, 4),
        ({"max_tokens": 17}, VLM, 12),
        ({}, "w" * 64, 12),
        ({"engine": "vllm", "batch": 3, "concurrency": 9}, VLM, 0),
    ],
)
def test_prompt_and_model_ask_again_and_nothing_else_does(
    root: Path, change: dict[str, object], name: str, asked: int
) -> None:
    run(root)
    assert run(root, replace(PARAMS, **change), name).asked == asked  # type: ignore[arg-type]
    assert len(captions.captions(root)) == 12


def test_empty_pool_gives_an_empty_file_and_a_digest(tmp_path: Path) -> None:
    write_pictures(tmp_path, {})
    run(tmp_path)
    assert captions.captions(tmp_path) == []
    assert captions.captions_path(tmp_path).exists()
    assert read_digest(tmp_path, "captions")["rows"] == 0


def test_the_playground_model_captions_a_pool(root: Path) -> None:
    values = load(ROOT / "params.yaml")
    models = replace(values.models, vlm=str(ROOT / "playground/models/vlm"), threads=1)
    engine = vlm.captioner(models, values.captions, values.vllm)
    name = vlm.digest(models)
    for batch in stage.plan(root, values.captions, name):
        stage.caption_batch(root, values.captions, batch, engine)
    stage.finish(root, values.captions, name)
    rows = captions.captions(root)
    assert {row.length for row in rows} == set(asdict(values.captions.instructions))
    assert all(row.text for row in rows)
    assert read_digest(root, "captions")["vlm"] == name
