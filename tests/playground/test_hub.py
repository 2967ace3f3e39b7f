"""The playground's hub: its Hugging Face API through the unmodified client, its state, and its command."""

import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from playground.hubs.repos import tags
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import REPOS, TAGS, make_pool

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)


@pytest.fixture
def endpoint(hub: Hub) -> Iterator[str]:
    with running(hub) as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint, token=False)


def post(endpoint: str, order: dict[str, Any]) -> None:
    request = urllib.request.Request(f"{endpoint}/_playground", json.dumps(order).encode())
    urllib.request.urlopen(request, timeout=60).close()


def get(endpoint: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(endpoint + path, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.status, response.read(), dict(response.headers)


def test_client_lists_pages_newest_first(api: HfApi, hub: Hub) -> None:
    models = list(api.list_models(filter=TAGS, sort="last_modified", full=True, cardData=True))
    assert [model.id for model in models] == ["eve/pickle", "bob/cat", "ann/neon", "ann/ink"]
    assert hub.requests()["listing"] == 2
    assert models[0].card_data is not None and models[0].card_data.license == "mit"
    assert {len(model.sha or "") for model in models} == {40}


def test_client_filters_the_list(api: HfApi) -> None:
    assert not list(api.list_models(filter="no-such-tag"))
    models = api.list_models(expand=["siblings", "sha", "lastModified"])
    (model,) = (model for model in models if model.id == "bob/cat")
    assert model.tags is None and len(model.siblings or []) == 5
    assert str(model.last_modified) == "2026-01-01 02:00:00+00:00"


def test_client_reads_info_and_tree(api: HfApi, hub: Hub, tmp_path: Path) -> None:
    info = api.model_info("ann/ink", files_metadata=True, securityStatus=True)
    content = (tmp_path / "pool/ann/ink/lora.safetensors").read_bytes()
    weights = next(file for file in info.siblings or [] if file.rfilename == "lora.safetensors")
    assert weights.lfs and weights.lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert weights.size == len(content)
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}
    tree = list(api.list_repo_tree("ann/ink", recursive=True, revision=info.sha))
    assert {entry.path for entry in tree} == {file.rfilename for file in info.siblings or []} | {"images"}


def test_client_gets_typed_errors(api: HfApi, endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("no/body")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("ann/ink", revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("ann/ink", "none.bin", endpoint=endpoint, cache_dir=tmp_path / "cache")


def test_client_downloads(api: HfApi, endpoint: str, tmp_path: Path) -> None:
    for name in ("lora.safetensors", "README.md", "images/0.png"):
        path = hf_hub_download("ann/ink", name, endpoint=endpoint, cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == (tmp_path / "pool/ann/ink" / name).read_bytes()


def test_client_downloads_from_the_storage(api: HfApi, endpoint: str, hub: Hub, tmp_path: Path) -> None:
    post(endpoint, {"redirect": ["huggingface"]})
    content = (tmp_path / "pool/ann/ink/lora.safetensors").read_bytes()
    sha = hub.repos["ann/ink"].head.sha
    response = httpx2.head(f"{endpoint}/ann/ink/resolve/{sha}/lora.safetensors")
    assert response.status_code == 302 and response.headers["X-Repo-Commit"] == sha
    assert response.headers["X-Linked-Etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert response.headers["X-Linked-Size"] == str(len(content))
    assert httpx2.URL(response.headers["Location"]).host == "localhost"
    for _ in range(2):
        path = hf_hub_download(
            "ann/ink", "lora.safetensors", revision=sha, endpoint=endpoint, cache_dir=tmp_path / "cache"
        )
        assert Path(path).read_bytes() == content
    assert hub.requests()["weights"] == 1


def test_client_downloads_a_snapshot(endpoint: str, hub: Hub, tmp_path: Path) -> None:
    folder = snapshot_download("ann/ink", endpoint=endpoint, local_dir=tmp_path / "snapshot")
    for path, blob in hub.repos["ann/ink"].head.blobs.items():
        assert hashlib.sha256((Path(folder) / path).read_bytes()).hexdigest() == blob.sha256


def test_details_that_clients_depend_on(endpoint: str) -> None:
    list_page = httpx2.get(f"{endpoint}/api/models?filter=lora&sort=lastModified")
    assert list_page.links["next"]["url"].startswith(
        f"{endpoint}/api/models?filter=lora&sort=lastModified&cursor="
    )
    head = httpx2.head(f"{endpoint}/ann/ink/resolve/main/lora.safetensors").headers
    assert {"ETag", "X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size", "Accept-Ranges"} <= {
        *map(canonical, head)
    }
    assert int(head["Content-Length"]) == int(head["X-Linked-Size"]) > 0 and "X-Xet-Hash" not in head
    tree = httpx2.get(f"{endpoint}/api/models/ann/ink/tree/main?recursive=true").json()
    weights = next(entry for entry in tree if entry["path"] == "lora.safetensors")
    assert {"oid", "size", "pointerSize"} == weights["lfs"].keys() and "oid" in weights
    info = httpx2.get(f"{endpoint}/api/models/ann/ink?blobs=true").json()
    (sibling,) = [file for file in info["siblings"] if file["rfilename"] == "lora.safetensors"]
    assert sibling["lfs"]["sha256"] == weights["lfs"]["oid"] and sibling["blobId"] == weights["oid"]
    assert {info[name][-1] for name in ("lastModified", "createdAt")} == {"Z"}
    assert httpx2.get(f"{endpoint}/api/agent-harnesses").status_code == 404


def canonical(name: str) -> str:
    return "ETag" if name.lower() == "etag" else name.title()


def test_gated_and_disabled_repositories(endpoint: str, hub: Hub, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tmp_path / "pool/schedule.jsonl").read_text().splitlines()]
    rows[0] |= {"huggingface": {"gated": "manual"}}
    (tmp_path / "pool/schedule.jsonl").write_text("\n".join(map(json.dumps, rows)))
    hub.change({"withdraw": ["ann/neon", "disabled"]})
    with running(Hub(tmp_path / "pool", day=1)) as gated, pytest.raises(GatedRepoError):
        hf_hub_download("ann/ink", "README.md", endpoint=gated, cache_dir=tmp_path / "cache")
    assert HfApi(endpoint=endpoint, token=False).model_info("ann/neon").disabled
    assert "ann/neon" not in {repo.id for repo in hub.visible("modelscope")}
    assert httpx2.get(f"{endpoint}/ann/neon/resolve/main/README.md").status_code == 403


def test_range_requests(endpoint: str, tmp_path: Path) -> None:
    content = (tmp_path / "pool/ann/ink/lora.safetensors").read_bytes()
    url = "/ann/ink/resolve/main/lora.safetensors"
    status, body, headers = get(endpoint, url, Range="bytes=10-19")
    assert (status, body) == (206, content[10:20])
    assert headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    assert get(endpoint, url, Range="bytes=-5")[1] == content[-5:]
    stale = {"Range": "bytes=10-19", "If-Range": '"another"'}
    assert get(endpoint, url, **stale)[:2] == (200, content)
    with pytest.raises(urllib.error.HTTPError, match="416"):
        get(endpoint, url, Range=f"bytes={len(content)}-")


def test_next_day_withdrawal_and_license_change(api: HfApi, endpoint: str, hub: Hub) -> None:
    before = api.model_info("ann/ink")
    post(endpoint, {"day": 2, "withdraw": "bob/cat", "license": ["ann/ink", "cc0-1.0"]})
    assert {model.id for model in api.list_models()} == REPOS.keys() - {"bob/cat"}
    after = api.model_info("ann/ink")
    assert after.sha != before.sha and after.card_data and after.card_data.license == "cc0-1.0"
    assert after.card_data.instance_prompt == "word0"
    assert api.model_info("ann/ink", revision=before.sha).card_data["license"] == "mit"
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("bob/cat", token="hf_any")


def test_state_survives_a_restart(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    hub = Hub(pool, day=1, state=tmp_path / "state")
    hub.change({"day": 2, "withdraw": "bob/cat", "license": ["ann/ink", "cc0-1.0"]})
    again = Hub(pool, day=1, state=tmp_path / "state")
    assert {repo.id: repo.head for repo in hub.visible()} == {repo.id: repo.head for repo in again.visible()}
    assert len(list(again.visible())) == len(REPOS) - 1


def test_invalid_orders_change_nothing(endpoint: str, hub: Hub) -> None:
    for order in ({"dya": 2}, {"withdraw": "no/body"}, {"fail": {"kind": "listing", "when": "now"}}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(endpoint, order)
    assert len(list(hub.visible())) == 4


def test_requests_are_counted_and_reset(endpoint: str) -> None:
    for _ in range(2):
        get(endpoint, "/ann/ink/resolve/main/lora.safetensors")
    counts = json.loads(get(endpoint, "/_playground/requests")[1])
    assert counts == {"weights": 2, "paths": {"GET /ann/ink/resolve/main/lora.safetensors": 2}}
    post(endpoint, {"reset": True})
    assert json.loads(get(endpoint, "/_playground/requests")[1]) == {"paths": {}}


def test_process_prints_its_url_and_listens(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    command = [sys.executable, "-m", "playground.hub", "--port", "0", "--pool", str(pool), "--verbose"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        assert json.loads(get(url, "/api/models")[1])
        process.terminate()


def test_committed_pool_is_served_completely() -> None:
    pool = ROOT / "playground/pool"
    hub = Hub(pool, day=10**6)
    repos = list(hub.visible())
    lines = (pool / "schedule.jsonl").read_text().splitlines()
    assert sorted(repo.id for repo in repos) == sorted(json.loads(line)["repo"] for line in lines)
    for repo in repos:
        assert set(TAGS) <= set(tags(repo.head.card)), repo.id
        assert [path for path in repo.head.blobs if path.endswith(".safetensors")], repo.id


def test_port_in_use_is_reported(endpoint: str, tmp_path: Path) -> None:
    port = endpoint.rpartition(":")[2]
    command = [sys.executable, "-m", "playground.hub", "--port", port, "--pool", str(tmp_path / "pool")]
    process = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert process.returncode == 1
    assert process.stderr.startswith(f"cannot listen on port {port}") and "Traceback" not in process.stderr
