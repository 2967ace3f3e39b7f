"""A pool larger than its share of the disk, in real refreshes: batches lie in the remote only, and all goes on."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autolora.pool import batches
from playground.repository import Repository, change_params
from tests.support.s3 import S3Server, s3_server

PROMPT = "a cat in watercolour style"
KEEP_GB = 1e-6
"""less than any batch"""
DOWNLOADS = {"weights", "renderings"}
"""kinds of requests to the hub"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("server"), "pool") as server:
        yield server


@pytest.fixture(scope="module")
def evicted(project: Repository, server: S3Server) -> Repository:
    """The project after its batches were evicted to S3, and one more refresh, which pushes and evicts its own."""
    change_params(project.root / "params.yaml", {"storage": {"keep_local_gb": KEEP_GB}})
    set_remote(project, server)
    project.commit("params")
    project.run("python", "-m", "flows.evict", day=2)
    assert "2026-01-05" not in batches.batch_names(project.root)
    project.hub({"day": 3})
    project.committed_refresh(3)
    return project


def set_remote(repository: Repository, server: S3Server) -> None:
    """Make S3 the remote, in the settings of this machine: former commits name another one."""
    repository.run("dvc", "remote", "add", "--local", "-q", "-f", "-d", "cloud", "s3://pool/store")
    for name, value in server.remote_settings().items():
        repository.run("dvc", "remote", "modify", "--local", "cloud", name, value)


def keys(server: S3Server) -> set[str]:
    """Return the names of all objects of the remote."""
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket="pool", Prefix="store/")
    return {row["Key"] for page in pages for row in page.get("Contents", ())}


def files_of(repository: Repository, batch: str) -> list[str]:
    """Return the names of the remote's objects that an evicted batch consists of, without their list."""
    md5 = yaml.safe_load((repository.root / f"data/pool/batches/{batch}.dvc").read_text())["outs"][0]["md5"]
    rows = json.loads((repository.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).read_text())
    return [f"store/files/md5/{row['md5'][:2]}/{row['md5'][2:]}" for row in rows]


def autolora(repository: Repository, *arguments: str, day: int = 3) -> str:
    return repository.run("python", "-m", "autolora", *arguments, day=day).stdout


def test_batches_leave_and_are_neither_missing_nor_downloaded_again(evicted: Repository) -> None:
    assert {*batches.batch_names(evicted.root)} <= {"2026-01-07"}, "captioned in the last minute"
    assert not evicted.run("git", "status", "--porcelain").stdout
    evicted.requests()
    assert "nothing to promote" in evicted.committed_refresh(3)
    assert not DOWNLOADS & evicted.requests().keys()
    assert ": 0 findings" in autolora(evicted, "verify")
    assert "in DVC's remote only (" in " ".join(autolora(evicted, "status").split())
    assert "remote only (" in (evicted.root / "reports/index.html").read_text()


def test_images_are_drawn_with_fetched_weights_and_not_while_the_remote_is_away(
    evicted: Repository, server: S3Server
) -> None:
    batch_of, hits = batches.members(evicted.root)["weights"], evicted.search(PROMPT, "-k", "20")
    first = next(hit["sha256"] for hit in hits if batch_of[hit["sha256"]] == "2026-01-05")
    generate = ("python", "-m", "autolora", "generate", PROMPT, "--adapter", first, "-o", "images/a.png")
    shutil.rmtree(evicted.root / "cache/fetched", ignore_errors=True)
    evicted.run("dvc", "remote", "modify", "--local", "cloud", "endpointurl", "http://127.0.0.1:9")
    away = evicted.run(*generate, check=False)
    assert away.returncode == 1 and "lies in DVC's remote only" in away.stderr
    assert evicted.search(PROMPT, "-k", "20") == hits
    set_remote(evicted, server)
    evicted.run(*generate)
    assert (evicted.root / "images/a.png").exists()


def test_going_back_and_a_clone_need_no_batch(evicted: Repository, server: S3Server, tmp_path: Path) -> None:
    tags = evicted.run("git", "tag", "--list", "release/*").stdout.split()
    autolora(evicted, "versions", "rollback", tags[0], "--reason", "test")
    autolora(evicted, "versions", "lift")
    branch = evicted.run("git", "rev-parse", "--abbrev-ref", "HEAD").stdout.strip()
    evicted.run("git", "stash", "-q", "-u")
    evicted.run("git", "checkout", "-q", tags[0])
    evicted.run("bash", "-c", "dvc checkout -q dvc.yaml data/pool/sketches/*.dvc")
    assert evicted.search(PROMPT)
    evicted.run("git", "checkout", "-q", branch)
    evicted.run("bash", "-c", "dvc checkout -q dvc.yaml data/pool/sketches/*.dvc")

    evicted.run("git", "clone", "-q", str(evicted.root), str(tmp_path / "clone"))
    clone = replace(evicted, root=tmp_path / "clone")
    set_remote(clone, server)
    clone.run("bash", "-c", "dvc pull -q dvc.yaml data/pool/sketches/*.dvc")
    clone.run("git", "branch", "--unset-upstream")  # to a branch that is checked out
    assert clone.search(PROMPT)
    evicted.requests()
    report = json.loads(autolora(clone, "verify", "--json"))
    assert report["findings"] == [] and report["remote_only"]
    clone.committed_refresh(3)
    assert clone.digests() == evicted.digests()
    assert not batches.batch_names(clone.root)
    assert not DOWNLOADS & evicted.requests().keys()


def test_what_the_remote_has_lost_is_downloaded_and_sent_again(evicted: Repository, server: S3Server) -> None:
    """All but the lists of folders, by which DVC takes these folders for complete."""
    client, day = server.client(), "2026-01-05"
    for key in keys(server):
        if not key.endswith(".dir"):
            client.delete_object(Bucket="pool", Key=key)
    lost = evicted.run("python", "-m", "autolora", "verify", check=False).stdout
    assert f"missing  data/pool/batches/{day}/" in lost or f"e.g. data/pool/batches/{day}/" in lost
    evicted.requests()
    for command in [line for line in lost.splitlines() if line.startswith("    ")]:
        evicted.run("bash", "-c", command)
    assert evicted.requests().keys() >= DOWNLOADS
    assert ": 0 findings" in autolora(evicted, "verify")
    assert keys(server) >= {*files_of(evicted, day)}
    evicted.committed_refresh(3)
    assert day not in batches.batch_names(evicted.root)
    assert ": 0 findings" in autolora(evicted, "verify")
