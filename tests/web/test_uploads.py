"""Dropped files: LoRAs find their like, images say how they were made, and everything else is refused."""

import io
import socket
import struct
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from PIL import Image

from autolora.errors import MissingArtifact
from autolora.lora import read
from autolora.lora.remedies import REMEDIES
from autolora.params import Params
from autolora.pool import store as pool
from autolora.search.by_image import NO_CAPTIONER
from autolora.web import captioner
from autolora.web import provenance as provenance_module
from autolora.web import uploads as uploads_module
from autolora.web.uploads import UploadedLora, Uploads
from tests.support.png import bomb, png
from tests.support.waiting import LIMIT_S, wait_until
from tests.web.conftest import serving


def upload(client: httpx2.Client, content: bytes, name: str = "x.safetensors") -> httpx2.Response:
    """Upload a LoRA file."""
    return client.post("/api/files", params={"name": name}, content=content)


def first_adapter(client: httpx2.Client) -> dict[str, Any]:
    """Return one adapter of the index."""
    hit: dict[str, Any] = client.get("/api/search", params={"q": "a cat", "k": 1}).json()["adapters"][0]
    return hit


def test_a_dropped_file_finds_itself_and_its_like(client: httpx2.Client, root: Path) -> None:
    hit = first_adapter(client)
    answer = upload(client, pool.weights_path(root, hit["sha256"]).read_bytes(), "mine <b>.safetensors")
    described = answer.raise_for_status().json()
    assert described["sha256"] == hit["sha256"] and described["layout"] == "peft" and described["rank"] == 2
    found = client.get("/api/search", params={"file": described["id"], "k": 3}).json()["adapters"]
    assert found[0]["sha256"] == hit["sha256"] and found[0]["score"] == pytest.approx(1, abs=1e-4)
    page = client.get("/", params={"file": described["id"]}).text
    assert "More like" in page and "mine &lt;b&gt;.safetensors" in page and "<b>" not in page


def test_a_forgotten_file_must_be_dropped_again(client: httpx2.Client) -> None:
    answer = client.get("/api/search", params={"file": "0" * 32})
    assert answer.status_code == 404 and "drop it again" in answer.json()["error"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not a LoRA", b"\x80\x04pickle", struct.pack("<Q", 2**62) + b"{", struct.pack("<Q", 2) + b"{}"],
    ids=["empty", "text", "pickle", "length", "no tensors"],
)
def test_what_is_not_a_lora_is_refused(client: httpx2.Client, content: bytes) -> None:
    answer = upload(client, content)
    assert answer.status_code == 422 and answer.json()["error"] and "/tmp" not in answer.text


def test_a_file_that_fails_unexpectedly_is_answered_and_named(
    client: httpx2.Client,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(*arguments: Any) -> Any:
        raise RuntimeError("injected")

    weights = pool.weights_path(root, first_adapter(client)["sha256"]).read_bytes()
    before = set(Path(tempfile.gettempdir()).glob("autolora-upload-*"))
    with monkeypatch.context() as patched:
        patched.setattr(read, "read_and_sketch", failing)
        patched.setattr(read, "read", failing)
        answer = upload(client, weights, "mine\n.safetensors")
    problem = r"the file 'mine\n.safetensors' cannot be read: unexpected RuntimeError, whose traceback is in the log"
    assert answer.status_code == 500 and answer.json() == {"error": problem}
    assert "RuntimeError: injected" in caplog.text
    assert set(Path(tempfile.gettempdir()).glob("autolora-upload-*")) == before
    assert upload(client, weights).status_code == 200


def test_a_refusal_says_what_to_do(client: httpx2.Client) -> None:
    assert upload(client, b"no LoRA").json()["error"].endswith(f". {REMEDIES['truncated']}")


def test_too_many_uploads_at_a_time_are_refused(client: httpx2.Client, url: str) -> None:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    start = f"POST /api/files HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9\r\n\r\n".encode()
    with ExitStack() as stack:

        def is_refused() -> bool:
            """Begin another upload, which stays incomplete, and return whether a further one is refused."""
            stack.enter_context(connection := socket.create_connection((host, port)))
            connection.sendall(start)
            return upload(client, b"x").status_code == 429

        wait_until(is_refused)
    wait_until(lambda: upload(client, b"x").status_code == 422)


def test_the_longest_unused_files_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_module, "MAX_REMEMBERED", 2)
    uploads = Uploads(max_parallel=1)
    first, second = uploads.remember(make_upload()), uploads.remember(make_upload())
    uploads.find(first)
    third = uploads.remember(make_upload())
    assert uploads.find(first) and uploads.find(third)
    with pytest.raises(MissingArtifact, match="drop it again"):
        uploads.find(second)


def make_upload() -> UploadedLora:
    vector = np.zeros(4, np.float32)
    return UploadedLora(
        name="x", sha256="0" * 64, vector=vector, layout="peft", rank=1, num_slots=1, warnings=()
    )


def make_provenance(adapter: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of an image that was made with an adapter."""
    own = {
        name: adapter[name] for name in ("hub", "id", "file", "license", "sha256", "score", "trigger_words")
    }
    return {
        "prompt": "<script>alert(1)</script>", "method": "direct", "seed": 7, "index": "0" * 64, "gates": None,
        "autolora": "0.1.0", "base": {"pipeline": "flux", "revision": None}, "adapters": [own],
        "generation": {"width": 8, "height": 8, "steps": 2, "guidance": 3.5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": float("inf")}, "not valid JSON"), ({"seed": float("nan")}, "not valid JSON"),
        ({"prompt": "\ud800"}, "not valid JSON"),
        ({"adapters": [{"hub": "folder", "id": 1, "file": "x", "sha256": "0"}]}, "no valid field"),
    ],
    ids=["infinity", "no number", "half of a pair", "id"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/provenance", "/parts/provenance"])
def test_provenance_that_cannot_be_shown_is_refused(
    client: httpx2.Client, path: str, change: dict[str, Any], problem: str
) -> None:
    answer = client.post(path, content=png(make_provenance(first_adapter(client)) | change))
    assert answer.status_code == 404 and problem in answer.text


def test_a_dropped_image_says_how_it_was_made(client: httpx2.Client) -> None:
    hit = first_adapter(client)
    provenance = make_provenance(hit)
    assert client.post("/api/provenance", content=png(provenance)).json() == provenance
    part = client.post("/parts/provenance", content=png(provenance)).text
    assert "&lt;script&gt;alert(1)" in part and "<script>" not in part
    assert f'href="/?adapter={hit["sha256"]}"' in part and "Generate it again" in part


def other_image(format: str = "PNG") -> bytes:
    """Return an image that AutoLoRA did not generate."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format)
    return stream.getvalue()


@pytest.mark.parametrize(("format", "problem"), [("PNG", "contains no provenance"), ("JPEG", "is not a PNG")])
def test_another_image_can_be_searched_by(client: httpx2.Client, format: str, problem: str) -> None:
    part = client.post("/parts/provenance", content=other_image(format)).text
    assert problem in part and "data-describe" in part and 'aria-label="Close"' in part
    assert "/tmp" not in part and "cannot identify" not in part


def test_the_words_for_an_image_are_those_of_the_captioner(
    client: httpx2.Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(given: Path, params: Params, opened: Image.Image) -> str:
        assert (given, opened.size) == (root, (8, 8))
        return "a rocket " * 200

    monkeypatch.setattr(captioner, "describe_image", describe)
    caption = client.post("/api/captions", content=other_image("WEBP")).raise_for_status().json()["caption"]
    assert client.get("/api/search", params={"q": caption}).raise_for_status().json()["adapters"]
    refused = client.post("/api/captions", content=b"no image")
    assert refused.status_code == 422 and "cannot search by the image: " in refused.json()["error"]


def test_without_a_captioner_the_page_says_what_is_missing(own_root: Path) -> None:
    params = (own_root / "params.yaml").read_text()
    (own_root / "params.yaml").write_text(params.replace("engine: transformers", "engine: null"))
    with serving(own_root) as address, httpx2.Client(base_url=address.url, timeout=LIMIT_S) as client:
        part = client.post("/parts/provenance", content=other_image()).text
        assert NO_CAPTIONER in part and "data-describe" not in part
        refused = client.post("/api/captions", content=other_image())
    assert refused.status_code == 422 and refused.json()["error"] == NO_CAPTIONER


@pytest.mark.parametrize("path", ["/api/provenance", "/parts/provenance"])
def test_an_image_that_fails_unexpectedly_is_answered(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def failing(*arguments: Any) -> Any:
        raise RuntimeError("injected")

    monkeypatch.setattr(provenance_module, "read_provenance", failing)
    answer = client.post(path, content=png(make_provenance(first_adapter(client))))
    assert answer.status_code == 500 and "the image cannot be read: unexpected RuntimeError" in answer.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"), (b"GIF89a", "not a PNG"), (png("{"), "not valid JSON"),
        (png("[" * 100_000), "nested too deeply"),
        (png([]), "no valid field"), (png({"prompt": 1}), "no valid field"), (bomb(30_000), "exceeds limit"),
        (bomb(8_000), "8000 x 8000 px, but at most"),
    ],
    ids=["empty", "GIF", "JSON", "nested", "list", "fields", "bomb", "small bomb"],
)  # fmt: skip
def test_other_images_are_refused(client: httpx2.Client, content: bytes, problem: str) -> None:
    answer = client.post("/api/provenance", content=content)
    assert (
        answer.status_code in (404, 422) and problem in answer.json()["error"] and "/tmp" not in answer.text
    )
