"""The two engines: requests to a vLLM server and its failures, and captions of a model in this process."""

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.errors import CaptionError, MissingArtifact, ParamsError
from autolora.params import VllmParams, load
from autolora.storage.hashes import hash_folder
from tests.support.fake_openai import FakeOpenAI
from tests.support.images import draw_images

ROOT = Path(__file__).parents[2]
VALUES = load(ROOT / "params.yaml")
MODELS = replace(VALUES.models, vlm=str(ROOT / "playground/models/vlm"), threads=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeOpenAI, str]]:
    monkeypatch.setattr("autolora.vlm.vllm_client.FIRST_DELAY_S", 0.01)
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield FakeOpenAI(http, "name"), http.url_for("/v1")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, data in zip(paths, draw_images(6), strict=True):
        path.write_bytes(data)
    return paths


def connect(url: str, model: str = "name", attempts: int = 3, concurrency: int = 3) -> vlm.VllmClient:
    return vlm.VllmClient(VllmParams(url=url, timeout_s=5, attempts=attempts), model, concurrency)


def test_request_contains_image_instruction_and_greedy_settings(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    assert list(connect(url).describe(images[:1], "Describe it.", 9)) == [(0, "a red house")]
    (request,) = fake.requests
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("name", 0, 9)
    image_part, text_part = request["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "Describe it."}
    head, data = image_part["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == images[0].read_bytes()


def test_concurrent_requests_are_limited_over_all_batches(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    client = connect(url, concurrency=3)
    batches = [
        threading.Thread(target=lambda: list(client.describe(images * 2, "Describe it.", 9)))
        for _ in range(2)
    ]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert len(fake.requests) == 24
    assert 1 < fake.max_in_flight <= 3


@pytest.mark.parametrize("status", [500, 503, 429])
def test_request_is_retried_after_a_temporary_error(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.responses = [(status, ""), (status, "")]
    assert list(connect(url).describe(images[:1], "Describe it.", 9)) == [(0, "a red house")]
    assert len(fake.requests) == 3


def test_retries_end_after_the_configured_attempts(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(503, "")] * 9
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        list(connect(url, attempts=2).describe(images[:1], "Describe it.", 9))
    assert len(fake.requests) == 2


def test_other_captions_are_yielded_before_a_failure(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(200, "a red house"), (400, ""), (200, "a red house")]
    positions = []
    with pytest.raises(CaptionError, match="refused"):
        for position, _ in connect(url, concurrency=1).describe(images[:4], "Describe it.", 9):
            positions.append(position)
    assert len(positions) == 3 and len(fake.requests) == 4


def test_refused_request_is_not_retried(server: tuple[FakeOpenAI, str], images: list[Path]) -> None:
    fake, url = server
    fake.responses = [(400, "")]
    with pytest.raises(CaptionError, match=r"refused .*0\.png"):
        list(connect(url).describe(images[:1], "Describe it.", 9))
    assert len(fake.requests) == 1


@pytest.mark.parametrize("text", ["", " \n ", None, "...", "a h\ufffdouse", "a\x00b"])
def test_answer_that_is_not_a_text_is_an_error(
    server: tuple[FakeOpenAI, str], images: list[Path], text: str | None
) -> None:
    fake, url = server
    fake.responses = [(200, text)]
    with pytest.raises(CaptionError, match=r"the VLM answered .*0\.png"):
        list(connect(url).describe(images[:1], "Describe it.", 9))


def test_unreachable_server_error_names_both_remedies(images: list[Path]) -> None:
    with pytest.raises(CaptionError, match=r"make serve.*captions\.engine: transformers"):
        connect("http://127.0.0.1:9/v1").check()


def test_server_with_another_model_is_refused(server: tuple[FakeOpenAI, str]) -> None:
    connect(server[1]).check()
    with pytest.raises(CaptionError, match=r"serves name, not the VLM of params\.yaml"):
        connect(server[1], "other").check()


def test_digest_is_the_hash_of_a_folder_or_the_commit_of_a_hub_model() -> None:
    assert vlm.digest(MODELS) == hash_folder(ROOT / "playground/models/vlm")
    assert vlm.digest(replace(MODELS, vlm="owner/name", vlm_revision="c0ffee")) == "owner/name@c0ffee"
    with pytest.raises(ParamsError, match="vlm_revision"):
        vlm.digest(replace(MODELS, vlm="owner/name"))
    with pytest.raises(MissingArtifact, match="make playground"):
        vlm.digest(replace(MODELS, vlm="./nowhere"))


def test_in_process_caption_does_not_depend_on_its_batch(images: list[Path]) -> None:
    engine = vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)
    instruction = VALUES.captions.instructions.medium
    together = [text for _, text in engine.describe(images, instruction, 24)]
    assert [next(engine.describe([image], instruction, 24)) for image in images] == [
        (0, text) for text in together
    ]
    assert [text for _, text in engine.describe(images[::-1], instruction, 24)] == together[::-1]


def test_missing_rendering_error_names_the_stage(tmp_path: Path) -> None:
    engine = vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)
    with pytest.raises(MissingArtifact, match="--single-item pool"):
        list(engine.describe([tmp_path / "none.png"], "Describe it.", 9))
