"""Uploads to the playground's hub: what the official client relies on, and what the hub refuses."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.hf_client import TOKEN, point_at
from tests.support.tiny_pool import make_pool


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(make_pool(tmp_path / "pool"), day=1)


@pytest.fixture
def client(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    with running(hub) as endpoint:
        point_at(monkeypatch, endpoint, tmp_path / "cache")
        yield httpx2.Client(base_url=endpoint, headers={"Authorization": f"Bearer {TOKEN}"})


def lines(*operations: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, [{"key": "header", "value": {"summary": "x"}}, *operations]))


def test_created_repository_has_one_commit_and_is_listed(client: httpx2.Client, hub: Hub) -> None:
    api = HfApi()
    assert api.create_repo("ann/new").repo_id == "ann/new"
    assert [file.rfilename for file in api.model_info("ann/new").siblings or ()] == [".gitattributes"]
    assert "ann/new" in {model.id for model in api.list_models()}
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("ann/new")
    assert api.create_repo("ann/new", exist_ok=True).repo_id == "ann/new"


def test_commit_adds_changes_and_deletes_files(client: httpx2.Client, hub: Hub, tmp_path: Path) -> None:
    api, folder = HfApi(), tmp_path / "upload"
    api.create_repo("ann/new")
    folder.mkdir()
    for name, content in (
        ("README.md", "---\nlicense: mit\n---\n"),
        ("a.safetensors", "weights"),
        ("b.txt", "b"),
    ):
        (folder / name).write_text(content)
    first = api.upload_folder(repo_id="ann/new", folder_path=folder)
    (folder / "b.txt").unlink()
    (folder / "a.safetensors").write_text("other weights")
    second = api.upload_folder(repo_id="ann/new", folder_path=folder, delete_patterns=["*.txt"])
    blobs = hub.repos["ann/new"].head.blobs
    assert set(blobs) == {".gitattributes", "README.md", "a.safetensors"}
    assert blobs["a.safetensors"].read(0, 100) == b"other weights"
    assert api.model_info("ann/new").card_data.license == "mit"  # type: ignore[union-attr]
    former = api.hf_hub_download("ann/new", "a.safetensors", revision=first.oid)
    assert Path(former).read_text() == "weights"
    assert second.oid != first.oid


def test_file_that_is_in_the_storage_is_not_uploaded_twice(client: httpx2.Client, hub: Hub) -> None:
    HfApi().create_repo("ann/new")
    oid = hashlib.sha256(b"weights").hexdigest()
    order = {"operation": "upload", "objects": [{"oid": oid, "size": 7}]}
    batch = "/ann/new.git/info/lfs/objects/batch"
    (item,) = client.post(batch, json=order).json()["objects"]
    assert client.put(item["actions"]["upload"]["href"], content=b"weights").status_code == 200
    assert client.post(item["actions"]["verify"]["href"], json={"oid": oid, "size": 7}).status_code == 200
    assert client.post(item["actions"]["verify"]["href"], json={"oid": oid, "size": 8}).status_code == 404
    (item,) = client.post(batch, json=order).json()["objects"]
    assert "actions" not in item


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/models/ann/none/commit/main", lines(), 404),
        ("/api/models/ann/ink/commit/v9", lines(), 404),
        ("/api/models/ann/ink/commit/main", lines({"key": "deletedFile", "value": {"path": "none"}}), 404),
        ("/api/models/ann/ink/commit/main", lines({"key": "symlink", "value": {}}), 400),
        (
            "/api/models/ann/ink/commit/main",
            lines({"key": "lfsFile", "value": {"path": "a.bin", "oid": "0" * 64}}),
            400,
        ),
        ("/api/models/ann/none/preupload/main", '{"files": []}', 404),
        ("/api/validate-yaml", '{"content": "no front matter"}', 400),
        ("/api/validate-yaml", '{"content": "---\\n- a\\n---\\n"}', 400),
        ("/api/validate-yaml", '{"content": "---\\n{\\n---\\n"}', 400),
    ],
)
def test_refused_request_changes_nothing(
    client: httpx2.Client, hub: Hub, path: str, body: str, status: int
) -> None:
    before = {repo.id: repo.head.sha for repo in hub.repos.values()}
    assert client.post(path, content=body).status_code == status
    assert {repo.id: repo.head.sha for repo in hub.repos.values()} == before


def test_uploaded_bytes_must_have_their_hash(client: httpx2.Client, hub: Hub) -> None:
    response = client.put(f"/ann/ink.git/info/lfs/objects/{'0' * 64}", content=b"weights")
    assert response.status_code == 400 and not hub.uploads


def test_upload_needs_a_token(client: httpx2.Client) -> None:
    del client.headers["Authorization"]
    for path in (
        "/api/repos/create", "/api/models/ann/ink/preupload/main", "/api/models/ann/ink/commit/main",
        "/ann/ink.git/info/lfs/objects/batch", "/ann/ink.git/info/lfs/objects/verify",
    ):  # fmt: skip
        assert client.post(path, json={}).status_code == 401
