"""`autolora versions`: the commits that a search can read."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.index.store import SCHEMA

ROOT = Path(__file__).parents[2]


def test_versions_are_the_commits_that_a_search_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    result = CliRunner().invoke(app, ["versions", "--json"])
    (commit,) = json.loads(result.stdout)["commits"]
    assert (commit["subject"], commit["index"], commit["rows"]) == (f"layout {SCHEMA}", f"{SCHEMA:064}", 7)
    printed = CliRunner().invoke(app, ["versions"]).stdout
    assert f"layout {SCHEMA}" in printed and f"layout {SCHEMA - 1}" not in printed
