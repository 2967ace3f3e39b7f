"""How a command ends where nobody reads what it prints."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.synthetic_repo import make, write_root

ROOT = Path(__file__).parents[1]
KNOWN = make("mosaic", 0)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_closed_pipe_ends_it_as_it_ends_other_commands(tmp_path: Path, options: list[str]) -> None:
    write_root(tmp_path, [KNOWN])
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "autolora", "show", KNOWN.listing.id, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (-signal.SIGPIPE, "")
