"""The two engines: requests to vLLM servers and their failures, and captions of a model in this process."""

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.errors import CaptionError, MissingArtifact, ParamsError
from autolora.params import VllmParams, load
from autolora.storage.hashes import hash_folder
from autolora.vlm.images import load_rendering
from autolora.vlm.in_process import InProcessModel
from tests.support.fake_openai import NO_CHOICES, FakeOpenAI
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


def connect(*urls: str, model: str = "name", attempts: int = 3, concurrency: int = 3) -> vlm.VllmClient:
    return vlm.VllmClient(VllmParams(urls=urls, timeout_s=60, attempts=attempts), model, concurrency)


def describe(
    engine: vlm.Captioner,
    images: Sequence[Path],
    *instructions: str,
    max_tokens: int = 9,
    max_side: int = 1024,
) -> list[vlm.Answer | vlm.FailedImage]:
    """Return the results for images that are captioned with the same instructions."""
    asked = instructions or ("Describe it.",)
    requests = [vlm.CaptionRequest(image=image, instructions=asked) for image in images]
    return list(engine.describe(requests, max_tokens, max_side))


def answer(text: str = "a red house", position: int = 0, instruction: str = "Describe it.") -> vlm.Answer:
    return vlm.Answer(position=position, instruction=instruction, text=text)


def image_of(request: dict[str, Any]) -> Image.Image:
    """Return the image of a request."""
    data = request["messages"][0]["content"][0]["image_url"]["url"].split(",")[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_request_contains_image_instruction_and_greedy_settings(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    assert describe(connect(url), images[:1]) == [answer()]
    (request,) = fake.requests
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("name", 0, 9)
    image_part, text_part = request["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "Describe it."}
    head, data = image_part["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == images[0].read_bytes()


def test_requests_about_one_image_follow_each_other_and_begin_with_the_image(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.reply = lambda request: request["messages"][0]["content"][1]["text"]
    results = describe(connect(url, concurrency=1), images, "Name it.", "Describe it.")
    asked = [request["messages"][0]["content"] for request in fake.requests]
    assert [content[1]["text"] for content in asked] == ["Name it.", "Describe it."] * 6
    assert [asked[i][0] for i in range(0, 12, 2)] == [asked[i][0] for i in range(1, 12, 2)]
    assert results == [
        answer(text, position, text) for position in range(6) for text in ("Name it.", "Describe it.")
    ]


def test_concurrent_requests_are_limited_over_all_batches(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    client = connect(url, concurrency=3)
    batches = [threading.Thread(target=lambda: describe(client, images * 2)) for _ in range(2)]
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
    assert describe(connect(url), images[:1]) == [answer()]
    assert len(fake.requests) == 3


def test_retries_end_after_the_configured_attempts_and_later_requests_fail_at_once(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(503, "")] * 99
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        describe(connect(url, attempts=2, concurrency=1), images)
    assert len(fake.requests) == 2


def test_captions_are_yielded_before_the_error_of_the_server(
    server: tuple[FakeOpenAI, str], images: list[Path]
) -> None:
    fake, url = server
    fake.responses = [(200, "a red house"), (401, "")]
    results = []
    requests = [vlm.CaptionRequest(image=image, instructions=("Describe it.",)) for image in images[:4]]
    with pytest.raises(CaptionError, match="refused the request"):
        for result in connect(url, concurrency=1).describe(requests, 9, 1024):
            results.append(result)
    assert results == [answer(position=position) for position in (0, 2, 3)]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_image_fails_alone_and_its_other_instructions_are_not_sent(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.status = lambda request: status if image_of(request) == Image.open(images[1]) else 200
    results = describe(connect(url), images[:3], "Name it.", "Describe it.")
    (failed,) = (result for result in results if isinstance(result, vlm.FailedImage))
    assert failed.position == 1 and f"refused the request: Error code: {status}" in failed.reason
    assert {result.position for result in results} == {0, 1, 2}
    assert len(fake.requests) == len(results) == 5


def test_image_at_which_the_server_always_fails_fails_alone(
    server: tuple[FakeOpenAI, str], images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = server
    monkeypatch.setattr("autolora.vlm.vllm_client.FIRST_DELAY_S", 1.0)  # the others are answered meanwhile
    fake.status = lambda request: 500 if image_of(request) == Image.open(images[1]) else 200
    client = connect(url, attempts=2, concurrency=3)
    results = describe(client, images[:3], "Name it.", "Describe it.")
    (failed,) = (result for result in results if isinstance(result, vlm.FailedImage))
    assert failed.position == 1 and "failed at this request 2 times, but answered others" in failed.reason
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        describe(client, images[1:2])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_of_all_requests_is_an_error_of_the_server(
    server: tuple[FakeOpenAI, str], images: list[Path], status: int
) -> None:
    fake, url = server
    fake.status = lambda request: status
    with pytest.raises(CaptionError, match=f"refused the request: Error code: {status}"):
        describe(connect(url), images[:1])


@pytest.mark.parametrize("text", ["", " \n ", None, "...", "a h\ufffdouse", "a\x00b", NO_CHOICES])
def test_answer_that_is_not_a_text_is_requested_again_and_then_fails_its_image(
    server: tuple[FakeOpenAI, str], images: list[Path], text: object
) -> None:
    fake, url = server
    fake.responses = [(200, text)] * 2
    assert describe(connect(url), images[:1]) == [answer()]
    fake.responses = [(200, text)] * 3
    first, second = describe(connect(url, concurrency=1), images[:2])
    assert isinstance(first, vlm.FailedImage) and "expected a text" in first.reason
    assert second == answer(position=1)
    assert len(fake.requests) == 3 + 4


def test_large_image_is_downsized_by_both_engines(
    server: tuple[FakeOpenAI, str], tmp_path: Path, captioner: vlm.Captioner
) -> None:
    fake, url = server
    path = tmp_path / "large.png"
    Image.new("RGB", (640, 320), "red").save(path)
    assert describe(connect(url), [path], max_side=64) == [answer()]
    (request,) = fake.requests
    assert image_of(request).size == (64, 32) == load_rendering(path, 64).size
    Image.new("RGB", (64, 32), "red").save(tmp_path / "small.png")
    assert describe(captioner, [path], max_side=64) == describe(captioner, [tmp_path / "small.png"])


def damage(path: Path, kind: str) -> None:
    """Damage an image file."""
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "bit flip":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes({"empty": b"", "cut": data[:-100], "text": b"not an image"}[kind])


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "text", "bit flip"])
@pytest.mark.parametrize("max_side", [1024, 32])
def test_damaged_image_fails_alone_in_both_engines(
    server: tuple[FakeOpenAI, str], images: list[Path], captioner: vlm.Captioner, kind: str, max_side: int
) -> None:
    fake, url = server
    damage(images[1], kind)
    for engine in (connect(url), captioner):
        results = sorted(describe(engine, images[:3], max_side=max_side), key=lambda result: result.position)
        assert [type(result) for result in results] == [vlm.Answer, vlm.FailedImage, vlm.Answer]
        assert "missing or damaged since its download" in results[1].reason  # type: ignore[union-attr]
    assert len(fake.requests) == 2


@pytest.fixture
def two_servers(
    server: tuple[FakeOpenAI, str],
) -> Iterator[tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]]]:
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield server, (FakeOpenAI(http, "name"), http.url_for("/v1"), http)


def test_images_are_balanced_over_servers_and_each_stays_on_one(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]], images: list[Path]
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    client = connect(first_url, second_url, concurrency=4)
    client.check()
    results = describe(client, images * 4, "Name it.", "Describe it.", "Describe all of it.")
    assert len(results) == 72
    assert min(len(first.requests), len(second.requests)) >= 24
    # sequences of three requests about one image
    assert len(first.requests) % 3 == len(second.requests) % 3 == 0


def test_killed_server_loses_no_caption_and_the_other_gets_its_requests(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]],
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autolora.vlm.endpoints.FIRST_PAUSE_S", 60.0)  # longer than the end of a server takes
    (first, first_url), (second, second_url, http) = two_servers
    killer = threading.Thread(target=http.stop)

    def reply(request: dict[str, Any]) -> str:
        if len(second.requests) == 10:
            second.status = lambda request: 503  # requests in flight fail, later ones find no server
            killer.start()
        return "a red house"

    second.reply = reply
    results = describe(connect(first_url, second_url, concurrency=4), images * 6, "Name it.", "Describe it.")
    killer.join()
    expected = {(position, text) for position in range(36) for text in ("Name it.", "Describe it.")}
    answered = [(result.position, result.instruction) for result in results if isinstance(result, vlm.Answer)]
    assert set(answered) == expected and len(answered) == len(expected)
    assert len(second.requests) < 15 < len(first.requests)


def test_server_that_answers_again_gets_requests_again(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]],
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    monkeypatch.setattr("autolora.vlm.endpoints.FIRST_PAUSE_S", 0.1)
    second.responses = [(503, "")]
    assert len(describe(connect(first_url, second_url), images * 6)) == 36
    assert len(second.requests) > 3
    assert len(first.requests) + len(second.requests) == 37


def test_failure_of_all_servers_is_an_error(
    two_servers: tuple[tuple[FakeOpenAI, str], tuple[FakeOpenAI, str, HTTPServer]], images: list[Path]
) -> None:
    (first, first_url), (second, second_url, _) = two_servers
    first.status = second.status = lambda request: 503
    with pytest.raises(CaptionError, match=f"no vLLM server answers at {first_url}, {second_url}"):
        describe(connect(first_url, second_url, attempts=2), images[:1])
    assert len(first.requests) == len(second.requests) == 2


def test_check_passes_if_one_server_answers(server: tuple[FakeOpenAI, str], images: list[Path]) -> None:
    client = connect("http://127.0.0.1:9/v1", server[1])
    client.check()
    assert len(describe(client, images)) == 6


def test_unreachable_server_error_names_both_remedies(images: list[Path]) -> None:
    with pytest.raises(CaptionError, match=r"make serve.*captions\.engine: transformers"):
        connect("http://127.0.0.1:9/v1").check()


def test_server_with_another_model_is_refused(server: tuple[FakeOpenAI, str]) -> None:
    connect(server[1]).check()
    with pytest.raises(CaptionError, match=r"serves name, not the VLM of params\.yaml"):
        connect(server[1], model="other").check()


def test_digest_is_the_hash_of_a_folder_or_the_commit_of_a_hub_model() -> None:
    assert vlm.digest(MODELS) == hash_folder(ROOT / "playground/models/vlm")
    assert vlm.digest(replace(MODELS, vlm="owner/name", vlm_revision="c0ffee")) == "owner/name@c0ffee"
    with pytest.raises(ParamsError, match="vlm_revision"):
        vlm.digest(replace(MODELS, vlm="owner/name"))
    with pytest.raises(MissingArtifact, match="make playground"):
        vlm.digest(replace(MODELS, vlm="./nowhere"))


@pytest.fixture
def captioner() -> vlm.Captioner:
    """The playground's VLM in this process."""
    return vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)


def test_in_process_caption_does_not_depend_on_its_batch(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instruction = VALUES.captions.instructions.medium
    together = describe(captioner, images, instruction, max_tokens=24)
    alone = [describe(captioner, [image], instruction, max_tokens=24) for image in images]
    assert [result.text for (result,) in alone] == [result.text for result in together]  # type: ignore[union-attr]


def test_in_process_caption_does_not_depend_on_the_instructions_before_it(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    instructions = list(asdict(VALUES.captions.instructions).values())
    together = {
        (result.position, result.instruction): result
        for result in describe(captioner, images, *instructions, max_tokens=24)
    }
    alone = [result for text in instructions for result in describe(captioner, images, text, max_tokens=24)]
    assert len(alone) == len(together) == 18
    assert all(together[result.position, result.instruction] == result for result in alone)  # type: ignore[union-attr]


def test_image_encoded_once_has_the_caption_that_plain_generation_gives(
    images: list[Path], captioner: vlm.Captioner
) -> None:
    assert isinstance(captioner, InProcessModel)
    model, processor = captioner._model, captioner._processor
    opened = [load_rendering(path, 1024) for path in images[:4]]
    instruction = VALUES.captions.instructions.long
    inputs = captioner._inputs(opened, [instruction] * 4)
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    plain = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert captioner._generate(opened, ["Name it.", instruction], 24)[1] == plain
