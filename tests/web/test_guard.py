"""Who may use the page: host names, origins, tokens and sizes; headers of every response."""

import dataclasses
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from autolora.errors import MissingArtifact
from autolora.web.guard import FAILURE_S, HEADERS, MAX_BODY, access_to
from autolora.web.server import listen
from tests.support.waiting import LIMIT_S
from tests.web.conftest import serving

IMAGE = {"prompt": "a cat", "adapters": []}
SECRET = "this file is none of the page's business"
HOSTILE = '"><script>alert(1)</script>'


@pytest.mark.parametrize(
    "path", ["/", "/api/search", "/static/main.js", "/nothing", f"/images/{'0' * 64}/320.webp"]
)
def test_every_response_has_the_headers_of_a_page_that_nothing_can_be_added_to(
    client: httpx2.Client, path: str
) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"] and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "",
        "localhost@evil",
        "evil@localhost",
        "localhost:80x",
        "[::2]",
    ],
)
def test_pages_that_resolve_their_name_to_this_machine_are_refused(client: httpx2.Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:8000"])
def test_names_of_this_machine_are_accepted(client: httpx2.Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1"},
    ],
)  # fmt: skip
def test_requests_of_other_sites_change_nothing(client: httpx2.Client, headers: dict[str, str]) -> None:
    before = client.get("/api/images").json()
    assert client.post("/api/images", json=IMAGE, headers=headers).status_code == 403
    assert client.delete(f"/api/images/{'0' * 32}", headers=headers).status_code == 403
    assert client.get("/api/images").json() == before


@pytest.mark.parametrize("dest", ["image", "iframe", "script", "empty"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_cause_no_search(client: httpx2.Client, site: str, dest: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest, "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/search", params={"k": 240}, headers=headers).status_code == 403
    link = headers | {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", params={"q": "a cat"}, headers=link).status_code == 200
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=typed).status_code == 200


def test_the_own_origin_is_accepted(client: httpx2.Client) -> None:
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/images", json=IMAGE | {"prompt": ""}, headers=own).status_code == 422


@pytest.mark.parametrize("folder", ["/static/", "/images/", "/generated/", "/parts/adapters/", "/"])
@pytest.mark.parametrize("up", ["../", "..%2f", "%2e%2e/", "..\\", "....//", "%252e%252e%252f", "/", "%00/"])
def test_no_path_leads_to_a_file_that_is_not_of_the_page(url: str, root: Path, folder: str, up: str) -> None:
    """The paths are sent as they are, which browsers and clients would not do."""
    secret, address = root / "secret.txt", urlsplit(url)
    secret.write_text(SECRET)
    for path in (folder + count * up + name for count in (1, 3, 9) for name in (secret.name, "etc/passwd")):
        connection = HTTPConnection(address.hostname or "", address.port, timeout=LIMIT_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status < 500 and SECRET.encode() not in content and b"root:x:0" not in content, path
        connection.close()


def test_a_prompt_adds_no_element_to_the_page(client: httpx2.Client) -> None:
    for path in ("/", "/generate"):
        page = client.get(path, params={"q": HOSTILE}).text
        assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page


def test_bodies_are_bounded_also_without_a_length(client: httpx2.Client) -> None:
    too_long = b" " * (MAX_BODY + 1)
    assert client.post("/api/images", content=too_long).status_code == 413
    assert client.post("/api/images", content=iter([too_long])).status_code == 413
    assert client.post("/api/files", content=iter([b"x" * 1_000_000] * 3)).status_code == 413
    assert client.post("/api/files", headers={"Content-Encoding": "gzip"}, content=b"x").status_code == 415


def test_another_host_needs_the_token(root: Path) -> None:
    with (
        serving(root, host="0.0.0.0", token="a-secret-of-the-page") as address,
        httpx2.Client(timeout=LIMIT_S) as client,
    ):
        assert address.url.endswith("/?token=a-secret-of-the-page")
        base = address.url.partition("?")[0]
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Cookie": "autolora_token=wrong"},
            {"Cookie": '"=;'},
        ):
            assert client.get(f"{base}api/search", headers=headers).status_code == 401
        assert client.get(f"{base}static/main.js").status_code == 401
        bearer = {"Authorization": "Bearer a-secret-of-the-page"}
        assert client.get(f"{base}api/search", headers=bearer).status_code == 200
        first = client.get(f"{base}?token=a-secret-of-the-page&q=a+cat")
        assert first.status_code == 303 and first.headers["location"] == "/?q=a+cat"
        assert {"HttpOnly", "SameSite=strict"} <= {
            part.strip() for part in first.headers["set-cookie"].split(";")
        }
        assert client.get(base).status_code == 200  # the client keeps the cookie


def test_a_token_is_made_for_another_host_and_only_there() -> None:
    with listen("127.0.0.1", 0, {}).listener:
        pass
    loopback, everywhere = listen("127.0.0.1", 0, {}), listen("0.0.0.0", 0, {})
    with loopback.listener, everywhere.listener:
        assert loopback.token is None and len(everywhere.token or "") >= 32
        assert everywhere.url.startswith("http://localhost:")
        assert everywhere.printed_url == everywhere.url and loopback.printed_url == loopback.url


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(MissingArtifact, match="has 1 characters, expected at least 16"):
        listen("0.0.0.0", 0, {"AUTOLORA_TOKEN": "a"})


def test_a_wrong_token_is_refused_slowly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("autolora.web.guard.sleep", sleep)
    with serving(root, host="0.0.0.0", token="a-secret-of-the-page") as address:
        base = address.url.partition("?")[0]
        for query, headers in (("?token=x", {}), ("", {"Authorization": "Bearer x"}), ("", {})):
            assert httpx2.get(f"{base}{query}", headers=headers, timeout=LIMIT_S).status_code == 401
    assert waits.count(FAILURE_S) == 3


def test_a_page_on_all_addresses_is_reached_by_address_and_not_by_a_foreign_name() -> None:
    access = access_to("0.0.0.0", "token")
    assert access.allows_host("192.168.1.5:8000") and access.allows_host("[fe80::1]:8000")
    assert not access.allows_host("evil.example:8000")
    assert not access_to("192.168.1.5", "token").allows_host("192.168.1.6")
    assert not dataclasses.replace(access, token=None).knows("")
