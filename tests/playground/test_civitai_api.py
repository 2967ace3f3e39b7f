"""The playground's Civitai API, through a plain HTTP client over a real socket."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from playground.hubs.server import running, start
from playground.hubs.state import Hub
from tests.support.tiny_pool import REPOS, add_to_schedule, make_pool

NEWEST = {"sort": "Newest", "limit": 2, "types": "LORA"}


class CivitaiFixture:
    """A hub, and a client of its Civitai API."""

    def __init__(self, hub: Hub, endpoint: str, pool: Path) -> None:
        self.hub, self.pool, self.endpoint = hub, pool, f"{endpoint}/civitai"
        self.client = httpx2.Client(base_url=f"{self.endpoint}/api/v1/", timeout=60)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        response = self.client.get(path, params=query or None)
        assert response.status_code == status, response.text
        return response.json()

    def list_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        page = self.get(path, **query)
        items: list[dict[str, Any]] = page["items"]
        while url := page["metadata"].get("nextPage"):
            page = self.get(url)
            items += page["items"]
        return items

    def model(self, repo: str) -> dict[str, Any]:
        model: dict[str, Any] = self.get(f"models/{self.hub.civitai_ids.model(self.hub.repos[repo])}")
        return model

    def content(self, repo: str) -> bytes:
        return (self.pool / repo / "lora.safetensors").read_bytes()


@pytest.fixture
def civitai(tmp_path: Path) -> Iterator[CivitaiFixture]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)
    with running(hub) as endpoint:
        yield CivitaiFixture(hub, endpoint, tmp_path / "pool")


def test_list_is_paged_by_cursor_newest_first(civitai: CivitaiFixture) -> None:
    models = civitai.list_all("models", **NEWEST, baseModels=["Flux.1 D", "Flux.1 S"])
    assert [model["name"] for model in models] == ["pickle", "cat", "neon", "ink"]
    assert civitai.hub.requests()["civitai"]["listing"] == 2
    page = civitai.get("models", **NEWEST)
    assert page["metadata"]["nextPage"].startswith(f"{civitai.endpoint}/api/v1/models?sort=Newest&limit=2&")
    again = civitai.get("models", **NEWEST, cursor=page["metadata"]["nextCursor"])
    assert [model["name"] for model in again["items"]] == ["neon", "ink"] and not again["metadata"]


def test_model_has_the_fields_that_clients_read(civitai: CivitaiFixture) -> None:
    model = civitai.model("ann/ink")
    version = model["modelVersions"][0]
    (file,) = version["files"]
    content = civitai.content("ann/ink")
    assert model["creator"]["username"] == "ann" and model["tags"] == ["lora"]
    assert (model["type"], model["availability"], model["nsfwLevel"]) == ("LORA", "Public", 1)
    assert model["allowCommercialUse"] == ["Image", "RentCivit", "Rent", "Sell"]
    assert [model[f"allow{name}"] for name in ("NoCredit", "Derivatives", "DifferentLicense")] == [
        False,
        True,
        True,
    ]
    assert (version["baseModel"], version["trainedWords"]) == ("Flux.1 D", ["word0"])
    assert file["hashes"]["SHA256"] == hashlib.sha256(content).hexdigest().upper()
    assert file["hashes"]["AutoV2"] == file["hashes"]["SHA256"][:10] and None not in file["hashes"].values()
    assert file["sizeKB"] * 1024 == len(content) and file["primary"] is True
    assert (file["type"], file["metadata"]["format"]) == ("Model", "SafeTensor")
    url = f"{civitai.endpoint}/api/download/models/{version['id']}"
    assert version["downloadUrl"] == file["downloadUrl"] == url
    assert {type(image["nsfwLevel"]) for image in version["images"]} == {int}
    assert [(image["width"], image["height"]) for image in version["images"]] == [(16, 12)] * 3
    assert "prompt" not in json.dumps(version["images"]).replace("hasPositivePrompt", "")


def test_ids_do_not_depend_on_other_repositories(civitai: CivitaiFixture, tmp_path: Path) -> None:
    before = civitai.model("ann/ink")
    civitai.hub.change({"day": 2, "license": ["ann/ink", "cc0-1.0"]})
    after = civitai.model("ann/ink")
    assert after["allowNoCredit"] and not before["allowNoCredit"]
    assert after["modelVersions"] == before["modelVersions"]
    assert len(civitai.list_all("models")) == len(REPOS)


def test_versions_by_id_and_by_hash(civitai: CivitaiFixture) -> None:
    model = civitai.model("ann/ink")
    version = model["modelVersions"][0]
    alone = civitai.get(f"model-versions/{version['id']}")
    assert alone["modelId"] == model["id"] and alone["files"] == version["files"]
    assert {alone[name][-1] for name in ("createdAt", "updatedAt", "publishedAt")} == {"Z"}
    assert alone["baseModel"] == "Flux.1 D" and alone["model"]["type"] == "LORA"
    for digest in version["files"][0]["hashes"].values():
        assert civitai.get(f"model-versions/by-hash/{digest}") == alone
    assert civitai.get(f"model-versions/by-hash/{'A' * 64}", status=404) == {"error": "Model not found"}
    digest = version["files"][0]["hashes"]["SHA256"]
    matches = civitai.client.post("model-versions/by-hash/ids", json=[digest.lower(), "A" * 64]).json()
    assert matches == [{"modelVersionId": version["id"], "hash": digest}]
    assert civitai.client.post("model-versions/by-hash", json=[digest]).json() == [alone]
    assert civitai.get(f"model-versions/mini/{version['id']}")["air"] == alone["air"]


def test_images_have_prompts(civitai: CivitaiFixture) -> None:
    (model,) = civitai.get("models", query="ink")["items"]
    version = model["modelVersions"][0]
    query = {"modelVersionId": version["id"], "flatMeta": True, "limit": 100}
    images = civitai.list_all("images", **query, withMeta=True)
    assert {image["id"] for image in images} == {image["id"] for image in version["images"]}
    assert {image["meta"]["prompt"] for image in images} == {"a cat, word0"}
    assert {(image["nsfwLevel"], image["browsingLevel"]) for image in images} == {("None", 1)}
    assert {image["meta"] for image in civitai.list_all("images", **query)} == {None}
    (nested, *_) = civitai.list_all("images", modelId=civitai.model("ann/ink")["id"], withMeta=True)
    assert nested["meta"]["id"] == nested["id"] and nested["meta"]["meta"]["prompt"] == "a cat, word0"
    contents = {(civitai.pool / f"ann/ink/images/{number}.png").read_bytes() for number in range(3)}
    assert {httpx2.get(image["url"]).content for image in images} == contents
    assert {httpx2.get(image["url"]).content for image in version["images"]} == contents
    assert civitai.hub.requests()["civitai"]["renderings"] == 6


def test_image_urls_end_in_the_id_or_in_the_uuid(civitai: CivitaiFixture) -> None:
    (model,) = civitai.get("models", query="ink")["items"]
    listed = {image["id"]: image["url"].split("/") for image in model["modelVersions"][0]["images"]}
    images = civitai.list_all("images", modelId=model["id"], username="ann", limit=100)
    assert {image["id"] for image in images} == listed.keys()
    for image in images:
        *base, name = image["url"].split("/")
        assert [*base, f"{image['id']}.jpeg"] == listed[image["id"]]
        assert base[-1] == "original=true" and name == f"{base[-2]}.jpeg" and len(base[-2]) == 36
    (shown,) = civitai.model("ann/ink")["modelVersions"]
    assert {image["url"] for image in shown["images"]} == {"/".join(url) for url in listed.values()}
    assert not any("id" in image for image in shown["images"])


def test_images_of_a_user(civitai: CivitaiFixture) -> None:
    images = civitai.list_all("images", username="bob", limit=100)
    assert {image["username"] for image in images} == {"bob"} and len(images) == 3
    assert civitai.list_all("images", username="nobody") == []
    assert "letters" in civitai.get("images", status=400, username="studio-ada")["error"]


def test_paid_versions_are_listed_and_not_downloadable(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    ends = {"ann/ink": None, "ann/neon": "2099-01-01T00:00:00.000Z", "bob/cat": "2026-01-08T00:00:00.000Z"}
    for repo, end in ends.items():
        add_to_schedule(pool, repo, civitai={"paidAccess": {"permanent": not end, "endsAt": end}})
    hub = Hub(pool, day=1)
    with running(hub) as endpoint:
        civitai = CivitaiFixture(hub, endpoint, pool)
        models = civitai.list_all("models", sort="Newest")
        assert [model["name"] for model in models] == ["cat", "pickle", "neon", "ink"]
        versions = {model["name"]: model["modelVersions"][0] for model in models}
        assert versions["ink"]["paidAccess"] == {"permanent": True, "endsAt": None}
        assert versions["neon"]["paidAccess"] == {"permanent": False, "endsAt": ends["ann/neon"]}
        assert versions["neon"]["earlyAccessDeadline"] == ends["ann/neon"]
        assert versions["cat"]["paidAccess"] is versions["pickle"]["paidAccess"] is None
        assert versions["cat"]["publishedAt"] == ends["bob/cat"]
        assert {version["availability"] for version in versions.values()} == {"Public"}
        early = civitai.list_all("models", earlyAccess="true")
        assert {model["name"] for model in early} == {"neon", "ink"}
        alone = civitai.get(f"model-versions/{versions['ink']['id']}")
        assert alone["paidAccess"] == versions["ink"]["paidAccess"]
        refusals = {name: httpx2.get(version["downloadUrl"]) for name, version in versions.items()}
        assert {name: refusal.status_code for name, refusal in refusals.items()} == {
            "ink": 403, "neon": 403, "cat": 302, "pickle": 302,
        }  # fmt: skip
        assert refusals["ink"].json()["error"] == "Early Access" and "deadline" not in refusals["ink"].json()
        browser = httpx2.get(versions["ink"]["downloadUrl"], headers={"User-Agent": "Mozilla/5.0"})
        assert browser.headers["Location"].endswith(f"/model-versions/{versions['ink']['id']}")


def test_head_is_answered_as_get(civitai: CivitaiFixture) -> None:
    version = civitai.model("ann/ink")["modelVersions"][0]
    for path in ("models", f"model-versions/{version['id']}", "images", "creators", "enums", "models/7"):
        head, get = civitai.client.head(path), civitai.client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Length"] == str(len(get.content))
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_download_redirects_to_an_expiring_url_on_another_host(civitai: CivitaiFixture) -> None:
    url = civitai.model("ann/ink")["modelVersions"][0]["downloadUrl"]
    response = httpx2.get(url)
    assert (response.status_code, response.headers["Cache-Control"]) == (302, "no-store")
    signed_url = response.headers["Location"]
    assert urlsplit(signed_url).hostname == "localhost" and urlsplit(url).hostname == "127.0.0.1"
    content = civitai.content("ann/ink")
    file = httpx2.get(url, headers={"Authorization": "Bearer secret"}, follow_redirects=True)
    assert file.content == content and "Authorization" not in file.request.headers
    assert 'filename="lora.safetensors"' in file.headers["Content-Disposition"]
    part = httpx2.get(signed_url, headers={"Range": "bytes=10-19", "If-Range": file.headers["ETag"]})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert httpx2.get(signed_url.replace("Signature=", "Signature=0")).status_code == 403
    civitai.hub.change({"lifetime": -1})
    expired = httpx2.get(url, follow_redirects=True)
    assert expired.status_code == 403 and "Request has expired" in expired.text
    counts = civitai.hub.requests()["civitai"]
    assert (counts["download"], counts["weights"]) == (3, 4)


def test_download_of_a_missing_file_is_404(civitai: CivitaiFixture) -> None:
    url = civitai.model("ann/ink")["modelVersions"][0]["downloadUrl"]
    assert httpx2.get(f"{url}?format=PickleTensor").status_code == 404
    assert httpx2.get(f"{url}?fileId=7").status_code == 404
    assert httpx2.get(f"{url}?type=Model&format=SafeTensor").status_code == 302


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"page": 11, "limit": 100}, 429),
        ({"page": 1, "query": "ink"}, 400),
        ({"limit": 101}, 400),
        ({"sort": "Best"}, 400),
        ({"types": "Lora"}, 400),
        ({"period": "Hour"}, 400),
        ({"cursor": "nonsense"}, 400),
        ({"favorites": "false"}, 401),
        ({"hidden": "false"}, 401),
    ],
    ids=str,
)
def test_invalid_query_is_refused(civitai: CivitaiFixture, query: dict[str, Any], status: int) -> None:
    assert "error" in civitai.get("models", status=status, **query)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"query": "neon"}, ["neon"]),
        ({"username": "ann"}, ["neon", "ink"]),
        ({"baseModels": "Flux.1 D,Flux.1 S"}, []),
        ({"baseModels": "SDXL 1.0"}, []),
        ({"types": ["LoCon", "DoRA"]}, []),
        ({"tag": "lora", "sort": "Oldest"}, ["ink", "neon", "cat", "pickle"]),
        ({"page": 2, "limit": 2}, ["neon", "ink"]),
        ({"limit": 0}, []),
        ({"period": "Day"}, []),
    ],
    ids=str,
)
def test_models_are_filtered_and_sorted(
    civitai: CivitaiFixture, query: dict[str, Any], names: list[str]
) -> None:
    query = {"sort": "Newest"} | query
    paged = "page" in query
    models = civitai.get("models", **query)["items"] if paged else civitai.list_all("models", **query)
    assert [model["name"] for model in models] == names


def test_browsers_get_a_redirect_to_the_login_or_plain_text(civitai: CivitaiFixture) -> None:
    browser = {"User-Agent": "Mozilla/5.0"}
    response = civitai.client.get("models", params={"favorites": "true"}, headers=browser)
    assert (response.status_code, response.headers["Location"]) == (302, f"{civitai.endpoint}/login")
    response = civitai.client.get("models/7", headers=browser)
    assert response.status_code == 404 and response.headers["Content-Type"] == "text/plain"


def test_adult_models_are_hidden_by_default(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    add_to_schedule(pool, "ann/ink", civitai={"nsfwLevel": 12})
    add_to_schedule(pool, "ann/neon", civitai={"poi": True})
    hub = Hub(pool, day=1)
    with running(hub) as endpoint:
        civitai = CivitaiFixture(hub, endpoint, pool)
        assert {model["name"] for model in civitai.list_all("models")} == {"neon", "cat", "pickle"}
        models = {model["name"]: model for model in civitai.list_all("models", nsfw="true")}
        assert (models["ink"]["nsfwLevel"], models["ink"]["nsfw"], models["neon"]["poi"]) == (12, True, True)
        images = civitai.list_all("images", nsfw="true", limit=200)
        assert {image["nsfwLevel"] for image in images} == {"None", "X"} and len(images) == 9
        assert {image["nsfwLevel"] for image in civitai.list_all("images")} == {"None"}


@pytest.mark.parametrize("kind", ["404", "410", "taken-down", "archived"])
def test_withdrawn_model(civitai: CivitaiFixture, kind: str) -> None:
    model = civitai.model("ann/ink")
    url = model["modelVersions"][0]["downloadUrl"]
    civitai.hub.change({"withdraw": ["ann/ink", kind]})
    listed = {model["name"]: model for model in civitai.list_all("models")}
    response = civitai.client.get(f"models/{model['id']}")
    assert httpx2.get(url).status_code == {"410": 410, "archived": 410}.get(kind, 404)
    if kind in ("404", "410"):
        assert "ink" not in listed and response.status_code == int(kind)
    elif kind == "archived":
        (version,) = response.json()["modelVersions"]
        assert "ink" not in listed and response.json()["mode"] == "Archived"
        assert "files" not in version and "downloadUrl" not in version
    else:
        assert listed["ink"]["mode"] == "TakenDown" and listed["ink"]["modelVersions"][0]["images"] == []


def test_change_of_license_does_not_change_the_order(civitai: CivitaiFixture) -> None:
    civitai.hub.change({"license": ["ann/ink", "mit"]})
    assert civitai.list_all("models", sort="Newest")[-1]["name"] == "ink"
    civitai.hub.change({"touch": "ann/ink"})
    assert civitai.list_all("models", sort="Newest")[0]["name"] == "ink"


def test_repository_can_be_on_one_hub_only(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    add_to_schedule(pool, "ann/ink", hubs=["civitai"])
    hub = Hub(pool, day=1)
    ids = {name: {repo.id for repo in hub.visible(name)} for name in ("huggingface", "civitai", "modelscope")}
    assert ids["civitai"] - ids["huggingface"] == {"ann/ink"} == ids["civitai"] - ids["modelscope"]
    add_to_schedule(pool, "ann/ink", hubs=["civit"])
    with pytest.raises(ValueError, match="civit"):
        Hub(pool, day=1)


def test_own_port_serves_without_prefix(tmp_path: Path) -> None:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    start(hub, own_ports={"civitai": 0})
    endpoint = f"http://127.0.0.1:{hub.ports['civitai']}"
    (model,) = httpx2.get(f"{endpoint}/api/v1/models?query=ink").json()["items"]
    url = model["modelVersions"][0]["downloadUrl"]
    assert url.startswith(f"{endpoint}/api/download/")
    assert httpx2.get(url, follow_redirects=True).status_code == 200
    hub.stop()
