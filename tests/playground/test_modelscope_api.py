"""The playground's ModelScope API, through the unmodified ModelScope client over a real socket."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from modelscope_hub import HubApi
from modelscope_hub.errors import InvalidParameter, NotExistError

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import make_pool


class ModelScopeFixture:
    """A hub, and the client with the endpoint of its ModelScope API."""

    def __init__(self, hub: Hub, endpoint: str, folder: Path) -> None:
        self.hub, self.pool, self.endpoint = hub, folder / "pool", f"{endpoint}/modelscope"
        self.cache = folder / "cache"
        self.api = HubApi(endpoint=self.endpoint)

    def get(self, path: str, **query: Any) -> Any:
        return httpx2.get(f"{self.endpoint}{path}", params=query, timeout=60).json()


@pytest.fixture
def modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelScopeFixture]:
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    hub = Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)
    with running(hub) as endpoint:
        yield ModelScopeFixture(hub, endpoint, tmp_path)


def test_client_lists_pages_newest_first(modelscope: ModelScopeFixture) -> None:
    pages = [
        modelscope.api.list_repos("model", custom_tag="LoRA", page_number=number, page_size=2)
        for number in (1, 2, 3)
    ]
    names = [[repo.repo_id for repo in page.items] for page in pages]
    assert names == [["eve/pickle", "bob/cat"], ["ann/neon", "ann/ink"], []]
    assert {(page.total_count, page.page_size) for page in pages} == {(4, 2)}
    assert modelscope.hub.requests()["modelscope"]["listing"] == 3
    assert [repo.repo_id for repo in modelscope.api.list_repos("model", search="neon").items] == ["ann/neon"]


def test_pages_after_3000_models_are_refused(modelscope: ModelScopeFixture) -> None:
    with pytest.raises(InvalidParameter):
        modelscope.api.list_repos("model", page_number=61, page_size=50)
    response = httpx2.get(f"{modelscope.endpoint}/openapi/v1/models?page_number=61&page_size=50")
    assert response.status_code == 400 and response.json()["success"] is False


def test_list_response_format(modelscope: ModelScopeFixture) -> None:
    response = modelscope.get("/openapi/v1/models", page_number=2)
    assert response["success"] is True
    assert response["data"].keys() == {"models", "total_count", "page_number", "page_size"}
    model = response["data"]["models"][-1]
    assert (model["id"], model["license"]) == ("ann/ink", "mit")
    assert model["tags"] == [
        "custom_tag:LoRA", "custom_tag:base_model:adapter:black-forest-labs/FLUX.1-dev",
        "task:text-to-image-synthesis", "license:mit",
    ]  # fmt: skip
    assert model["last_modified"] == "2026-01-01T00:00:00Z"


def test_client_reads_model_info(modelscope: ModelScopeFixture) -> None:
    repo = modelscope.api.get_repo("ann/ink", "model")
    assert (repo.repo_id, repo.downloads, repo.license) == ("ann/ink", 7, "mit")
    legacy = modelscope.get("/api/v1/models/ann/ink")
    assert legacy["Data"]["BaseModel"] == ["black-forest-labs/FLUX.1-dev@master"]
    assert legacy["Data"]["Tags"][0] == "LoRA"
    with pytest.raises(NotExistError):
        modelscope.api.openapi.get_model("no", "body")


def test_model_page_has_trigger_words_and_cover_images(modelscope: ModelScopeFixture) -> None:
    data = modelscope.get("/api/v1/models/ann/ink")["Data"]
    assert data["TriggerWords"] == ["word0"]
    (version,) = json.loads(data["MuseInfo"])["versions"]
    assert version["stats"]["fileList"] == ["lora.safetensors"]
    assert json.loads(version["modelVersion"]["triggerWords"]) == ["word0"]
    assert [cover["prompt"] for cover in version["coverImages"]] == ["a cat, word0"] * 3
    for number, cover in enumerate(version["coverImages"]):
        content = (modelscope.pool / f"ann/ink/images/{number}.png").read_bytes()
        assert httpx2.get(cover["url"]).content == content


def test_missing_model_and_revision(modelscope: ModelScopeFixture) -> None:
    response = httpx2.get(f"{modelscope.endpoint}/api/v1/models/no/body")
    assert response.status_code == 200
    body = response.json()
    assert (body["Code"], body["Success"]) == (10010205001, False) and "record not found" in body["Message"]
    files = modelscope.get("/api/v1/models/ann/ink/repo/files", Revision="none")
    assert (files["Code"], files["Success"], files["Data"]) == (200, True, {"Files": None})
    response = httpx2.get(f"{modelscope.endpoint}/api/v1/models/no/body/repo/files")
    assert (response.status_code, response.json()["Code"]) == (404, 10010205001)


def test_search_is_the_beginning_of_a_name(modelscope: ModelScopeFixture) -> None:
    for search, names in (("NEO", ["ann/neon"]), ("eon", []), ("ann", []), ("flux", [])):
        assert [repo.repo_id for repo in modelscope.api.list_repos("model", search=search).items] == names


def test_page_size_is_limited(modelscope: ModelScopeFixture) -> None:
    response = httpx2.get(f"{modelscope.endpoint}/openapi/v1/models?page_size=51")
    assert (response.status_code, response.json()["success"]) == (400, False)


def test_client_lists_files(modelscope: ModelScopeFixture) -> None:
    files = {entry["Path"]: entry for entry in modelscope.api.legacy.list_repo_files("ann/ink", "model")}
    weights = files["lora.safetensors"]
    content = (modelscope.pool / "ann/ink/lora.safetensors").read_bytes()
    assert (weights["Type"], weights["Size"], weights["IsLFS"]) == ("blob", len(content), True)
    assert weights["Sha256"] == hashlib.sha256(content).hexdigest() and len(weights["Revision"]) == 40
    assert files["images"]["Type"] == "tree" and "images/0.png" in files
    top = modelscope.api.legacy.list_repo_files("ann/ink", "model", recursive=False)
    assert {entry["Path"] for entry in top} == {"README.md", "images", "lora.safetensors"}
    inner = modelscope.api.legacy.list_repo_files("ann/ink", "model", root="images")
    assert {entry["Path"] for entry in inner} == {f"images/{number}.png" for number in range(3)}


@pytest.mark.parametrize("redirected", [False, True])
def test_client_downloads(modelscope: ModelScopeFixture, redirected: bool) -> None:
    modelscope.hub.change({"redirect": ["modelscope"] if redirected else []})
    folder = Path(modelscope.api.download_repo("ann/ink", "model", cache_dir=modelscope.cache))
    for name in ("lora.safetensors", "README.md", "images/0.png"):
        assert (folder / name).read_bytes() == (modelscope.pool / "ann/ink" / name).read_bytes()
    counts = modelscope.hub.requests()["modelscope"]
    assert (counts["weights"], counts["renderings"]) == (1, 3) and counts.get("download", 0) == 4 * redirected


def test_both_download_routes(modelscope: ModelScopeFixture) -> None:
    content = (modelscope.pool / "ann/ink/lora.safetensors").read_bytes()
    revision = modelscope.hub.repos["ann/ink"].head.sha
    file_query = {"Revision": revision, "FilePath": "lora.safetensors"}
    for url, query in (
        (f"{modelscope.endpoint}/api/v1/models/ann/ink/repo", file_query),
        (f"{modelscope.endpoint}/models/ann/ink/resolve/{revision}/lora.safetensors", {}),
        (f"{modelscope.endpoint}/models/ann/ink/resolve/master/lora.safetensors", {}),
    ):
        assert httpx2.get(url, params=query).content == content
        part = httpx2.get(url, params=query, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])
        assert httpx2.head(url, params=query).headers["Content-Length"] == str(len(content))
    assert httpx2.get(url.replace("lora.", "none.")).status_code == 404


def test_next_day_withdrawal_and_license_change(modelscope: ModelScopeFixture) -> None:
    modelscope.hub.change({"day": 2, "withdraw": "bob/cat", "license": ["ann/ink", "cc0-1.0"]})
    pages = [modelscope.api.list_repos("model", page_number=number, page_size=50) for number in (1, 2, 3)]
    assert {(page.total_count, page.page_size) for page in pages} == {(5, 2)}
    repos = [repo for page in pages for repo in page.items]
    assert repos[0].repo_id == "ann/ink" and repos[0].license == "cc0-1.0"
    assert {repo.repo_id for repo in repos} == {
        "ann/ink",
        "ann/neon",
        "eve/pickle",
        "bob/late",
        "cat/later",
    }
    with pytest.raises(NotExistError):
        modelscope.api.openapi.get_model("bob", "cat")
