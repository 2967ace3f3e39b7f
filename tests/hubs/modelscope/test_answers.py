"""The client reads ModelScope's answers in tests/hubs/answers, and the playground's hub returns the same shapes."""

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import HubError
from autolora.hubs import Availability
from autolora.hubs.modelscope import muse_info
from autolora.records import Listing
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.hubs.modelscope.fake_modelscope import (
    DETAILS_PATH,
    FILES_PATH,
    LIST_PATH,
    connect,
    crawl,
    envelope,
    model,
    pages,
    serve_list,
)
from tests.hubs.shapes import differences, read_answer
from tests.support.tiny_pool import make_pool

COVERS = "https://resources.modelscope.cn/cover-images"


def serve(server: HTTPServer, path: str, name: str) -> Any:
    """Serve an answer at a path and return its body."""
    answer = read_answer(f"modelscope/{name}")
    server.expect_request(path).respond_with_json(answer.body, answer.status)
    return answer.body


def crawl_ink(server: HTTPServer, details: Any = None, files: Any = None) -> dict[str, Listing]:
    """Return the listings of ann/ink by file; details, files: answers that replace the stored ones."""
    serve_list(server, [model()], 1)
    answers = {DETAILS_PATH: ("model", details), FILES_PATH: ("files", files)}
    for path, (name, body) in answers.items():
        server.expect_request(path).respond_with_json(body or read_answer(f"modelscope/{name}").body)
    return {listing.file: listing for listing in crawl(connect(server.url_for("")), max_renderings=5)}


def changed_details(**fields: Any) -> Any:
    """Return the stored answer of a model's page with other values of some fields."""
    body = copy.deepcopy(read_answer("modelscope/model").body)
    body["Data"] |= fields
    return body


def test_tags_of_a_list_are_read_in_every_form(httpserver: HTTPServer) -> None:
    serve(httpserver, LIST_PATH, "models")
    (page,) = pages(connect(httpserver.url_for("")))
    listings = {entry.id: entry.partial_listings[0] for entry in page.models}
    nsfw = {id for id, listing in listings.items() if listing.nsfw}
    assert nsfw == {"ann/prefixed", "ann/spelled", "ann/bare", "ann/huggingface"}
    assert {listings[id].nsfw_level for id in nsfw} == {"mature"}
    assert (listings["ann/ink"].base, listings["ann/ink"].nsfw_level) == ("flux.1-dev", None)
    assert listings["ann/plain"].license == "Apache License 2.0" and listings["ann/bare"].license is None


def test_model_page_has_base_model_tags_trigger_words_and_cover_images(httpserver: HTTPServer) -> None:
    listings = crawl_ink(httpserver)
    first, second = listings["ink_v1.safetensors"], listings["ink_v2.safetensors"]
    assert {listing.base_model for listing in listings.values()} == {"black-forest-labs/FLUX.1-dev"}
    assert {listing.base for listing in listings.values()} == {"flux.1-dev"}
    assert {(listing.nsfw, listing.nsfw_level) for listing in listings.values()} == {(True, "mature")}
    assert (first.trigger_words, second.trigger_words) == (("inkwsh",), ("inkwsh", "brush"))
    assert [(image.url, image.prompt) for image in first.renderings] == [(f"{COVERS}/1a.png", "a boat")]
    assert [(image.url, image.prompt, image.nsfw_level, image.sha256) for image in second.renderings] == [
        (f"{COVERS}/2a.png", "inkwsh, a heron at dawn", "mature", None),
        (f"{COVERS}/2c.png?x-oss-process=image/resize,w_1024", None, "mature", None),
    ]


def test_known_listings_keep_what_only_the_model_page_says(httpserver: HTTPServer) -> None:
    first = crawl_ink(httpserver)
    httpserver.clear_log()
    known = {listing.url: listing for listing in first.values()}
    second = crawl(connect(httpserver.url_for("")), known, max_renderings=5)
    assert second == list(first.values())
    assert [request.path for request, _ in httpserver.log] == [LIST_PATH]


@pytest.mark.parametrize(
    ("tags", "official", "is_nsfw"),
    [
        (["nsfw"], [], True), (["NSFW "], None, True), (["custom_tag:nsfw"], [], True), ("nsfw", [], True),
        ([], [{"Tag": "NSFW"}], True), (["not-for-all-audiences"], [], True),
        (["LoRA", "nsfw-free", 3, None], [{"Tag": 7}, "x", None], False), (None, None, False),
    ],
)  # fmt: skip
def test_adult_content_on_the_model_page(
    httpserver: HTTPServer, tags: Any, official: Any, is_nsfw: bool
) -> None:
    listings = crawl_ink(httpserver, changed_details(Tags=tags, OfficialTags=official))
    assert {listing.nsfw for listing in listings.values()} == {is_nsfw}


@pytest.mark.parametrize(
    ("value", "base_model"),
    [
        (["a/FLUX.1-dev@master"], "a/FLUX.1-dev"), ("a/FLUX.1-dev@v1.0", "a/FLUX.1-dev"), (["", "a/b"], "a/b"),
        (["@master"], None), ([""], None), (None, None), ([{"a": 1}], None),
    ],
)  # fmt: skip
def test_base_model_may_name_a_revision(httpserver: HTTPServer, value: Any, base_model: str | None) -> None:
    listings = crawl_ink(httpserver, changed_details(BaseModel=value))
    assert {listing.base_model for listing in listings.values()} == {base_model}


def test_muse_info_may_be_an_object(httpserver: HTTPServer) -> None:
    text = read_answer("modelscope/model").body["Data"]["MuseInfo"]
    as_text, as_object = (
        crawl_ink(httpserver, changed_details(MuseInfo=value)) for value in (text, json.loads(text))
    )
    assert as_text == as_object


@pytest.mark.parametrize(
    "value",
    [
        "{", "[]", "7", "null" * 2, "[" * 100_000, '{"versions": "', 7, True, ["x"], "9" * 10_000,
        json.dumps({"versions": [], "x": "y" * 100}),
    ],
)  # fmt: skip
def test_invalid_muse_info_is_ignored_with_a_warning(
    httpserver: HTTPServer, value: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muse_info, "MAX_MUSE_CHARS", 110)
    with caplog.at_level(logging.WARNING):
        listings = crawl_ink(httpserver, changed_details(MuseInfo=value))
    assert "ann/ink is listed without its cover images: MuseInfo" in caplog.text
    for listing in listings.values():
        assert listing.trigger_words == ("inkwsh",)
        assert [image.sha256 for image in listing.renderings] == ["3" * 64]  # an image of the repository


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", {}, "{}", {"versions": None}, {"versions": "x"}, {"versions": [None, 7, "x", []]},
        {"versions": [{"coverImages": 7, "modelVersion": "{", "stats": 3}]},
        {"versions": [{"coverImages": [None, {}, {"url": None}, {"url": 7}, {"url": ""}, {"url": "x" * 9000}]}]},
        {"versions": [{"coverImages": [{"url": "file:///etc/passwd"}, {"url": "http://169.254.169.254/a.png"}]}]},
        {"versions": [{"coverImages": [{"url": "https://u:p@a.b/c.png"}, {"url": "https://[::1/a.png"}]}]},
        {"versions": [{"modelVersion": {"triggerWords": "[\"a\""}}]},
        {"versions": [{"modelVersion": {"triggerWords": [3, None, "none", "N/A", " "]}}]},
    ],
)  # fmt: skip
def test_empty_and_hostile_versions_add_nothing(httpserver: HTTPServer, value: Any) -> None:
    for listing in crawl_ink(httpserver, changed_details(MuseInfo=value)).values():
        assert listing.trigger_words == ("inkwsh",)
        assert [image.sha256 for image in listing.renderings] == ["3" * 64]


def test_cover_images_are_bounded_and_not_repeated(httpserver: HTTPServer) -> None:
    covers = [{"url": f"{COVERS}/{number % 7}.png", "prompt": "p" * 9000} for number in range(500)]
    version = {
        "coverImages": covers,
        "modelVersion": {"triggerWords": json.dumps([f"w{n}" for n in range(500)])},
    }
    files = {
        "Code": 200,
        "Success": True,
        "Data": {"Files": [{"Path": "a.safetensors", "Type": "blob", "Size": 1}]},
    }
    details = changed_details(MuseInfo={"versions": [version] * 3})
    listing = crawl_ink(httpserver, details, files)["a.safetensors"]
    assert [image.url for image in listing.renderings] == [f"{COVERS}/{number}.png" for number in range(5)]
    assert all(len(image.prompt or "") <= 2000 for image in listing.renderings)
    assert len(listing.trigger_words) <= 20


def test_cover_images_of_the_repository_have_their_hash(httpserver: HTTPServer) -> None:
    url = httpserver.url_for("/models/ann/ink/resolve/master/images/1.png?x=1")
    elsewhere = httpserver.url_for("/models/ann/ink/resolve/master/images/none.png")
    covers = [{"url": url, "prompt": "a heron"}, {"url": elsewhere}, {"url": url, "prompt": "again"}]
    version = {"coverImages": covers, "stats": {"fileList": ["ink_v1.safetensors"]}}
    listing = crawl_ink(httpserver, changed_details(MuseInfo={"versions": [version]}))["ink_v1.safetensors"]
    assert [(image.sha256, image.prompt) for image in listing.renderings] == [
        ("3" * 64, "a heron"),
        (None, None),
    ]
    assert f"Revision={'c' * 40}&FilePath=images%2F1.png" in listing.renderings[0].url


def test_versions_without_file_names_belong_to_the_only_file(httpserver: HTTPServer) -> None:
    """Of several files, a version's images are never those of another one."""
    version = {"coverImages": [{"url": f"{COVERS}/x.png"}], "modelVersion": {"triggerWords": "b"}}
    details = changed_details(MuseInfo={"versions": [version, version]})
    for listing in crawl_ink(httpserver, details).values():
        assert (listing.trigger_words, len(listing.renderings)) == (("inkwsh",), 1)
        assert listing.renderings[0].sha256
    httpserver.clear()
    files = {
        "Code": 200,
        "Success": True,
        "Data": {"Files": [{"Path": "x/a.safetensors", "Type": "blob", "Size": 1}]},
    }
    listing = crawl_ink(httpserver, details, files)["x/a.safetensors"]
    assert (listing.trigger_words, listing.renderings[0].url) == (("b", "inkwsh"), f"{COVERS}/x.png")


def test_missing_model_is_reported_inside_a_success_or_with_404(httpserver: HTTPServer) -> None:
    body = read_answer("modelscope/not_found").body
    client = connect(httpserver.url_for(""))
    for status in (200, 404):
        httpserver.expect_oneshot_request(DETAILS_PATH).respond_with_json(body, status)
        assert client.availability("ann/ink") is Availability.NOT_FOUND
    serve(httpserver, DETAILS_PATH, "no_access")
    assert client.availability("ann/ink") is Availability.NOT_FOUND


@pytest.mark.parametrize("status", [200, 404])
def test_overloaded_hub_does_not_report_a_missing_model(httpserver: HTTPServer, status: int) -> None:
    body = read_answer("modelscope/overloaded").body
    httpserver.expect_request(DETAILS_PATH).respond_with_json(body, status)
    with pytest.raises(HubError, match="Error 1461"):
        connect(httpserver.url_for("")).availability("ann/ink")


def test_404_without_a_body_is_a_missing_model(httpserver: HTTPServer) -> None:
    httpserver.expect_request(DETAILS_PATH).respond_with_data("<html>", 404)
    assert connect(httpserver.url_for("")).availability("ann/ink") is Availability.NOT_FOUND


def test_unknown_revision_is_a_model_without_files(httpserver: HTTPServer) -> None:
    assert crawl_ink(httpserver, files=read_answer("modelscope/unknown_revision").body) == {}
    invalid: list[dict[str, Any]] = [{}, {"Files": 0}, {"Files": ""}, {"Files": {}}]
    for files in invalid:
        httpserver.clear()
        with pytest.raises(HubError, match="expected a list of files"):
            crawl_ink(httpserver, files=envelope(files))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the playground's ModelScope API."""
    pool = make_pool(Path(tmp_path_factory.mktemp("pool")))
    with running(Hub(pool, day=1)) as url:
        yield f"{url}/modelscope"


@pytest.mark.parametrize("name", ["models", "model", "files", "unknown_revision", "not_found"])
def test_playground_answers_in_the_same_shape(hub: str, name: str) -> None:
    answer = read_answer(f"modelscope/{name}")
    response = httpx2.get(f"{hub}{answer.request.removeprefix('GET ')}")
    assert response.status_code == answer.status
    assert differences(answer.body, response.json(), answer.free) == []


def test_playground_muse_info_has_the_same_shape(hub: str) -> None:
    expected = json.loads(read_answer("modelscope/model").body["Data"]["MuseInfo"])
    actual = json.loads(httpx2.get(f"{hub}{DETAILS_PATH}").json()["Data"]["MuseInfo"])
    assert differences(expected, actual) == []
