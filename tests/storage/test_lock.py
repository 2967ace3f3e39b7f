"""Locks: who is refused, what the message says, and when a lock is free again."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from autolora.storage import lock
from autolora.storage.lock import exclusive_folder, exclusive_lock, is_locked

HOLD = """
import sys
from pathlib import Path
from autolora.storage.lock import exclusive_folder
with exclusive_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_user_of_a_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "bench"
    with exclusive_folder(folder):
        message = rf"another process is writing to {folder}: wait until it has ended, then run again; or not$"
        with pytest.raises(AutoLoraError, match=message), exclusive_folder(folder, "; or not"):
            pass
        with exclusive_folder(folder.with_name("other")):
            pass
    with exclusive_folder(folder):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        with pytest.raises(AutoLoraError, match="another process is writing"), exclusive_folder(tmp_path):
            pass
        process.kill()
        process.wait()
    with exclusive_folder(tmp_path):
        pass


def test_lock_of_a_repository_is_another_than_that_of_its_folder(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path), exclusive_folder(tmp_path), exclusive_folder(tmp_path / "cache"):
        other = exclusive_lock(tmp_path)
        with pytest.raises(AutoLoraError, match="another process is changing"):
            other.__enter__()


def test_a_process_that_asks_for_the_lock_at_this_moment_refuses_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `autolora status` may, when the nightly refresh starts."""
    with exclusive_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with (tmp_path / lock.LOCK).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(stream, fcntl.LOCK_UN))
        with exclusive_lock(tmp_path):
            assert is_locked(tmp_path)
