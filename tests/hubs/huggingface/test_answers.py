"""Answers of the Hugging Face Hub by its official client: ours reads them, the playground's hub agrees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer

from autolora.errors import HubError
from autolora.hubs import Availability
from autolora.hubs.huggingface.client import EXPANDED_FIELDS, HuggingFace
from playground.hubs.huggingface import api
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.hubs.huggingface.test_client import TODAY, connect, crawl
from tests.hubs.shapes import differences, read_answer, serve
from tests.support.tiny_pool import RULES, make_pool

TREE = "/api/models/user/flux-ink/tree/" + "ab" * 20


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)


@pytest.fixture
def endpoint(hub: Hub) -> Iterator[str]:
    with running(hub) as url:
        yield url


def with_token(client: HuggingFace) -> HuggingFace:
    return connect(client.endpoint.url, "hf_secret")


@pytest.fixture
def client(httpserver: HTTPServer) -> HuggingFace:
    return connect(httpserver.url_for(""))


def test_client_reads_the_list_and_all_pages_of_a_tree(client: HuggingFace, httpserver: HTTPServer) -> None:
    """The link to the second page of the tree has a slash before its query."""
    serve(httpserver, "huggingface/models")
    first = read_answer("huggingface/tree").body
    link = f'<{httpserver.url_for(TREE)}/?recursive=true&cursor=ZXlKbWFX>; rel="next"'
    httpserver.expect_request(TREE).respond_with_json(first[:2], headers={"Link": link})
    httpserver.expect_request(f"{TREE}/", query_string="recursive=true&cursor=ZXlKbWFX").respond_with_json(
        first[2:]
    )
    page = client.page(RULES, None, TODAY)
    assert page.next and "cursor=eyJfaWQiOjF9" in page.next and page.problems == ()
    ink, gated = page.models
    assert gated.withdrawn and not ink.withdrawn
    (listing,) = client.complete_listings(ink, RULES, {})
    assert (listing.sha256, listing.size, listing.license) == (
        "cd" * 32,
        4194304,
        "flux-1-dev-non-commercial-license",
    )
    assert [rendering.sha256 for rendering in listing.renderings] == ["ef" * 32]


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.org" + TREE + "/?cursor=x", "{}" + TREE + "/images/?cursor=x", "{}" + TREE + "//?cursor=x",
        "{}/api/models/user/flux-other/tree/" + "ab" * 20 + "/?cursor=x", "{}" + TREE[:-1] + "c/?cursor=x",
        "{}" + TREE + "/",
    ],
)  # fmt: skip
def test_next_page_of_a_tree_stays_on_the_repository_and_revision(
    client: HuggingFace, httpserver: HTTPServer, url: str
) -> None:
    serve(httpserver, "huggingface/models")
    headers = {"Link": f'<{url.format(client.endpoint.url)}>; rel="next"'}
    httpserver.expect_request(TREE).respond_with_json([], headers=headers)
    with pytest.raises(HubError, match="returned the next page"):
        client.complete_listings(client.page(RULES, None, TODAY).models[0], RULES, {})


def test_deleted_repository_is_not_found_without_a_token(client: HuggingFace, httpserver: HTTPServer) -> None:
    serve(httpserver, "huggingface/deleted")
    serve(httpserver, "huggingface/model")
    assert client.availability("user/deleted") is Availability.NOT_FOUND
    assert client.availability("user/flux-ink") is Availability.AVAILABLE
    with pytest.raises(
        HubError, match=r"status 401 .*\(the token in HF_TOKEN was sent\): expected a valid token"
    ):
        with_token(client).availability("user/deleted")


def test_deleted_repository_is_not_found_with_a_token(client: HuggingFace, httpserver: HTTPServer) -> None:
    answer = read_answer("huggingface/deleted_with_token")
    httpserver.expect_request("/api/models/user/deleted").respond_with_json(
        answer.body, answer.status, answer.headers
    )
    assert with_token(client).availability("user/deleted") is Availability.NOT_FOUND


def test_repository_whose_tree_is_deleted_has_no_listings(
    client: HuggingFace, httpserver: HTTPServer
) -> None:
    serve(httpserver, "huggingface/models")
    deleted = read_answer("huggingface/deleted")
    httpserver.expect_request(TREE).respond_with_json(deleted.body, deleted.status, deleted.headers)
    ink = client.page(RULES, None, TODAY).models[0]
    assert client.complete_listings(ink, RULES, {}) == ()
    with pytest.raises(HubError, match="expected a valid token"):
        with_token(client).complete_listings(ink, RULES, {})


@pytest.mark.parametrize("headers", [{}, {"X-Error-Message": "Unauthorized"}, {"WWW-Authenticate": "Basic"}])
def test_401_of_a_proxy_is_an_error(
    client: HuggingFace, httpserver: HTTPServer, headers: dict[str, str]
) -> None:
    serve(httpserver, "huggingface/models")
    httpserver.expect_request("/api/models/user/flux-ink").respond_with_data("Unauthorized", 401, headers)
    httpserver.expect_request(TREE).respond_with_data("Unauthorized", 401, headers)
    ink = client.page(RULES, None, TODAY).models[0]
    with pytest.raises(HubError, match=r"status 401.*no token was sent: HF_TOKEN is not set"):
        client.availability("user/flux-ink")
    with pytest.raises(HubError, match=r"status 401.*no token was sent: HF_TOKEN is not set"):
        client.complete_listings(ink, RULES, {})


def test_hub_that_answers_401_to_everything_is_unreachable(
    client: HuggingFace, httpserver: HTTPServer
) -> None:
    deleted = read_answer("huggingface/deleted")
    httpserver.expect_request("/api/models").respond_with_json(deleted.body, deleted.status, deleted.headers)
    with pytest.raises(HubError, match="status 401"):
        client.page(RULES, None, TODAY)


def test_invalid_token_is_named(client: HuggingFace, httpserver: HTTPServer) -> None:
    answer = read_answer("huggingface/invalid_token")
    for path in ("/api/models", "/api/models/user/flux-ink"):
        httpserver.expect_request(path).respond_with_json(answer.body, answer.status, answer.headers)
    message = "expected a valid token; replace it, or unset HF_TOKEN"
    with pytest.raises(HubError, match=message):
        with_token(client).page(RULES, None, TODAY)
    with pytest.raises(HubError, match=message):
        with_token(client).availability("user/flux-ink")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("huggingface/models", f"/api/models?sort=lastModified&expand={'&expand='.join(EXPANDED_FIELDS)}"),
        ("huggingface/model", "/api/models/ann/ink?expand=gated&expand=private&expand=disabled"),
        ("huggingface/tree", "/api/models/ann/ink/tree/main?recursive=true&limit=4"),
        ("huggingface/deleted", "/api/models/bob/cat"),
        ("huggingface/deleted_with_token", "/api/models/bob/cat"),
    ],
)  # fmt: skip
def test_playground_returns_the_same_shapes(hub: Hub, endpoint: str, name: str, path: str) -> None:
    hub.change({"withdraw": "bob/cat"})
    answer = read_answer(name)
    headers = {"Authorization": "Bearer hf_secret"} if "valid token" in answer.request else {}
    response = httpx2.get(endpoint + path, headers=headers)
    assert response.status_code == answer.status
    assert differences(answer.body, response.json(), answer.free) == []
    for key in ("X-Error-Code", "X-Error-Message"):
        assert response.headers.get(key) == answer.headers.get(key)
    assert ("/?" in response.headers.get("Link", "")) == ("/?" in answer.headers.get("Link", ""))


def test_playground_returns_blobs_of_the_same_shape(endpoint: str) -> None:
    """A model's own page has more fields than the answer's source reads: only common fields are compared."""
    answer, entry = (
        read_answer("huggingface/model_blobs"),
        httpx2.get(f"{endpoint}/api/models/ann/ink?blobs=true").json(),
    )
    common: dict[str, Any] = {key: entry[key] for key in answer.body}
    assert differences(answer.body, common, answer.free) == []


@pytest.mark.parametrize("page_size", [1, 2, 5])
def test_client_follows_the_trees_of_the_playground(
    hub: Hub, endpoint: str, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    complete = crawl(connect(endpoint))
    hub.change({"reset": True})
    monkeypatch.setattr(api, "TREE_PAGE_SIZE", page_size)
    assert crawl(connect(endpoint)) == complete
    assert hub.requests()["tree"] == 4 * -(-6 // page_size)
