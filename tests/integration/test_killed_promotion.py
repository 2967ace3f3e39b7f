"""A refresh that is killed while it promotes, commits, pushes or tags.

What is tagged can be fetched, what is served can be read, and the next refresh completes the release.
"""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from playground.repository import IDENTITY, Repository, change_params, kill_tree
from tests.support.waiting import wait_until

PROMPT = "a cat in watercolour style"
FIRST, SECOND = "release/2026-01-05", "release/2026-01-06"
FOLDERS = ("repository", "remote", "origin")
WAIT_S = 900


@dataclass
class Built:
    """A project with one release, for whose next day the stages have run, and how long its promotion takes."""

    repository: Repository
    promotion_s: float = 0.0

    def copy(self, target: Path) -> Repository:
        """Return a copy, with remotes of its own."""
        for name in FOLDERS:
            source = self.repository.root.parent / name
            subprocess.run(["cp", "-a", str(source), str(target / name)], check=True)
        return replace(self.repository, root=target / "repository")


@pytest.fixture(scope="module")
def built(repository: Repository, module_folder: Path) -> Built:
    """Release the first day, run the stages of the second, and promote it in a copy."""
    change_params(repository.root / "params.yaml", {"refresh": {"commit": True}})
    repository.run("dvc", "remote", "add", "-d", "store", "../remote")
    repository.commit("params")
    project = replace(repository, root=module_folder / "built" / "repository")
    project.root.parent.mkdir()
    subprocess.run(["cp", "-a", str(repository.root), str(project.root)], check=True)
    project.run("git", "init", "-q", "--bare", "../origin")
    project.run("git", "remote", "add", "origin", "../origin")
    project.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
    project.committed_refresh(1)
    copies = {*(project.root / "cache/index").iterdir()}
    project.hub({"day": 2})
    project.run("dvc", "repro", "--force", "--single-item", "crawl", day=2)
    project.run("dvc", "repro", "evaluation", day=2)
    for made in {
        *(project.root / "cache/index").iterdir()
    } - copies:  # of the evaluation; a promotion makes them again
        subprocess.run(["rm", "-r", "-f", str(made)], check=True)
    (copy := module_folder / "copy").mkdir()
    with promoting(Built(project).copy(copy)) as process:
        started = time.monotonic()
        assert process.wait(WAIT_S) == 0
    return Built(project, time.monotonic() - started)


@contextmanager
def promoting(project: Repository) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the refresh of the second day, and enter the block when it begins to promote."""
    copies = sorted((project.root / "cache/index").iterdir())
    process = project.start("python", "-m", "flows.refresh", day=2, **IDENTITY)
    wait_until(
        lambda: sorted((project.root / "cache/index").iterdir()) != copies or process.poll() is not None,
        WAIT_S,
    )
    assert process.poll() is None, f"the refresh ended with {process.returncode} before it promoted"
    yield process


@pytest.mark.long(full=100, sample=1)
def test_a_killed_promotion_is_completed_by_the_next_refresh(built: Built, tmp_path: Path, seed: int) -> None:
    project = built.copy(tmp_path)
    former = json.loads(gate(project)[-1])["index"]
    with promoting(project) as process:
        try:
            process.wait(random.Random(seed).uniform(0, built.promotion_s))
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
    indexes = {FIRST: former, SECOND: project.index_content()}
    (served,) = {hit["index"] for hit in project.search(PROMPT)}
    assert served in indexes.values()
    for place in ("repository", "origin"):
        assert_released(project, place, indexes, tmp_path / f"killed-{place}")

    project.committed_refresh(2)
    assert_whole(project)
    assert {hit["index"] for hit in project.search(PROMPT)} == {indexes[SECOND]}
    verdicts = [row["verdict"] for row in map(json.loads, gate(project))]
    assert verdicts == ["promoted"] * 3, "of the untagged first refresh, and of both releases"
    assert assert_released(project, "origin", indexes, tmp_path / "completed") == [FIRST, SECOND]


def assert_released(project: Repository, place: str, indexes: dict[str, str], target: Path) -> list[str]:
    """Check that a clone fetches all that each tag of a repository names, and answers from it; return the tags."""
    clone = replace(project, root=target)
    project.run("git", "clone", "-q", str(project.root.parent / place), str(target))
    clone.run("dvc", "config", "--local", "remote.store.url", str(project.root.parent / "remote"))
    tags = clone.run("git", "tag", "--list", "release/*").stdout.split()
    assert set(tags) <= indexes.keys()
    for tag in tags:
        clone.run("git", "checkout", "-q", tag)
        clone.run("dvc", "pull", "-q")
        assert clone.index_content() == indexes[tag]
        assert {hit["index"] for hit in clone.search(PROMPT, "--rev", tag)} == {indexes[tag]}
    return tags


def assert_whole(project: Repository) -> None:
    """Check that nothing is left to commit, and no temporary or lock file lies about."""
    assert not project.run("git", "status", "--porcelain").stdout
    project.run("git", "fsck", "--strict")
    heads = project.run("git", "rev-parse", "HEAD", "@{upstream}").stdout.split()
    assert heads[0] == heads[1] == project.run("git", "ls-remote", "origin", "HEAD").stdout.split()[0]
    left = [*project.root.rglob("*.tmp"), *(project.root / ".git").rglob("*.lock")]
    assert not [path for path in left if ".dvc/cache" not in str(path)]


def gate(project: Repository) -> list[str]:
    return (project.root / "data/gate.jsonl").read_text().splitlines()
