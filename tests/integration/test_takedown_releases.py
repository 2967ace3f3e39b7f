"""A takedown in a project with releases: no release answers with it, all are pulled, and the proof is complete."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playground.repository import IDENTITY, Repository
from tests.support import byte_grep

PROMPT = "a cat in watercolour style"
PROVE = """
import json
from dataclasses import asdict
from autolora.catalog import takedowns
from flows import proof
print(json.dumps([asdict(found) for found in proof.Proof(takedowns.read(proof.ROOT).rows).findings()]))
"""


@pytest.fixture(scope="module")
def project(project: Repository) -> Repository:
    """Two released refreshes of a project with two DVC remotes, which git pushes to no other repository."""
    project.run("git", "remote", "remove", "origin")
    project.run("dvc", "remote", "add", "second", "../second")
    project.commit("a second remote")
    project.run("dvc", "push", "-q", "-r", "second")
    return project


@pytest.fixture(scope="module")
def stores(project: Repository) -> dict[str, Path]:
    return {name: project.root.parent / name for name in ("store", "second")}


def run(project: Repository, *arguments: str, check: bool = True) -> str:
    done = project.run("python", "-m", "autolora", *arguments, day=2, check=check, **IDENTITY)
    return done.stdout + done.stderr


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pull_all(project: Repository, name: str) -> dict[str, dict[str, int]]:
    """Return tag -> path of each file of the pool -> bytes, in fresh clones of all releases. name: of the clones."""
    pulled = {}
    for tag in project.run("git", "tag", "--list", "release/*").stdout.split():
        clone = project.root.parent / f"{name}-{tag.replace('/', '-')}"
        project.run("git", "clone", "-q", "--branch", tag, str(project.root), str(clone))
        # the first release has no gates yet, without which `dvc pull` alone ends with 1
        replace(project, root=clone).run("dvc", "pull", "-q", "--allow-missing")
        files = (path for path in (clone / "data/pool/batches").glob("*/*/*") if path.is_file())
        pulled[tag] = {path.relative_to(clone).as_posix(): path.stat().st_size for path in files}
    return pulled


def test_a_takedown_reaches_every_release(
    project: Repository, stores: dict[str, Path], tmp_path: Path
) -> None:
    root = project.root
    before = pull_all(project, "before")
    tags = [*before]
    hit = project.search(PROMPT, "--rev", tags[0])[0]
    assert project.search(PROMPT)[0]["sha256"] == hit["sha256"]
    name = f"{hit['hub']}:{hit['id']}"
    assert "adapters answer; left out as taken down: 1" in run(
        project, "takedown", name, "--reason", "asked", "--apply"
    )
    assert rows(root / "data/gate.jsonl")[-1]["verdict"] == "taken down"
    for options in ((), *(("--rev", tag) for tag in tags)):
        hits = project.search(PROMPT, "-k", "99", *options)
        assert hits and hit["sha256"] not in {found["sha256"] for found in hits}, options
    assert "taken down (1), which would be published" in run(
        project, "publish", str(tmp_path / "p"), check=False
    )
    project.run("git", "add", "data", "dvc.lock", check=False)
    project.commit("takedown")
    assert "Gate: promoted." in project.committed_refresh(3)
    listed = rows(root / "data/takedowns.jsonl")
    texts, words = byte_grep.names_of(listed)
    erased = {row["sha256"] for row in listed}
    after = pull_all(project, "after")
    assert [*after][:2] == tags and len(after) == 3
    for tag, files in after.items():
        assert all((size == 0) == (Path(path).stem in erased) for path, size in files.items()), tag
    for tag in tags:
        assert before[tag].keys() == after[tag].keys()
    compare_with_grep(project, stores, byte_grep.pattern(texts, words), erased)
    output = run(project, "takedown", "--prove", name, check=False)
    assert "content is left in" in output and "content in remote second, data/captions (" in output
    assert "content in the working tree, data/pool" not in output


def compare_with_grep(project: Repository, stores: dict[str, Path], wanted: str, erased: set[str]) -> None:
    """Compare the proof with a search by grep.

    The proof also names the weights that the playground keeps in git.
    """
    root = project.root
    findings = json.loads(project.run("python", "-c", PROVE).stdout)
    proven: dict[str, set[str]] = {}
    for found in findings:
        proven.setdefault(found["place"], set()).add(found["name"])
    cache = root / ".dvc/cache"
    searched = {
        "the working tree": byte_grep.in_folder(root, wanted, [root / ".git", cache / "files"]),
        "DVC's cache": byte_grep.in_store(cache, wanted),
        **{f"remote {name}": byte_grep.in_store(folder, wanted) for name, folder in stores.items()},
    }
    for place, names in searched.items():
        assert names == proven[place], place
    committed = {name for name in proven["git's history"] if len(name) == 40}
    in_git = byte_grep.in_git(root, wanted)
    assert in_git and in_git - committed == set()
    for name in committed - in_git:
        kind = project.run("git", "cat-file", "-t", name).stdout.strip()
        command = ["git", "cat-file", kind, name]
        content = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
        assert kind in ("tag", "tree") or hashlib.sha256(content).hexdigest() in erased, name
