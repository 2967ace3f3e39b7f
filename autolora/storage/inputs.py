"""Inputs outside the repository, which DVC does not watch: what a stage has read there, and whether it is the same now.

    with recording_input(root, "concepts", "/data/corpus"):    # in the flow of a stage
        ...
    changed_inputs(root)    # later: phrases on what has changed

Files are compared by path, size and time of modification, so an input of any size is not read. The record is kept in
cache/inputs/<stage>.json, as these times are those of one machine.
"""

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.errors import rerun
from autolora.storage.files import read_json, write_atomic
from autolora.storage.hashes import hash_value


@dataclass(frozen=True, kw_only=True, slots=True)
class InputState:
    """The files of an input."""

    path: str
    """a folder, a file, or a pattern of files"""
    files: int
    bytes: int
    sha256: str
    """over path, size and time of modification of each file"""


@contextmanager
def recording_input(root: Path, stage: str, path: str | None) -> Iterator[None]:
    """Record the state that an input has before the block, if the block succeeds.

    path: as params.yaml has it, so it may begin with ~/, or be relative to the root. None, or the id of a repository on
    Hugging Face, is no input that could change.
    """
    state = read_state(root / Path(path).expanduser()) if path else None
    yield
    if state:
        write_atomic(_record_path(root, stage), json.dumps(asdict(state)) + "\n")
    else:
        _record_path(root, stage).unlink(missing_ok=True)


def changed_inputs(root: Path) -> list[str]:
    """Return a phrase per input that exists, but not as its stage has read it on this machine."""
    phrases = []
    for path in sorted(_record_path(root, "").parent.glob("*.json")):
        before = InputState(**(read_json(path) or {}))
        now = read_state(Path(before.path))
        if now and now != before:
            phrases.append(
                f"{before.path} has changed since the stage '{path.stem}' read it ({_describe(before)} then; "
                f"{_describe(now)} now): {rerun(path.stem)}"
            )
    return phrases


def read_state(path: Path) -> InputState | None:
    """Return the state of a folder, a file, or a pattern of files; None if there is no file."""
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    found = below if path.is_dir() else map(Path, glob.glob(str(path)))
    states = sorted((str(file), _state(file)) for file in found if file.is_file())
    if not states:
        return None
    size = sum(state[0] for _, state in states)
    return InputState(path=str(path), files=len(states), bytes=size, sha256=hash_value(states))


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _describe(state: InputState) -> str:
    return f"{state.files:,} files, {state.bytes:,} bytes"


def _record_path(root: Path, stage: str) -> Path:
    return root / "cache" / "inputs" / f"{stage}.json"
