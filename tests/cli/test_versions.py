"""`autolora versions`: the commits that a search can read."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MissingLibrary
from autolora.index.served import _failure_reason, fetch_revision
from autolora.index.store import SCHEMA
from autolora.storage.files import write_atomic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a repository with an index of a former layout and one of this layout."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    git, digest = ["git", "-c", "user.name=t", "-c", "user.email=t@t"], tmp_path / "digests/index.json"
    digest.parent.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for schema in (SCHEMA - 1, SCHEMA):
        digest.write_text(json.dumps({"rows": 7, "schema": schema, "content": f"{schema:064}"}))
        subprocess.run(["git", "add", "digests"], cwd=tmp_path, check=True)
        subprocess.run([*git, "commit", "-q", "-m", f"layout {schema}"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_versions_are_the_commits_that_a_search_can_read(repository: Path) -> None:
    result = CliRunner().invoke(app, ["versions", "--json"])
    (commit,) = json.loads(result.stdout)["commits"]
    assert (commit["subject"], commit["index"], commit["rows"]) == (f"layout {SCHEMA}", f"{SCHEMA:064}", 7)
    subprocess.run(["git", "tag", "tried"], cwd=repository, check=True)
    printed = CliRunner().invoke(app, ["versions"]).stdout
    assert commit["sha"][:10] in printed and f"{SCHEMA:064}"[:12] in printed
    assert f"{SCHEMA - 1:064}" not in result.stdout


@pytest.mark.slow
def test_an_index_that_nothing_here_holds_is_marked(repository: Path) -> None:
    assert json.loads(CliRunner().invoke(app, ["versions", "--json"]).stdout)["commits"][0]["at_hand"] is None
    remote = "can be served only if a DVC remote contains it"
    text = CliRunner().invoke(app, ["versions"]).stdout
    assert "not listed: 1 commit without a tag, whose index nothing here holds" in text
    assert remote not in text and f"{SCHEMA:064}"[:12] not in text
    subprocess.run(["git", "tag", "release/2026-01-05"], cwd=repository, check=True)
    text = CliRunner().invoke(app, ["versions"]).stdout
    assert remote in text and "not listed" not in text and "release/2026-01-05" in text
    result = CliRunner().invoke(app, ["versions", "rollback", "HEAD", "--reason", "test"])
    assert result.exit_code == 1 and "DVC cannot fetch data/index of revision 'HEAD': " in result.stderr


@pytest.mark.parametrize(("pipeline", "command"), [(True, "autolora refresh"), (False, "`autolora index`")])
def test_without_versions_no_table_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: bool, command: str
) -> None:
    for name in ("params.yaml", *["dvc.yaml"] * pipeline):
        shutil.copy(ROOT / name, tmp_path)
    write_atomic(tmp_path / "cache/served", f"{'a' * 64}\n")
    monkeypatch.chdir(tmp_path)
    printed = " ".join(CliRunner().invoke(app, ["versions"]).stdout.split())
    assert command in printed and "served: aaaaaaaaaaaa" in printed
    assert "subject" not in printed and "which no commit" not in printed


def test_fetching_a_revision_needs_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc", None)
    with pytest.raises(
        MissingLibrary, match=r"data/index of revision 'v1' needs dvc, .*autolora\[pipeline\]"
    ):
        fetch_revision(tmp_path, "v1", tmp_path / "index")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "ERROR: unexpected error - failed to load: No such file or directory: 'x.dir'",
            "neither DVC's cache nor a",
        ),
        (
            "ERROR: unexpected error - Unable to locate credentials\n\nHaving any troubles? https://dvc.org",
            "Unable to",
        ),
        ("Having any troubles? Hit us up at https://dvc.org/support", "no reason given"),
    ],
)
def test_the_reason_of_a_failed_fetch_is_not_the_footer_of_dvc(output: str, reason: str) -> None:
    assert _failure_reason(output).startswith(reason)
