"""Releases: each promoted refresh is tagged, a refused one is kept as a branch, and an operator decides otherwise.

The project has two: the first refresh is tagged by the next one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog.diff import BASELINE
from playground.repository import IDENTITY, Repository
from tests.integration.conftest import copied_project
from tests.integration.prefect_api import flow_runs

ENDPOINT = re.compile(r"http://127\.0\.0\.1:(\d+)$", re.MULTILINE)
PROMPT = "a cat in watercolour style"


@pytest.fixture(scope="module")
def project(two_releases: Path, module_folder: Path, prefect_api: str, warm: Path) -> Iterator[Repository]:
    """A copy of the project, whose hub has the address that it had: with another one the next refresh has changes."""
    (port,) = ENDPOINT.findall((two_releases / "repository/params.yaml").read_text())
    with copied_project(two_releases, module_folder, prefect_api, warm, int(port)) as project:
        yield project


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
    untagged, first, second = decisions(project)
    assert {row["verdict"] for row in (untagged, first, second)} == {"promoted"} and untagged[
        "former"
    ] is None
    assert (first["former"], second["former"]) == (untagged["index"], first["index"])
    checks = {check["name"]: check for check in second["checks"]}
    assert checks["score changes"]["passed"] and checks["score changes"]["value"] <= 1e-5
    assert {"adapters that are not as in the dataset", "trainings", "pinned queries won"} <= checks.keys()
    assert checks["adapters lost without a reason"]["passed"]


def test_each_stage_ends_with_one_line_of_facts(project: Repository) -> None:
    log = (project.root.parent / "night-2.log").read_text()
    lines = [dict(pair.split("=") for pair in line.split()) for line in log.splitlines() if "stage=" in line]
    stages = {line["stage"]: line for line in lines}
    assert list(stages) == [
        "crawl",
        "pool",
        "drawings",
        "captions",
        "dataset",
        "index",
        "evaluation",
        "refresh",
    ]
    for line in lines:
        assert line["day"] == "2026-01-06" and line["outcome"] == "done"
    seconds = {name: float(line["seconds"]) for name, line in stages.items()}
    assert 0 < sum(seconds.values()) - seconds["refresh"] <= seconds["refresh"] + 0.5, "rounded to 0.1 s"
    for name in ("pool", "drawings", "captions", "dataset", "index", "evaluation"):
        digest = json.loads((project.root / f"digests/{name}.json").read_text())
        assert digest["sha256"].startswith(stages[name]["digest"])
    changes = {name: (line.get("added"), line.get("removed")) for name, line in stages.items()}
    assert changes["crawl"] == changes["pool"] == changes["dataset"] == changes["index"] == ("1", "0")
    assert changes["refresh"] == ("1", "0") and stages["refresh"]["verdict"] == "promoted"
    assert served(project.root).startswith(stages["refresh"]["digest"])
    assert int(changes["captions"][0] or 0) % 3 == 0 and changes["evaluation"] == (None, None)


def test_a_fresh_clone_pulls_every_release(project: Repository) -> None:
    clone = replace(project, root=project.root.parent / "clone")
    project.run("git", "clone", "-q", "../origin", str(clone.root))
    for tag, decision in zip(tags(project), decisions(project)[1:], strict=True):
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
    first = decisions(project)[1]
    command(project, "versions", "rollback", "release/2026-01-05", "--reason", "too many cats", day=2)
    assert served(project.root) == first["index"]
    output = project.committed_refresh(3)
    assert "Gate: pinned." in output and "too many cats" in output
    assert served(project.root) == first["index"] and len(tags(project)) == 2
    assert "lift the pin first" in command(
        project, "versions", "promote", "--reason", "x", day=3, check=False
    )
    assert "is lifted" in command(project, "versions", "lift", day=3)
    assert served(project.root) == decisions(project)[-1]["index"] != first["index"], "at once"
    project.committed_refresh(3)
    assert served(project.root) == decisions(project)[-1]["index"] != first["index"]


def test_a_new_training_is_refused_kept_and_promoted_by_hand(project: Repository) -> None:
    former = served(project.root)
    text = command(project, "refresh", "--train", "2026-01-06", day=4, check=False)
    assert re.search(
        r"By the weights alone, the first hit is right for \d+ of \d+ captions \(\d+\.\d%\), with", text
    )
    assert served(project.root) == former
    assert "verdict=refused outcome=refused" in text
    runs = flow_runs(project.api, {"state": {"name": {"any_": ["Refused"]}}})
    states = [run["state_type"] for run in runs if run["name"] == "refresh 2026-01-08"]
    assert states == ["FAILED"], "other modules share the server"
    shown = " ".join(command(project, "status", day=4, check=False).split())
    assert (
        "The gate refused the new index" in shown and "a new training is served only if you say so" in shown
    )
    branches = project.run("git", "branch", "--list", "refused/*").stdout.split()
    assert branches == ["refused/2026-01-08"]
    again = project.run("python", "-m", "flows.refresh", day=5, check=False, **IDENTITY)
    assert again.returncode and project.run("git", "branch", "--list", "refused/*").stdout.split() == branches
    text = command(project, "versions", "promote", "--reason", "compared", day=5)
    assert "tagged release/2026-01-09" in text and served(project.root) != former
    assert decisions(project)[-1]["verdict"] == "promoted by hand"
    assert json.loads(command(project, "status", "--json", day=5))["last_refresh"]["problem"] is None
    assert "2026-01-06" in project.run("git", "show", "HEAD:params.yaml").stdout
    assert "train_until is 2026-01-06 already" in command(
        project, "refresh", "--train", "2026-01-06", day=5, check=False
    )
    assert not (project.root / BASELINE).exists(), "the next report would cover the refused run again"
    assert not project.run("git", "status", "--porcelain").stdout
