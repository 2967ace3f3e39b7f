"""The playground's Civitai API: downloads, and what is paid, for adults, withdrawn, or on another hub."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from playground.hubs.server import running, start
from playground.hubs.state import Hub
from tests.playground.civitai_client import CivitaiClient
from tests.support.tiny_pool import add_to_schedule, make_pool


def test_paid_versions_are_listed_and_not_downloadable(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    ends = {"ann/ink": None, "ann/neon": "2099-01-01T00:00:00.000Z", "bob/cat": "2026-01-08T00:00:00.000Z"}
    for repo, end in ends.items():
        add_to_schedule(pool, repo, civitai={"paidAccess": {"permanent": not end, "endsAt": end}})
    hub = Hub(pool, day=1)
    with running(hub) as endpoint:
        civitai = CivitaiClient(hub, endpoint, pool)
        models = civitai.list_all("models", sort="Newest")
        assert [model["name"] for model in models] == ["cat", "pickle", "neon", "ink"]
        versions = {model["name"]: model["modelVersions"][0] for model in models}
        assert versions["ink"]["paidAccess"] == {"permanent": True, "endsAt": None}
        assert versions["neon"]["paidAccess"] == {"permanent": False, "endsAt": ends["ann/neon"]}
        assert versions["neon"]["earlyAccessDeadline"] == ends["ann/neon"]
        assert versions["cat"]["paidAccess"] is versions["pickle"]["paidAccess"] is None
        assert versions["cat"]["publishedAt"] == ends["bob/cat"]
        assert {version["availability"] for version in versions.values()} == {"Public"}
        refusals = {name: httpx2.get(version["downloadUrl"]) for name, version in versions.items()}
        assert {name: refusal.status_code for name, refusal in refusals.items()} == {
            "ink": 403, "neon": 403, "cat": 302, "pickle": 302,
        }  # fmt: skip
        assert refusals["ink"].json()["error"] == "Early Access" and "deadline" not in refusals["ink"].json()


def test_download_redirects_to_an_expiring_url_on_another_host(civitai: CivitaiClient) -> None:
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


def test_download_of_a_missing_file_is_404(civitai: CivitaiClient) -> None:
    url = civitai.model("ann/ink")["modelVersions"][0]["downloadUrl"]
    assert httpx2.get(f"{url}?format=PickleTensor").status_code == 404
    assert httpx2.get(f"{url}?fileId=7").status_code == 404
    assert httpx2.get(f"{url}?type=Model&format=SafeTensor").status_code == 302


def test_adult_models_are_hidden_by_default(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    add_to_schedule(pool, "ann/ink", civitai={"nsfwLevel": 12})
    add_to_schedule(pool, "ann/neon", civitai={"poi": True})
    hub = Hub(pool, day=1)
    with running(hub) as endpoint:
        civitai = CivitaiClient(hub, endpoint, pool)
        assert {model["name"] for model in civitai.list_all("models")} == {"neon", "cat", "pickle"}
        models = {model["name"]: model for model in civitai.list_all("models", nsfw="true")}
        assert (models["ink"]["nsfwLevel"], models["ink"]["nsfw"], models["neon"]["poi"]) == (12, True, True)
        images = civitai.list_all("images", browsingLevel=31, limit=200)
        assert {image["nsfwLevel"] for image in images} == {"None", "X"} and len(images) == 9
        assert {image["nsfwLevel"] for image in civitai.list_all("images")} == {"None"}


@pytest.mark.parametrize("kind", ["404", "410", "taken-down", "archived"])
def test_withdrawn_model(civitai: CivitaiClient, kind: str) -> None:
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
    model = httpx2.get(f"{endpoint}/api/v1/models").json()["items"][0]
    url = model["modelVersions"][0]["downloadUrl"]
    assert url.startswith(f"{endpoint}/api/download/")
    assert httpx2.get(url, follow_redirects=True).status_code == 200
    hub.stop()
