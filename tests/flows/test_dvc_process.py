"""The reason that a failed `dvc repro` gives."""

import json
from pathlib import Path

import pytest

from flows import dvc_process, stage
from flows.stage import StageFailed


def test_failure_begins_with_the_reason_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_process, "ROOT", tmp_path)
    monkeypatch.setattr(stage, "link_to_refresh", lambda tag: {})
    (tmp_path / "cache").mkdir()
    (tmp_path / dvc_process.FAILURE).write_text(json.dumps({"flow": "index", "reason": "of an earlier run"}))
    with pytest.raises(StageFailed, match=r"^`dvc repro` failed outside of a stage"):
        dvc_process.reproduce(tag="refresh")
    script = "flow, reason = 'pool', 'HubError: hub civitai answered 503'"
    monkeypatch.setattr(dvc_process.sys, "executable", fake_dvc(tmp_path, script))
    with pytest.raises(StageFailed, match=r"^pool: HubError: hub civitai answered 503$") as caught:
        dvc_process.reproduce(tag="refresh")
    assert caught.value.output == "a last line\n"


def fake_dvc(folder: Path, script: str) -> str:
    """Return an executable that fails as a stage under DVC does: it writes its reason and prints a line."""
    path = folder / "python"
    path.write_text(
        f"#!/usr/bin/env python3\nimport json, os, sys\n{script}\n"
        f"open(os.environ['{stage.FAILURE_VARIABLE}'], 'w').write(json.dumps(dict(flow=flow, reason=reason)))\n"
        "print('To track the changes with git, run:')\nprint()\nprint('a last line')\nsys.exit(1)\n"
    )
    path.chmod(0o755)
    return str(path)
