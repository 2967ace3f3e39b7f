"""A command whose output is no longer read ends as other commands do: by SIGPIPE, without a message."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.synthetic_repo import make_adapter, write_repository

ROOT = Path(__file__).parents[1]
ADAPTER = make_adapter("mosaic", 0)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_closed_pipe_ends_command_with_sigpipe(tmp_path: Path, options: list[str]) -> None:
    write_repository(tmp_path, [ADAPTER])
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "autolora", "show", ADAPTER.listing.id, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (-signal.SIGPIPE, "")
