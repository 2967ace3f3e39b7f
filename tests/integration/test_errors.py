"""Errors on the command line: exit code 1, one message without a traceback, and no file lost or half-written."""

import fcntl
import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from autolora import models
from autolora.catalog import store as catalog
from autolora.errors import MissingArtifact
from autolora.lora.slots import slots
from autolora.params import load
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing
from autolora.storage.files import write_rows
from playground.repository import ROOT, Repository, change_params, copy_folder, copy_tree, free_port

ERROR = re.compile(r"^[A-Z]\w+: ", re.MULTILINE)
TIME_LIMIT_H, REQUEST_TIMEOUT_S = 0.001, 8
"""a crawl reaches the limit while it waits for the hub's answer, and a refresh while it waits for that crawl"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Repository:
    """A committed repository in which no stage has run, and whose hub does not answer."""
    root = tmp_path_factory.mktemp("tree") / "repository"
    copy_tree(root)
    endpoint = f"http://127.0.0.1:{free_port()}"
    change_params(root / "params.yaml", {"hubs": {"huggingface": {"endpoint": endpoint}, "attempts": 1}})
    repository = Repository(root, endpoint, prefect_api)
    repository.run("git", "init", "-q")
    repository.commit("the tree")
    return repository


@pytest.fixture
def bare(tree: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A copy of it."""
    copy_folder(tree.root, tmp_path / "bare")
    yield replace(tree, root=tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare")


@pytest.fixture
def folder(tmp_path: Path) -> Repository:
    """A folder with nothing but params.yaml, for commands that need no more."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return Repository(tmp_path, endpoint="", api="")


def error_of(repository: Repository, *command: str) -> str:
    """Run a command that must fail with a message of the project, and return its standard error."""
    done = repository.run(*command, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert ERROR.search(done.stderr), done.stderr
    return done.stderr


def test_generate_before_the_stage_index_has_run(folder: Repository) -> None:
    assert "there is no index yet" in error_of(folder, "autolora", "generate", "a cat")
    assert not (folder.root / "images").exists()


def test_show_of_an_image_without_provenance(folder: Repository) -> None:
    Image.new("RGB", (64, 64)).save(folder.root / "photo.png")
    assert "contains no provenance" in error_of(folder, "autolora", "show", "photo.png")


@pytest.mark.core
def test_hub_does_not_answer(bare: Repository) -> None:
    put_one_rendering(bare.root, bare.endpoint)
    shutil.rmtree(bare.root / "data/pool")
    before = bare.files()
    assert "cannot be reached" in error_of(bare, "python", "-m", "flows.crawl")
    assert "missing from the pool" in error_of(bare, "python", "-m", "flows.pool")
    after = bare.files()
    assert {name: after[name] for name in before} == before


@pytest.mark.core
def test_failed_refresh_releases_no_index(bare: Repository) -> None:
    assert "StageFailed: crawl: HubError: " in error_of(bare, "python", "-m", "flows.refresh")
    assert not (bare.root / "cache/served").exists()
    done = bare.run("python", "-m", "autolora", "status", "--json", check=False)
    problem = json.loads(done.stdout)["last_refresh"]["problem"]
    assert done.returncode == 1 and problem.startswith(
        "The refresh of 2026-01-05, 00:00 UTC failed: crawl: Hub"
    )


@pytest.mark.core
def test_two_refreshes_at_once(bare: Repository) -> None:
    lock = bare.root / "cache/refresh.lock"
    lock.parent.mkdir()
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "another process is changing" in error_of(bare, "python", "-m", "flows.refresh")


def test_changed_code(bare: Repository) -> None:
    put_one_rendering(bare.root, bare.endpoint)
    with (bare.root / "autolora/captions/store.py").open("a") as module:
        module.write("\nCHANGED = True\n")
    assert "run `make deps`" in error_of(bare, "python", "-m", "flows.captions")
    assert "run `make deps`" in error_of(bare, "python", "-m", "flows.refresh")


def test_time_limit(bare: Repository) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent_hub:
        hub = {"endpoint": f"http://127.0.0.1:{silent_hub.getsockname()[1]}"}
        changes = {"hubs": {"huggingface": hub, "timeout_s": REQUEST_TIMEOUT_S}}
        change_params(bare.root / "params.yaml", changes | {"refresh": {"timeout_h": TIME_LIMIT_H}})
        assert "did not finish within" in error_of(bare, "python", "-m", "flows.crawl")
        assert "did not finish within" in error_of(bare, "autolora", "refresh")
    assert not (bare.root / "data/catalog").exists()
    assert "refresh did not finish within" in bare.run("autolora", "status", check=False).stdout


def test_damaged_row_of_the_pool(folder: Repository) -> None:
    put_one_rendering(folder.root, folder.endpoint)
    path = folder.root / "data/pool/adapters.jsonl"
    path.write_text("{broken\n" + path.read_text())
    assert "is not valid JSON" in error_of(folder, "autolora", "show", "a/b")


def test_damaged_weights_file(tmp_path: Path) -> None:
    path = pool.weights_path(tmp_path, "3" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    params = load(ROOT / "params.yaml")
    with pytest.raises(MissingArtifact) as caught:
        load_lora(tmp_path, "3" * 64, slots(models.transformer_config(params.models)), params.pool)
    assert "is damaged" in str(caught.value)


def put_one_rendering(root: Path, endpoint: str) -> None:
    """Write a catalog and a pool with one accepted adapter that has one rendering."""
    image, weights = "1" * 64, "2" * 64
    rendering = ListedRendering(url=f"{endpoint}/1.png", sha256=image, prompt=None)
    listing = Listing(
        hub="huggingface", id="a/b", version="c", file="b.safetensors", url=f"{endpoint}/b", size=1,
        sha256=weights, license=None, base_model=None, nsfw=False, trigger_words=(), renderings=(rendering,),
        first_seen=date(2026, 1, 5),
    )  # fmt: skip
    adapter = Adapter(
        key=weights, sha256=weights, size=1, recipe="r", verdict=ACCEPTED, reason="", layout="peft", num_slots=1,
        rank_max=1, norm=1.0, dtype="BF16", keys_used=2, keys_seen=2, ignored_keys=(),
    )  # fmt: skip
    catalog.write(root, [listing])
    write_rows(root / "data/pool/adapters.jsonl", [adapter.to_row()])
    write_rows(
        root / "data/pool/renderings.jsonl", [{"key": image, "sha256": image, "width": 64, "height": 64}]
    )
    path = pool.rendering_path(root, image)
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(path)
