"""The playground's Civitai, asked with a plain HTTP client over a real socket."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from playground.hub import Hub, running
from tests.support.tiny_pool import REPOS, make_pool

BY_NUMBER = {"sort": "Newest", "limit": 2, "types": "LORA"}


class Fixture:
    """A hub, and a client of its Civitai."""

    def __init__(self, hub: Hub, endpoint: str, pool: Path) -> None:
        self.hub, self.pool, self.endpoint = hub, pool, f"{endpoint}/civitai"
        self.client = httpx2.Client(base_url=f"{self.endpoint}/api/v1/", timeout=10)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = self.client.get(path, params=query or None)
        assert answer.status_code == status, answer.text
        return answer.json()

    def walk(self, path: str, **query: Any) -> list[dict[str, Any]]:
        page = self.get(path, **query)
        items: list[dict[str, Any]] = page["items"]
        while place := page["metadata"].get("nextPage"):
            page = self.get(place)
            items += page["items"]
        return items

    def model(self, repo: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"models/{self.hub.numbers.model(self.hub.repos[repo])}")
        return found

    def content(self, repo: str) -> bytes:
        return (self.pool / repo / "lora.safetensors").read_bytes()


@pytest.fixture
def civitai(tmp_path: Path) -> Iterator[Fixture]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)
    with running(hub) as endpoint:
        yield Fixture(hub, endpoint, tmp_path / "pool")


def mark(pool: Path, repo: str, **said: Any) -> None:
    """Add to what the schedule says about a repository."""
    path = pool / "schedule.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps(row | said if row["repo"] == repo else row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def test_all_models_come_by_cursors_newest_first(civitai: Fixture) -> None:
    models = civitai.walk("models", **BY_NUMBER, baseModels=["Flux.1 D", "Flux.1 S"])
    assert [model["name"] for model in models] == ["pickle", "cat", "neon", "ink"]
    assert civitai.hub.requests()["civitai"]["listing"] == 2
    page = civitai.get("models", **BY_NUMBER)
    assert page["metadata"]["nextPage"].startswith(f"{civitai.endpoint}/api/v1/models?sort=Newest&limit=2&")
    again = civitai.get("models", **BY_NUMBER, cursor=page["metadata"]["nextCursor"])
    assert [model["name"] for model in again["items"]] == ["neon", "ink"] and not again["metadata"]


def test_a_model_has_the_fields_that_clients_need(civitai: Fixture) -> None:
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
    place = f"{civitai.endpoint}/api/download/models/{version['id']}"
    assert version["downloadUrl"] == file["downloadUrl"] == place
    assert {type(image["nsfwLevel"]) for image in version["images"]} == {int}
    assert [(image["width"], image["height"]) for image in version["images"]] == [(16, 12)] * 3
    assert "prompt" not in json.dumps(version["images"]).replace("hasPositivePrompt", "")


def test_numbers_stay_the_same_whatever_else_there_is(civitai: Fixture, tmp_path: Path) -> None:
    before = civitai.model("ann/ink")
    civitai.hub.change({"day": 2, "license": ["ann/ink", "cc0-1.0"]})
    after = civitai.model("ann/ink")
    assert after["allowNoCredit"] and not before["allowNoCredit"]
    assert after["modelVersions"] == before["modelVersions"]
    assert len(civitai.walk("models")) == len(REPOS)


def test_versions_alone_and_by_hash(civitai: Fixture) -> None:
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
    found = civitai.client.post("model-versions/by-hash/ids", json=[digest.lower(), "A" * 64]).json()
    assert found == [{"modelVersionId": version["id"], "hash": digest}]
    assert civitai.client.post("model-versions/by-hash", json=[digest]).json() == [alone]
    assert civitai.get(f"model-versions/mini/{version['id']}")["air"] == alone["air"]


def test_prompts_come_from_images(civitai: Fixture) -> None:
    version = civitai.model("ann/ink")["modelVersions"][0]
    query = {"modelVersionId": version["id"], "flatMeta": True, "limit": 100}
    images = civitai.walk("images", **query, withMeta=True)
    assert {image["id"] for image in images} == {image["id"] for image in version["images"]}
    assert {image["meta"]["prompt"] for image in images} == {"a cat, word0"}
    assert {(image["nsfwLevel"], image["browsingLevel"]) for image in images} == {("None", 1)}
    assert {image["meta"] for image in civitai.walk("images", **query)} == {None}
    (nested, *_) = civitai.walk("images", modelId=civitai.model("ann/ink")["id"], withMeta=True)
    assert nested["meta"]["id"] == nested["id"] and nested["meta"]["meta"]["prompt"] == "a cat, word0"
    pictures = {(civitai.pool / f"ann/ink/images/{number}.png").read_bytes() for number in range(3)}
    assert {httpx2.get(image["url"]).content for image in images} == pictures
    assert {httpx2.get(image["url"]).content for image in version["images"]} == pictures
    assert civitai.hub.requests()["civitai"]["renderings"] == 6


def test_a_download_leads_to_another_host_for_a_while(civitai: Fixture) -> None:
    place = civitai.model("ann/ink")["modelVersions"][0]["downloadUrl"]
    answer = httpx2.get(place)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (302, "no-store")
    there = answer.headers["Location"]
    assert urlsplit(there).hostname == "localhost" and urlsplit(place).hostname == "127.0.0.1"
    content = civitai.content("ann/ink")
    file = httpx2.get(place, headers={"Authorization": "Bearer secret"}, follow_redirects=True)
    assert file.content == content and "Authorization" not in file.request.headers
    assert 'filename="lora.safetensors"' in file.headers["Content-Disposition"]
    part = httpx2.get(there, headers={"Range": "bytes=10-19", "If-Range": file.headers["ETag"]})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert httpx2.get(there.replace("Signature=", "Signature=0")).status_code == 403
    civitai.hub.change({"lifetime": -1})
    late = httpx2.get(place, follow_redirects=True)
    assert late.status_code == 403 and "Request has expired" in late.text
    counts = civitai.hub.requests()["civitai"]
    assert (counts["download"], counts["weights"]) == (3, 4)


def test_a_file_that_is_not_there_has_no_download(civitai: Fixture) -> None:
    place = civitai.model("ann/ink")["modelVersions"][0]["downloadUrl"]
    assert httpx2.get(f"{place}?format=PickleTensor").status_code == 404
    assert httpx2.get(f"{place}?fileId=7").status_code == 404
    assert httpx2.get(f"{place}?type=Model&format=SafeTensor").status_code == 302


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
def test_a_wrong_question_is_refused(civitai: Fixture, query: dict[str, Any], status: int) -> None:
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
def test_models_are_chosen(civitai: Fixture, query: dict[str, Any], names: list[str]) -> None:
    query = {"sort": "Newest"} | query
    found = civitai.get("models", **query) if "page" in query else {"items": civitai.walk("models", **query)}
    assert [model["name"] for model in found["items"]] == names


def test_a_browser_is_sent_to_a_page(civitai: Fixture) -> None:
    browser = {"User-Agent": "Mozilla/5.0"}
    answer = civitai.client.get("models", params={"favorites": "true"}, headers=browser)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{civitai.endpoint}/login")
    answer = civitai.client.get("models/7", headers=browser)
    assert answer.status_code == 404 and answer.headers["Content-Type"] == "text/plain"


def test_levels_and_persons_are_told_and_hidden_unless_asked_for(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    mark(pool, "ann/ink", civitai={"nsfwLevel": 12})
    mark(pool, "ann/neon", civitai={"poi": True})
    hub = Hub(pool, day=1)
    with running(hub) as endpoint:
        civitai = Fixture(hub, endpoint, pool)
        assert {model["name"] for model in civitai.walk("models")} == {"neon", "cat", "pickle"}
        shown = {model["name"]: model for model in civitai.walk("models", nsfw="true")}
        assert (shown["ink"]["nsfwLevel"], shown["ink"]["nsfw"], shown["neon"]["poi"]) == (12, True, True)
        images = civitai.walk("images", nsfw="true", limit=200)
        assert {image["nsfwLevel"] for image in images} == {"None", "X"} and len(images) == 9
        assert {image["nsfwLevel"] for image in civitai.walk("images")} == {"None"}


@pytest.mark.parametrize("how", ["404", "410", "taken-down", "archived"])
def test_a_withdrawn_model(civitai: Fixture, how: str) -> None:
    model = civitai.model("ann/ink")
    place = model["modelVersions"][0]["downloadUrl"]
    civitai.hub.change({"withdraw": ["ann/ink", how]})
    listed = {found["name"]: found for found in civitai.walk("models")}
    shown = civitai.client.get(f"models/{model['id']}")
    assert httpx2.get(place).status_code == {"410": 410, "archived": 410}.get(how, 404)
    if how in ("404", "410"):
        assert "ink" not in listed and shown.status_code == int(how)
    elif how == "archived":
        (version,) = shown.json()["modelVersions"]
        assert "ink" not in listed and shown.json()["mode"] == "Archived"
        assert version["files"] == [] and "downloadUrl" not in version
    else:
        assert listed["ink"]["mode"] == "TakenDown" and listed["ink"]["modelVersions"][0]["images"] == []


def test_only_a_new_version_moves_a_model_to_the_front(civitai: Fixture) -> None:
    civitai.hub.change({"license": ["ann/ink", "mit"]})
    assert civitai.walk("models", sort="Newest")[-1]["name"] == "ink"
    civitai.hub.change({"touch": "ann/ink"})
    assert civitai.walk("models", sort="Newest")[0]["name"] == "ink"


def test_a_repository_may_be_on_one_hub_alone(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    mark(pool, "ann/ink", hubs=["civitai"])
    hub = Hub(pool, day=1)
    shown = {
        name: {repo.id for repo in hub.visible(name)} for name in ("huggingface", "civitai", "modelscope")
    }
    assert shown["civitai"] - shown["huggingface"] == {"ann/ink"} == shown["civitai"] - shown["modelscope"]
    mark(pool, "ann/ink", hubs=["civit"])
    with pytest.raises(ValueError, match="civit"):
        Hub(pool, day=1)


def test_a_port_of_its_own_needs_no_prefix(tmp_path: Path) -> None:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    hub.start(own_ports={"civitai": 0})
    own = f"http://127.0.0.1:{hub.ports['civitai']}"
    (model,) = httpx2.get(f"{own}/api/v1/models?query=ink").json()["items"]
    place = model["modelVersions"][0]["downloadUrl"]
    assert place.startswith(f"{own}/api/download/")
    assert httpx2.get(place, follow_redirects=True).status_code == 200
    hub.stop()
