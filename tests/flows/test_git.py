"""The commit of a refresh."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import psutil
import pytest

from autolora.params import load
from flows import git, refresh
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the functions work, with an identity for commits."""
    monkeypatch.setattr(git, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    return tmp_path


def test_commit_holds_the_refresh_and_nothing_else_that_is_staged(root: Path) -> None:
    (root / "data/catalog").mkdir(parents=True)
    (root / "data/catalog/0.jsonl").write_text("{}\n")
    (root / "data/catalog/.0.jsonl.left_by_a_kill").write_text("{")
    (root / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    git.commit("Refresh\n\n1 added")
    git.commit("Refresh\n\nnothing new")
    log = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=root, text=True, capture_output=True
    )
    assert log.stdout.split() == ["1", "added", "data/catalog/0.jsonl"]


def git_in(root: Path, *arguments: str) -> str:
    """Return the output of git."""
    return subprocess.run(["git", *arguments], cwd=root, text=True, capture_output=True, check=True).stdout


def edit(root: Path, before: str, after: str) -> None:
    """Change params.yaml."""
    path = root / "params.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.fixture
def project(root: Path) -> Path:
    """Return a repository with the shipped params and a stage's digest, committed."""
    shutil.copy(ROOT / "params.yaml", root)
    (root / "digests").mkdir()
    (root / "digests/index.json").write_text("{}\n")
    (root / "mine.txt").write_text("text\n")
    git_in(root, "init", "-q")
    git_in(root, "add", "--all")
    git_in(root, "commit", "-qm", "params")
    assert git.edited() == []
    return root


def test_edits_of_the_user_are_named_and_left_out_of_the_commit(project: Path) -> None:
    edit(project, "commit: false", "commit: true")
    (project / "mine.txt").write_text("other\n")
    (project / "digests/index.json").write_text("{} \n")
    (project / "new.txt").touch()
    assert git.edited() == ["mine.txt", "params.yaml"]
    git.commit("Refresh")
    assert git_in(project, "log", "-1", "--format=%s", "--name-only").split() == [
        "Refresh",
        "digests/index.json",
    ]
    assert (
        git.edited() == ["mine.txt", "params.yaml"]
        and "commit: true" in (project / "params.yaml").read_text()
    )
    git.commit_to_branch("refused/x", "Refused")
    assert "commit: false" in git_in(project, "show", "refused/x:params.yaml")


def test_params_that_git_does_not_track_are_named(project: Path) -> None:
    git_in(project, "rm", "-q", "--cached", "params.yaml")
    git_in(project, "commit", "-qm", "without")
    assert git.edited() == ["params.yaml"]


def test_the_day_of_a_training_is_committed_with_what_was_trained(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `autolora refresh --train` writes it, which makes the change."""
    monkeypatch.setattr(refresh, "ROOT", project)
    monkeypatch.setattr(refresh, "params", lambda: load(project / "params.yaml"))
    refresh.set_training(date(2026, 1, 6))
    assert git.edited() == []
    git.commit_to_branch("refused/x", "Refused")
    git.commit("Promoted by hand")
    for revision in ("refused/x", "HEAD"):
        assert "train_until: 2026-01-06" in git_in(project, "show", f"{revision}:params.yaml").replace(
            "'", ""
        )
    refresh.set_training(date(2026, 1, 7))
    edit(project, "commit: false", "commit: true")
    assert git.edited() == ["params.yaml"], "other changes are the user's"


def test_locks_of_a_killed_git_process_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    names = ("index.lock", "refs/heads/main.lock", "refs/tags/release/2026-01-05.lock")
    locks = [tmp_path / ".git" / name for name in names]
    for lock in locks:
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
    git.remove_stale_locks()
    assert not any(lock.exists() for lock in locks)


def test_locks_stay_while_git_runs_in_the_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "ROOT", root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / ".git/index.lock").touch()
    reader = subprocess.Popen(["git", "hash-object", "--stdin"], cwd=root, stdin=subprocess.PIPE)
    try:
        wait_until(lambda: psutil.Process(reader.pid).name() == "git")
        git.remove_stale_locks()
        assert (root / ".git/index.lock").exists()
    finally:
        reader.kill()
        reader.communicate()


@pytest.mark.parametrize("staged", [False, True])
def test_outputs_that_git_tracks_are_forgotten_and_stay_on_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    """The removal is committed, unless the user has staged something else."""
    files = ["data/captions/captions.jsonl", "data/pool/adapters.jsonl", "data/pool/batches/1/a.png"]
    kept = ["data/pool/batches/1.dvc", "data/pool/batches.jsonl", "mine.txt"]
    for name in (*files, *kept):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content\n")
    for command in (["init", "-q"], ["add", "--all", "data"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    if staged:
        subprocess.run(["git", "add", "mine.txt"], cwd=root, check=True)
    outputs = ["data/captions", "data/pool/adapters.jsonl", "data/pool/batches", "data/dataset"]
    assert git.untrack(outputs, commit=True) == files
    assert git.untrack(outputs, commit=True) == []
    assert all((root / name).exists() for name in files)
    listed = subprocess.run(["git", "ls-files", "data"], cwd=root, text=True, capture_output=True).stdout
    assert {*listed.split(), "mine.txt"} == set(kept)
    log = subprocess.run(["git", "log", "--format=%s"], cwd=root, text=True, capture_output=True).stdout
    assert log.splitlines() == ["all"] if staged else ["Stop tracking outputs that DVC keeps", "all"]


def test_a_refresh_says_what_it_leaves_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(refresh, "params", lambda: load(project / "params.yaml"))
    (project / "mine.txt").write_text("other\n")
    refresh.name_edits()
    assert capsys.readouterr().out == "", "without refresh.commit nothing is committed"
    edit(project, "commit: false", "commit: true")
    refresh.name_edits()
    assert capsys.readouterr().out.startswith("[refresh] not committed: mine.txt, params.yaml. This run uses")
