"""Digests of the code that decides each stage's numbers: digests/code/<stage>.json.

    python -m flows.code_digests           # fail if a digest is out of date; the DVC stage `code`
    python -m flows.code_digests --write   # bring the digests up to date (`make deps`)

A stage depends on its digest and not on source files, so a changed comment runs nothing again. A digest covers the
modules of `autolora/` that the stage's flow imports, directly or not, as syntax trees without comments, docstrings and
layout. PLUMBING is left out: modules that move data and report errors, but decide no number. What only the loader of
params.yaml imports is left out too: it knows the presets of all stages, and a stage reads its own. So is what only the
plan imports, which knows all stages: it decides whether one starts. The constants of the
loader's sections, fields with a default, are no params of DVC, so that each digest covers them all.
"""

import ast
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from autolora.errors import AutoLoraError, MismatchError
from autolora.stages import STAGES
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value

PARAMS = "autolora/params/"
"""the loader of params.yaml, whose imports are not followed; the values themselves are DVC params"""
PLANNING = "autolora/planning/"
"""the estimates, whose imports are not followed either"""
PLUMBING = (
    PARAMS,
    "autolora/__init__.py",
    "autolora/clock.py",
    "autolora/errors.py",
    "autolora/extras.py",  # names what to install if a library is missing
    "autolora/gpu_memory.py",
    "autolora/interrupt.py",
    "autolora/progress.py",
    "autolora/stages.py",
    "autolora/catalog/failed_items.py",
    PLANNING,
    "autolora/hubs/",  # a downloaded file is verified by its hash
    "autolora/pool/evicted.py",  # what is fetched from DVC's remote is verified by its hash
    "autolora/publication/",  # so is a file of a publication; encoder/compact.py decides numbers
    "autolora/storage/bounds.py",
    "autolora/storage/files.py",
    "autolora/storage/git.py",
    "autolora/storage/inputs.py",
    "autolora/storage/tables.py",
)
"""files and folders whose code changes no row, vector or weight"""
CODE = Path(__file__).parents[1]
"""the folder of the packages `flows` and `autolora` that run"""
CONSTANTS = f"constants of {PARAMS}"
"""name of the constants in a digest"""
MAX_PARSES, PARSE_DELAY_S = 50, 0.02
CHECKED = Path("digests/code/checked.json")
"""written after a check, so that DVC runs every stage after it"""


def digest_path(root: Path, stage: str) -> Path:
    """Return the path of a stage's code digest."""
    return root / "digests" / "code" / f"{stage}.json"


def code_digest(stage: str) -> dict[str, str]:
    """Return module path -> sha256 of its syntax tree, for all modules that decide the numbers of a stage; and the
    sha256 of the constants.
    """
    return {CONSTANTS: hash_constants()} | {
        name: hash_module(CODE / name)
        for name in sorted(imported_files(CODE / "flows" / f"{stage}.py"))
        if name.startswith("autolora/") and not name.startswith(PLUMBING)
    }


def write(root: Path) -> list[str]:
    """Write the digests that are out of date; return the names of their stages."""
    stale = [stage for stage in STAGES if changed_modules(root, stage)]
    for stage in stale:
        content = json.dumps(code_digest(stage), indent=1) + "\n"
        write_atomic(digest_path(root, stage), content)
    return stale


def check(root: Path, *stages: str) -> None:
    """Raise MismatchError if the code of one of these stages differs from its digest."""
    changed = {stage: modules for stage in stages if (modules := changed_modules(root, stage))}
    if changed:
        modules = sorted(set().union(*changed.values()))
        raise MismatchError(
            f"the code of {', '.join(changed)} has changed since digests/code was written ({', '.join(modules)}): "
            "run `make deps`, then `dvc repro`, which runs these stages again"
        )


def changed_modules(root: Path, stage: str) -> list[str]:
    """Return the modules of a stage that were changed, added or removed since its digest was written."""
    try:
        written = json.loads(digest_path(root, stage).read_text())
    except (OSError, ValueError):
        written = {}
    current = code_digest(stage)
    return sorted(name for name in written.keys() | current.keys() if written.get(name) != current.get(name))


def hash_module(path: Path) -> str:
    """Return the sha256 of a module's syntax tree.

    Equal for all Python versions that parse the module: fields that are empty are left out, so a field that a later
    version adds changes nothing. Raises MismatchError if the file is not valid Python.
    """
    return _read(path, _text(path))[0]


def hash_constants() -> str:
    """Return the sha256 of class, name and value of the fields in PARAMS that have a default."""
    return _hash_constants(tuple((path, _text(path)) for path in sorted((CODE / PARAMS).glob("*.py"))))


@cache
def _hash_constants(files: tuple[tuple[Path, str], ...]) -> str:
    trees = [_parse(*file) for file in files]
    sections = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    constants = sorted(
        [section.name, ast.unparse(field.target), *_tokens(field.value)]
        for section in sections
        for field in section.body
        if isinstance(field, ast.AnnAssign) and field.value
    )
    return hash_value(constants)


def imported_files(path: Path) -> set[str]:
    """Return the modules of CODE that `path` imports, directly or not, and itself, relative to CODE.

    Empty modules are left out, and so is what only PARAMS or PLANNING imports.
    """
    reached: set[Path] = set()
    waiting = [path]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            is_closed = any(module.is_relative_to(CODE / folder) for folder in (PARAMS, PLANNING))
            waiting += [] if is_closed else _imported_modules(module)
    return {str(module.relative_to(CODE)) for module in reached if module.stat().st_size}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _parse(path: Path, text: str) -> ast.Module:
    try:
        return _parse_text(text)
    except SyntaxError as error:
        raise MismatchError(
            f"{path} is not valid Python: {error}; correct it, then run `make deps`"
        ) from error


def _parse_text(text: str) -> ast.Module:
    """Return the syntax tree of a module.

    Python before 3.11.8 and 3.12.2 raises SystemError if another thread, such as one of Prefect, parses at the same
    time (gh-106905): then the text is parsed again.
    """
    for _ in range(MAX_PARSES):
        with suppress(SystemError):
            return ast.parse(text)
        time.sleep(PARSE_DELAY_S)
    return ast.parse(text)


def _tokens(value: object) -> Iterator[str]:
    """Yield a syntax tree as lines of text: node names, field names and constants."""
    if isinstance(value, list):
        for item in value:
            if not _is_bare_string(item):
                yield from _tokens(item)
    elif isinstance(value, ast.AST):
        yield f"({type(value).__name__}"
        for name, field in ast.iter_fields(value):
            if isinstance(value, ast.JoinedStr):  # Python 3.12 adds empty parts to some f-strings
                field = [part for part in field if not (isinstance(part, ast.Constant) and part.value == "")]
            if name not in ("kind", "type_comment", "ctx") and field not in (None, []):
                yield name
                yield from _tokens(field)
        yield ")"
    else:
        yield f"{type(value).__name__} {value!r}"


def _is_bare_string(node: object) -> bool:
    """Return whether a statement is a string alone: a docstring, or one below an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _read(path: Path, text: str) -> tuple[str, list[str]]:
    """Return the sha256 of a module's syntax tree, and what the module imports, once for all stages that share it."""
    tree, names = _parse(path, text), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256("\n".join(_tokens(tree)).encode()).hexdigest(), names


def _imported_modules(path: Path) -> list[Path]:
    parts = [
        name.split(".") for name in _read(path, _text(path))[1] if name.split(".")[0] in ("autolora", "flows")
    ]
    prefixes = {tuple(words[:end]) for words in parts for end in range(1, len(words) + 1)}
    modules = [CODE.joinpath(*prefix) for prefix in sorted(prefixes)]
    files = [file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py")]
    return [file for file in files if file.is_file()]


def main(arguments: list[str]) -> int:
    """Check or write all digests; return the exit status."""
    root = Path.cwd()
    try:
        if arguments == ["--write"]:
            print("code digests written: " + (", ".join(write(root)) or "none, all are up to date"))
        else:
            check(root, *STAGES)
            write_atomic(root / CHECKED, json.dumps({"checked": STAGES}) + "\n")
    except AutoLoraError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
