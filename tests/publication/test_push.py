"""`autolora publish`: the index goes to a hub on loopback by the command, and comes back by its id."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

import autolora
from autolora.cli import app
from autolora.errors import HubError, MissingArtifact
from autolora.publication.folder import push_to_hub
from autolora.publication.manifest import CARD, ENCODER, MANIFEST
from tests.publication.conftest import REPOSITORY, Site
from tests.support import small_root
from tests.support.hf_client import TOKEN, point_at, remove_token
from tests.support.published_encoder import flip_byte

PROMPT = "neon"
SCRIPT = """
import sys
import autolora
from tests.support.tiny_flux import build_pipeline
collection = autolora.open("me/index", revision=sys.argv[1])
hits = collection.search("neon", k=2)
pipe = build_pipeline()
with collection.fuse(pipe, hits, method="gated"):
    print(sum(len(module._forward_hooks) for module in pipe.transformer.modules()))
print(len(collection), *(hit.sha256 for hit in hits))
"""


def client_environment(site: Site, home: Path) -> dict[str, str]:
    """Return the environment of a process whose official client talks to the site's hub."""
    return {
        **os.environ,
        "HF_ENDPOINT": site.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }


def run(root: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def publish(site: Site, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(site.root, client_environment(site, home), "-m", "autolora", "publish", *arguments)


@pytest.mark.slow
def test_command_uploads_what_another_process_opens_by_its_id(site: Site, tmp_path: Path) -> None:
    published = publish(site, tmp_path / "publisher", str(tmp_path / "index"), "--push", "me/index")
    assert published.returncode == 0, published.stderr
    assert "Warning" not in published.stderr
    wrote, uploaded, use, *encoder = published.stdout.splitlines()
    assert re.fullmatch(rf"wrote {tmp_path}/index: [\d.]+ MB, index [0-9a-f]{{12}}, encoder", wrote)
    commit = site.hub.repos["me/index"].head.sha
    assert 'autolora.open("me/index")' in (tmp_path / "index" / CARD).read_text()
    assert uploaded == f"uploaded to me/index, commit {commit}"
    assert use == f"open it with autolora.open('me/index', revision='{commit}')"
    assert encoder[1:] == ["encoder:", "  from: me/index", f"  from_revision: {commit}"]

    opened = run(REPOSITORY, client_environment(site, tmp_path / "reader"), "-c", SCRIPT, commit)
    assert opened.returncode == 0, opened.stderr
    hooks, *rest = opened.stdout.split()
    hits = autolora.open(site.root).search(PROMPT, k=2)
    assert (int(hooks), rest) == (len(small_root.SLOTS), ["12", *(hit.sha256 for hit in hits)])


def test_upload_and_download_hold_the_same_files(
    site: Site, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(monkeypatch, site.endpoint, tmp_path / "hub-cache")
    commit = push_to_hub(site.published, "me/same", private=True)
    collection = autolora.open("me/same", revision=commit)
    assert collection.root.name == commit
    files = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (site.published, collection.root)
    ]
    unread = {path for path in files[0] if path.is_relative_to(ENCODER)}
    assert unread and files[0] - unread == files[1] and Path(MANIFEST) in files[1]
    assert collection.search(PROMPT, k=12) == autolora.open(site.root).search(PROMPT, k=12)


def test_damaged_index_is_not_uploaded(
    site: Site, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(monkeypatch, site.endpoint, tmp_path / "hub-cache")
    flip_byte(copy / "pipeline/text_encoder/model.safetensors")
    with pytest.raises(MissingArtifact, match=r"model.safetensors is damaged"):
        push_to_hub(copy, "me/damaged")
    assert "me/damaged" not in site.hub.repos


@pytest.mark.parametrize(
    ("repo_id", "message"),
    [("index", "give the id of a repository"), ("me/other", "without a token")],
    ids=["id", "token"],
)
def test_command_writes_nothing_if_it_cannot_upload(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_id: str, message: str
) -> None:
    remove_token(monkeypatch, tmp_path)
    monkeypatch.chdir(site.root)
    result = CliRunner().invoke(app, ["publish", str(tmp_path / "index"), "--push", repo_id])
    assert result.exit_code == 1
    assert "HubError: cannot upload to" in result.output and message in result.output
    assert not (tmp_path / "index").exists()


def test_opening_an_id_that_does_not_exist_is_an_error(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(monkeypatch, site.endpoint, tmp_path / "hub-cache")
    with pytest.raises(HubError, match="nobody/nothing does not exist on Hugging Face"):
        autolora.open("nobody/nothing")
