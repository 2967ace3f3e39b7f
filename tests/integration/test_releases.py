"""Releases: each promoted refresh is tagged, a refused one is kept as a branch, and an operator decides otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog.diff import BASELINE
from tests.support.repository import IDENTITY, Repository, change_params

PROMPT = "a cat in watercolour style"


@pytest.fixture(scope="module")
def project(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Two released refreshes of a project with a git and a DVC remote."""
    change_params(repository.root / "params.yaml", {"refresh": {"commit": True}})
    repository.run("dvc", "remote", "add", "-d", "store", str(tmp_path_factory.mktemp("store")))
    repository.commit("params")
    origin = tmp_path_factory.mktemp("origin")
    repository.run("git", "init", "-q", "--bare", str(origin))
    repository.run("git", "remote", "add", "origin", str(origin))
    repository.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
    for day in (1, 2):
        repository.hub({"day": day})
        repository.committed_refresh(day)
    return repository


def tags(project: Repository) -> list[str]:
    return project.run("git", "tag", "--list", "release/*").stdout.split()


def decisions(project: Repository) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / "data/gate.jsonl").read_text().splitlines()]


def served(root: Path) -> str:
    return (root / "cache/served").read_text().strip()


def command(project: Repository, *arguments: str, day: int, check: bool = True) -> str:
    done = project.run("python", "-m", "autolora", *arguments, day=day, check=check, **IDENTITY)
    return done.stdout + done.stderr


def test_each_release_is_tagged_and_pushed(project: Repository) -> None:
    assert tags(project) == ["release/2026-01-05", "release/2026-01-06"]
    assert project.run("git", "ls-remote", "--tags", "origin").stdout.count("refs/tags/release/") == 4
    head, tagged = project.run("git", "rev-parse", "HEAD", "release/2026-01-06^{commit}").stdout.split()
    text = project.run("git", "tag", "-n99", "--list", "release/2026-01-06").stdout
    assert served(project.root) in text and "training lock of the gates (md5): none yet" not in text
    assert head == tagged or head not in text
    assert not project.run("git", "status", "--porcelain").stdout


def test_the_second_release_was_compared_with_the_first(project: Repository) -> None:
    first, second = decisions(project)
    assert (first["verdict"], second["verdict"]) == ("promoted", "promoted")
    assert first["former"] is None and second["former"] == first["index"]
    checks = {check["name"]: check for check in second["checks"]}
    assert checks["score changes"]["passed"] and checks["score changes"]["value"] <= 1e-5
    assert {"adapters", "trainings", "adapters lost without a reason", "pinned queries won"} <= checks.keys()


def test_a_fresh_clone_pulls_every_release(project: Repository, tmp_path: Path) -> None:
    origin = project.run("git", "remote", "get-url", "origin").stdout.strip()
    project.run("git", "clone", "-q", origin, str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone", project.endpoint, project.api)
    for tag, decision in zip(tags(project), decisions(project), strict=True):
        clone.run("git", "checkout", "-q", tag)
        clone.run("dvc", "pull", "-q")
        hits = clone.search(PROMPT, "--rev", tag)
        assert {hit["index"] for hit in hits} == {decision["index"]}


def test_a_refresh_without_changes_makes_no_release(project: Repository) -> None:
    before = decisions(project)
    project.committed_refresh(2)
    assert tags(project) == ["release/2026-01-05", "release/2026-01-06"] and decisions(project) == before


def test_the_difference_of_two_releases_is_printed(project: Repository) -> None:
    text = command(project, "versions", "diff", "release/2026-01-05", "release/2026-01-06", day=2)
    assert "1 added, 0 removed" in text and "recall of the first hit: " in text
    assert command(project, "versions", day=2).count("release/2026-01-0") == 2


def test_a_rollback_is_pinned_until_it_is_lifted(project: Repository) -> None:
    first, second = decisions(project)
    command(project, "versions", "rollback", "release/2026-01-05", "--reason", "too many cats", day=2)
    assert served(project.root) == first["index"]
    output = project.committed_refresh(3)
    assert "Gate: pinned." in output and "too many cats" in output
    assert served(project.root) == first["index"] and len(tags(project)) == 2
    assert "lift the pin first" in command(
        project, "versions", "promote", "--reason", "x", day=3, check=False
    )
    assert "is lifted" in command(project, "versions", "lift", day=3)
    project.committed_refresh(3)
    assert served(project.root) == second["index"] == decisions(project)[-1]["index"]


def test_a_new_training_is_refused_kept_and_promoted_by_hand(project: Repository) -> None:
    former = served(project.root)
    change_params(project.root / "params.yaml", {"encoder": {"overrides": {"ridge": 0.5}}})
    project.run("git", "commit", "-qam", "another ridge", **IDENTITY)
    failed = project.run("python", "-m", "flows.refresh", day=4, check=False, **IDENTITY)
    assert failed.returncode and "a new training" in failed.stderr
    assert served(project.root) == former
    branches = project.run("git", "branch", "--list", "refused/*").stdout.split()
    assert branches == ["refused/2026-01-08"]
    again = project.run("python", "-m", "flows.refresh", day=5, check=False, **IDENTITY)
    assert again.returncode and project.run("git", "branch", "--list", "refused/*").stdout.split() == branches
    text = command(project, "versions", "promote", "--reason", "compared", day=5)
    assert "tagged release/2026-01-09" in text and served(project.root) != former
    assert decisions(project)[-1]["verdict"] == "promoted by hand"
    assert not (project.root / BASELINE).exists(), "the next report would cover the refused run again"
    assert not project.run("git", "status", "--porcelain").stdout
