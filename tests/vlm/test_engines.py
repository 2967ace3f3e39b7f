"""The two engines: what the server is asked and how it may fail; captions in process."""

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
from autolora.storage.files import hash_folder
from tests.support.fake_openai import Server
from tests.support.images import draw_pictures

ROOT = Path(__file__).parents[2]
VALUES = load(ROOT / "params.yaml")
MODELS = replace(VALUES.models, vlm=str(ROOT / "playground/models/vlm"), threads=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str]]:
    monkeypatch.setattr("autolora.vlm.served.FIRST_DELAY_S", 0.01)
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield Server(http, "name"), http.url_for("/v1")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, data in zip(paths, draw_pictures(6), strict=True):
        path.write_bytes(data)
    return paths


def served(url: str, name: str = "name", attempts: int = 3, concurrency: int = 3) -> vlm.Served:
    return vlm.Served(VllmParams(url=url, timeout_s=5, attempts=attempts), name, concurrency)


def test_request_carries_picture_instruction_and_greedy_settings(
    server: tuple[Server, str], pictures: list[Path]
) -> None:
    http, url = server
    assert list(served(url).describe(pictures[:1], "Say it.", 9)) == [(0, "a red house")]
    (request,) = http.asked
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("name", 0, 9)
    picture, text = request["messages"][0]["content"]
    assert text == {"type": "text", "text": "Say it."}
    head, data = picture["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == pictures[0].read_bytes()


def test_requests_are_in_flight_together_up_to_the_bound(
    server: tuple[Server, str], pictures: list[Path]
) -> None:
    http, url = server
    engine = served(url, concurrency=3)
    batches = [
        threading.Thread(target=lambda: list(engine.describe(pictures * 2, "Say it.", 9))) for _ in range(2)
    ]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert len(http.asked) == 24
    assert 1 < http.most_in_flight <= 3


@pytest.mark.parametrize("status", [500, 503, 429])
def test_ailing_server_is_asked_again(server: tuple[Server, str], pictures: list[Path], status: int) -> None:
    http, url = server
    http.answers = [(status, ""), (status, "")]
    assert list(served(url).describe(pictures[:1], "Say it.", 9)) == [(0, "a red house")]
    assert len(http.asked) == 3


def test_attempts_are_bounded(server: tuple[Server, str], pictures: list[Path]) -> None:
    http, url = server
    http.answers = [(503, "")] * 9
    with pytest.raises(CaptionError, match="no vLLM server answers at"):
        list(served(url, attempts=2).describe(pictures[:1], "Say it.", 9))
    assert len(http.asked) == 2


def test_what_is_answered_is_yielded_before_a_failure(
    server: tuple[Server, str], pictures: list[Path]
) -> None:
    http, url = server
    http.answers = [(200, "a red house"), (400, ""), (200, "a red house")]
    told = []
    with pytest.raises(CaptionError, match="refused"):
        for place, _ in served(url, concurrency=1).describe(pictures[:4], "Say it.", 9):
            told.append(place)
    assert len(told) == 3 and len(http.asked) == 4


def test_refused_request_is_not_repeated(server: tuple[Server, str], pictures: list[Path]) -> None:
    http, url = server
    http.answers = [(400, "")]
    with pytest.raises(CaptionError, match=r"refused .*0\.png"):
        list(served(url).describe(pictures[:1], "Say it.", 9))
    assert len(http.asked) == 1


@pytest.mark.parametrize("text", ["", " \n ", None, "...", "a h\ufffdouse", "a\x00b"])
def test_nonsense_is_an_error(server: tuple[Server, str], pictures: list[Path], text: str | None) -> None:
    http, url = server
    http.answers = [(200, text)]
    with pytest.raises(CaptionError, match=r"the VLM answered .*0\.png"):
        list(served(url).describe(pictures[:1], "Say it.", 9))


def test_server_that_is_down_says_what_to_do(pictures: list[Path]) -> None:
    with pytest.raises(CaptionError, match=r"make serve.*captions\.engine: transformers"):
        served("http://127.0.0.1:9/v1").check()


def test_server_of_another_model_is_refused(server: tuple[Server, str]) -> None:
    served(server[1]).check()
    with pytest.raises(CaptionError, match=r"serves name, not the VLM of params\.yaml"):
        served(server[1], "other").check()


def test_digest_names_a_folder_by_its_bytes_and_a_hub_model_by_its_commit() -> None:
    assert vlm.digest(MODELS) == hash_folder(ROOT / "playground/models/vlm")
    assert vlm.digest(replace(MODELS, vlm="owner/name", vlm_revision="c0ffee")) == "owner/name@c0ffee"
    with pytest.raises(ParamsError, match="vlm_revision"):
        vlm.digest(replace(MODELS, vlm="owner/name"))
    with pytest.raises(MissingArtifact, match="make playground"):
        vlm.digest(replace(MODELS, vlm="./nowhere"))


def test_caption_in_process_does_not_depend_on_company(pictures: list[Path]) -> None:
    engine = vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)
    instruction = VALUES.captions.instructions.medium
    together = [text for _, text in engine.describe(pictures, instruction, 24)]
    assert [next(engine.describe([picture], instruction, 24)) for picture in pictures] == [
        (0, text) for text in together
    ]
    assert [text for _, text in engine.describe(pictures[::-1], instruction, 24)] == together[::-1]


def test_missing_rendering_says_which_stage_makes_it(tmp_path: Path) -> None:
    engine = vlm.captioner(MODELS, replace(VALUES.captions, batch=4), VALUES.vllm)
    with pytest.raises(MissingArtifact, match="dvc repro pool"):
        list(engine.describe([tmp_path / "none.png"], "Say it.", 9))
