"""Record which files and params a stage reads: every Python process with this folder in PYTHONPATH imports this module.

A process `python -m flows.<stage>` whose environment has AUTOLORA_TRACE writes AUTOLORA_TRACE/<stage>.json at its end:
the files below its working directory that it opened to read, and the params, as section.key, that its code read.
Files that compiled libraries open (safetensors, Lance, Arrow) are recorded where Python hands over their path.
"""

import atexit
import dataclasses
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = os.path.realpath(os.getcwd())
GENERATED = ("<string>", dataclasses.__file__)
"""where the code of dataclasses lies: the caller of such code reads the field"""
files: set[str] = set()
params: set[str] = set()
loaded: list[Any] = []
"""all sections that were loaded; kept, so that no id is used again"""
section_names: dict[int, str] = {}
replaced: dict[int, frozenset[str]] = {}
"""copy of a section -> fields that have other values there, which params do not decide"""
copy_values = dataclasses.replace
SHARED = {"seed": "seed"}
"""field that a section takes from another key -> that key"""


def record_open(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: record a file that is opened to read."""
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        mode, flags = arguments[1] or "r", arguments[2] or 0
        if not set(mode) & set("wax") and not flags & (os.O_WRONLY | os.O_CREAT):
            record_file(os.fsdecode(arguments[0]))


def record_file(path: str) -> None:
    """Record a file or folder if it lies in the working directory."""
    absolute = os.path.abspath(path)
    if absolute.startswith(ROOT + os.sep) and not Path(absolute).name.startswith(
        "."
    ):  # . of a file being written
        files.add(os.path.relpath(absolute, ROOT))


def reads_path(function: Any) -> Any:
    """Return a function that records its first argument, a path."""

    @functools.wraps(function)
    def recorded(path: Any, *args: Any, **kwargs: Any) -> Any:
        record_file(os.fspath(path))
        return function(path, *args, **kwargs)

    return recorded


def trace_libraries() -> None:
    """Record the paths that are given to compiled libraries."""
    import lance
    import lancedb
    import pyarrow
    import safetensors
    import safetensors.torch

    for module, names in (
        (safetensors, ["safe_open"]),
        (safetensors.torch, ["safe_open", "load_file"]),
        (lancedb, ["connect"]),
        (lance, ["dataset"]),
        (pyarrow, ["memory_map"]),
    ):
        for name in names:
            setattr(module, name, reads_path(getattr(module, name)))


def trace_params() -> None:
    """Record each field of a loaded section that code of autolora or flows reads, but no constant."""
    import autolora.params as module

    load = module.load

    def recorded_load(path: Any) -> Any:
        values = load(path)
        loaded.append(values)
        for field in dataclasses.fields(values):
            section = getattr(values, field.name)
            if dataclasses.is_dataclass(section):
                section_names[id(section)] = field.name
                trace_class(type(section))
        return values

    module.load = recorded_load
    dataclasses.replace = traced_copy  # type: ignore[assignment]  # of any class


def traced_copy(values: Any, **changes: Any) -> Any:
    """Return a copy as `dataclasses.replace`; the copy of a section is traced in place of its fields being read."""
    copy = copy_values(values, **changes)
    if id(values) in section_names:
        loaded.append(copy)
        section_names[id(copy)] = section_names[id(values)]
        replaced[id(copy)] = replaced.get(id(values), frozenset()).union(changes)
    return copy


@functools.cache
def trace_class(section: type) -> None:
    """Record the reads of the fields of a section's class."""
    fields, read = dataclasses.fields(section), section.__getattribute__
    names = {field.name for field in fields if field.default is dataclasses.MISSING or field.name in SHARED}

    def recorded(self: Any, name: str) -> Any:
        is_param = id(self) in section_names and name not in replaced.get(id(self), ())
        if name in names and is_param and reader() in ("autolora", "flows", "__main__"):
            params.add(SHARED.get(name, f"{section_names[id(self)]}.{name.removesuffix('_')}"))
        return read(self, name)

    section.__getattribute__ = recorded  # type: ignore[method-assign, assignment]


def reader() -> str:
    """Return the package of the code that reads a field; "" if an `==`, a hash or a copy reads all fields."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename in GENERATED:
        if frame.f_code.co_name in ("__hash__", "__eq__", "__repr__", "replace"):
            return ""
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).split(".")[0]


def write(path: Path) -> None:
    """Write what was read."""
    path.write_text(json.dumps({"files": sorted(files), "params": sorted(params)}, indent=1))


words = sys.orig_argv
if "AUTOLORA_TRACE" in os.environ and "-m" in words:
    stage = words[words.index("-m") + 1].removeprefix("flows.")
    if words[words.index("-m") + 1].startswith("flows.") and (Path("flows") / f"{stage}.py").exists():
        trace_libraries()
        trace_params()
        sys.addaudithook(record_open)
        atexit.register(write, Path(os.environ["AUTOLORA_TRACE"]) / f"{stage}.json")
