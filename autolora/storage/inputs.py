"""Inputs outside the repository, which DVC does not watch: what a stage has read there, and whether it is the same now.

    with recording_input(root, "encoder.from", "/models/encoder"):    # in the flow of a stage
        ...
    changed_inputs(root, params.inputs)    # later: phrases on what has changed

The libraries that a model is trained with are such inputs too: their versions lie beside its weights.
Files are compared by path, size and time of modification, so an input of any size is not read. The record is kept in
cache/inputs/<param>.json, as these times are those of one machine. Paths in the repository are relative to its root, so
a repository may be moved.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autolora.errors import rerun
from autolora.storage.files import read_json, write_atomic
from autolora.storage.hashes import hash_value

LIBRARY_VERSIONS = "libraries.json"
LIBRARIES = ("torch", "transformers", "diffusers", "tokenizers", "numpy")
"""whose versions may change the last bits of a trained model, and sometimes more"""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputState:
    """The files of an input."""

    path: str | None
    """a folder, or the id of a repository on Hugging Face, as params.yaml has it; None if it names none"""
    files: int
    """0 of an id, and of what does not exist"""
    bytes: int
    sha256: str
    """over path, size and time of modification of each file; the path is relative to the root if the file lies there"""


@contextmanager
def recording_input(root: Path, param: str, path: str | None) -> Iterator[None]:
    """Record the state that an input has before the block, if the block succeeds.

    param: names the input, e.g. encoder.from, and its stage. path: as params.yaml has it, so it may begin with ~/, or
    be relative to the root.
    """
    state = read_state(root, path)
    yield
    write_atomic(_record_path(root, param), json.dumps(asdict(state)) + "\n")


def changed_inputs(root: Path, inputs: Mapping[str, str | None]) -> list[str]:
    """Return a phrase per input that is not what its stage has read on this machine: changed, gone, or another one.

    The last phrases are on models that were trained with other libraries.
    inputs: param, as in encoder.from -> what params.yaml names there now. A stage without a record is left out.
    """
    phrases = []
    for param, path in inputs.items():
        stage = param.partition(".")[0]
        record = read_json(_record_path(root, param))
        if record and (difference := _compare(root, param, stage, InputState(**record), path)):
            phrases.append(difference)
    return phrases + [
        phrase for stage in ("encoder", "fusion") if (phrase := _compare_libraries(root / "data" / stage))
    ]


def write_libraries(folder: Path) -> None:
    """Record the versions of LIBRARIES in the folder of a model that is trained with them."""
    write_atomic(folder / LIBRARY_VERSIONS, json.dumps(_installed_libraries(), indent=2) + "\n")


def read_state(root: Path, path: str | None) -> InputState:
    """Return the state of an input. root, path: as in `recording_input`."""
    files = [file for file in _files(_locate(root, path)) if file.is_file()]
    states = sorted((_name(root, file), _state(file)) for file in files)
    size = sum(state[0] for _, state in states)
    return InputState(path=path, files=len(states), bytes=size, sha256=hash_value(states))


def _compare(root: Path, param: str, stage: str, before: InputState, path: str | None) -> str:
    """Return how an input differs from what its stage has read; "" if it does not."""
    if _locate(root, path) != _locate(root, before.path):
        return (
            f"{param} in params.yaml is {path or 'null'}, but the last run of the stage '{stage}' had "
            f"{before.path or 'null'}: run `dvc repro {stage}`"
        )
    now = read_state(root, path)
    if now.sha256 == before.sha256:
        return ""
    read = f"the stage '{stage}' read it ({_describe(before)} then"
    if not now.files:
        return (
            f"{path}, which {param} in params.yaml names, has been removed since {read}): restore it before the stage "
            f"runs again, or change {param}"
        )
    return f"{path} has changed since {read}; {_describe(now)} now): {rerun(stage)}"


def _compare_libraries(folder: Path) -> str:
    """Return which libraries a model was trained with, if others are installed now; "" if not, or if none is known."""
    trained, installed = read_json(folder / LIBRARY_VERSIONS) or {}, _installed_libraries()
    changed = [name for name in trained if trained[name] != installed.get(name)]
    if not changed:
        return ""
    then, now = (
        ", ".join(f"{name} {versions.get(name)}" for name in changed) for versions in (trained, installed)
    )
    return (
        f"the model in {folder} was trained with {then}; {now} is installed: "
        f"`dvc repro --force --single-item {folder.name}` may give slightly different weights"
    )


def _installed_libraries() -> dict[str, str | None]:
    """Return name -> version of LIBRARIES; None if a library is not installed."""
    versions: dict[str, str | None] = dict.fromkeys(LIBRARIES)
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _locate(root: Path, path: str | None) -> Path | None:
    return root / Path(path).expanduser() if path else None


def _files(path: Path | None) -> Iterator[Path]:
    """Yield what lies in a folder, at any depth."""
    if path is not None:
        yield from (Path(folder, name) for folder, _, names in os.walk(path) for name in names)


def _name(root: Path, file: Path) -> str:
    """Return the path of a file, relative to the root if it lies there."""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _describe(state: InputState) -> str:
    return f"{state.files:,} files, {state.bytes:,} bytes"


def _record_path(root: Path, param: str) -> Path:
    return root / "cache" / "inputs" / f"{param}.json"
