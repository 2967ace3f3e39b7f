"""Repositories on the loopback hub, uploaded and downloaded by the official client: content, errors, patterns."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from autolora.errors import HubError, MissingArtifact
from autolora.hubs.huggingface.repositories import cache_folder, check_upload, download, is_hub_id, upload
from playground.hubs.state import Hub
from tests.support.hf_client import remove_token, serve_hub

PATTERNS = ("config.json", "parts/*")
ID, OTHER_SHA = "ann/parts", "0" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve_hub(tmp_path, monkeypatch) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two files that match the patterns, and one that does not."""
    folder = tmp_path / "folder"
    (folder / "parts/deep").mkdir(parents=True)
    for name in ("config.json", "parts/deep/model.safetensors", "notes.txt"):
        (folder / name).write_text(name)
    return folder


def push(folder: Path) -> str:
    return upload(folder, ID, PATTERNS, private=False, message="Publish the parts")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("owner/name", True),
        ("black-forest-labs/FLUX.1-dev", True),
        (Path("owner/name"), False),
        ("name", False),
        ("a/b/c", False),
        ("./name", False),
        ("../name", False),
        ("/name", False),
        ("~/name", False),
        ("own files/name", False),
        ("here/folder", False),
        ("here/file", False),
    ],
)
def test_form_of_an_id(
    source: str | Path, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/folder").mkdir(parents=True)
    (tmp_path / "here/file").touch()
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(source) is expected


def test_what_is_uploaded_is_downloaded(folder: Path, hub: Hub) -> None:
    commit = push(folder)
    for revision in (commit, "main", None):
        snapshot = download(ID, revision, PATTERNS)
        assert snapshot.name == commit
        assert names(snapshot) == {"config.json", "parts/deep/model.safetensors"}


def test_second_upload_deletes_what_the_patterns_name_and_nothing_else(folder: Path, hub: Hub) -> None:
    push(folder)
    HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="LICENSE", repo_id=ID)
    (folder / "parts/deep/model.safetensors").rename(folder / "parts/model.safetensors")
    push(folder)
    files = {".gitattributes", "config.json", "parts/model.safetensors", "LICENSE"}
    assert set(hub.repos[ID].head.blobs) == files


def test_unknown_id_and_revision_are_errors(folder: Path, hub: Hub) -> None:
    push(folder)
    with pytest.raises(HubError, match="nobody/parts does not exist on Hugging Face, or is private"):
        download("nobody/parts", None, PATTERNS)
    for revision in (OTHER_SHA, "v9"):
        with pytest.raises(HubError, match=f"{ID} has no revision {revision}"):
            download(ID, revision, PATTERNS)


def test_a_download_without_a_revision_is_announced(
    folder: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HubError):
        download("nobody/index", None, PATTERNS)
    assert "there is no folder nobody/index: asking http://127.0.0.1:" in caplog.text
    assert "for what nobody has published under that id; give a revision to pin it" in caplog.text


def test_a_mistyped_path_is_not_requested(
    folder: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    hub.counts.clear()
    with pytest.raises(
        MissingArtifact, match="data/index does not exist, but data does, so it is not taken for"
    ):
        download("data/index", None, PATTERNS)
    assert hub.counts.kinds("huggingface") == {}


def test_restricted_repository_is_an_error(folder: Path, hub: Hub) -> None:
    push(folder)
    hub.change({"fail": {"fault": "gated", "kind": "weights", "hub": "huggingface", "times": 9}})
    with pytest.raises(HubError, match=f"access to {ID} is restricted: request it on its page"):
        download(ID, None, PATTERNS)


def test_hub_that_cannot_be_reached_is_an_error_unless_the_commit_is_cached(folder: Path, hub: Hub) -> None:
    commit = push(folder)
    download(ID, commit, PATTERNS)
    hub.stop()
    assert download(ID, commit, PATTERNS).name == commit
    with pytest.raises(
        HubError, match=r"cannot download eve/parts@main: Got: ConnectError: .*; check .*HF_ENDPOINT"
    ):
        download("eve/parts", None, PATTERNS)
    with pytest.raises(
        HubError, match=rf"cannot upload .* to {ID}: .*; check that the token .*HF_TOKEN.*HF_ENDPOINT"
    ):
        push(folder)


def test_upload_without_a_token_is_an_error(
    folder: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_token(monkeypatch, tmp_path)
    with pytest.raises(HubError, match=rf"cannot upload to {ID} without a token: .*HF_TOKEN"):
        push(folder)
    assert ID not in hub.repos


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "own files/name", "../name"])
def test_upload_to_an_invalid_id_is_an_error(repo_id: str) -> None:
    with pytest.raises(HubError, match="give the id of a repository on Hugging Face, owner/name"):
        check_upload(repo_id)


def test_cache_folder_is_in_the_cache_of_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path))
    assert cache_folder("weights").is_relative_to(tmp_path / "autolora" / "weights")
