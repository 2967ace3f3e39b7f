"""What DVC records: the hash of each output in dvc.lock and .dvc files, lists of folders, and objects in the cache."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from autolora.errors import MissingArtifact
from autolora.extras import check_installed
from autolora.pool.batches import batches_folder
from autolora.pool.sketch_packs import current_recipe, packs_folder, recipe_of
from autolora.storage.git import blob_hash, committed_blobs, read_committed

LOCK, PUSHED = "dvc.lock", "cache/pushed.json"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""a safe loader, in C because dvc.lock and hundreds of .dvc files are read"""
REMOTE_OBJECTS = "flows.remote_objects"
"""program that asks the default remote for objects: this package imports no DVC"""
FOLDER_SUFFIX = ".dir"
"""end of the md5 of a folder: its object is a JSON list of the md5 and the path of each file"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A file or folder whose hash DVC records."""

    path: str
    """relative to the root of the repository"""
    md5: str
    target: str
    """what `dvc fetch` takes: the .dvc file, or the path of a stage's output"""
    stage: str | None
    """the stage that writes it; None for batches and sketch packs, which are given to DVC with `dvc add`"""
    in_cache: bool = True
    """False for a file that git stores"""
    size: int | None = None
    """bytes, of a folder the sum over its files; None if DVC has not recorded it"""

    @property
    def is_folder(self) -> bool:
        """Whether the output is a folder."""
        return self.md5.endswith(FOLDER_SUFFIX)


@dataclass(frozen=True, slots=True)
class Records:
    """The outputs of a repository, and the .dvc files and dvc.lock that cannot be read."""

    outputs: tuple[Output, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """path of a file of DVC -> what is wrong: missing, empty or damaged"""


def read_records(root: Path) -> Records:
    """Return all outputs of dvc.lock, batches and sketch packs."""
    outputs: list[Output] = []
    unreadable: dict[str, str] = {}
    committed = committed_blobs(
        root, LOCK, *(str(folder.relative_to(root)) for folder in added_folders(root))
    )
    for path in _record_paths(root, committed):
        try:
            found = _locked_outputs(root) if path == LOCK else [_added_output(root, path)]
            if path != LOCK and _contradicts_commit(root, found[0], committed.get(path)):
                raise ValueError(f"{path} differs from the last commit, and not because of a new version")
        except FileNotFoundError:
            unreadable[path] = "missing"
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            unreadable[path] = "damaged" if (root / path).stat().st_size else "empty"
        else:
            outputs += found
    return Records(tuple(outputs), unreadable)


def declared_outputs(root: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield stage and path of each output in dvc.yaml, and whether DVC keeps it; git keeps the others."""
    for name, stage in _read_yaml(root / "dvc.yaml")["stages"].items():
        for out in chain.from_iterable(stage.get(kind, ()) for kind in ("outs", "metrics", "plots")):
            options = {out: {}} if isinstance(out, str) else out
            yield from ((name, path, chosen.get("cache", True)) for path, chosen in options.items())


def added_folders(root: Path) -> tuple[Path, Path]:
    """Return the folders whose entries are given to DVC with `dvc add`."""
    return batches_folder(root), packs_folder(root)


def read_list(path: Path, md5: str) -> dict[str, str] | None:
    """Return path -> md5 of the files of a folder from the folder's object; None if it is missing or damaged."""
    try:
        return _parse_list(path.read_bytes(), md5)
    except OSError:
        return None


def read_lists(root: Path, md5s: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return md5 -> list of a folder, of those that DVC's cache or its default remote holds; writes nothing.

    Raises MissingArtifact if the cache lacks one, and the remote cannot be asked.
    """
    cached = {md5: read_list(object_path(root, md5), md5) for md5 in md5s}
    lists = {md5: found for md5, found in cached.items() if found is not None}
    if missing := sorted(cached.keys() - lists.keys()):
        texts = json.loads(_run(root, ["-m", REMOTE_OBJECTS, "texts"], "remote", json.dumps(missing)))
        parsed = {md5: _parse_list(text.encode(), md5) for md5, text in texts.items()}
        lists |= {md5: found for md5, found in parsed.items() if found is not None}
    return lists


def _parse_list(content: bytes, md5: str) -> dict[str, str] | None:
    if hashlib.md5(content).hexdigest() + FOLDER_SUFFIX != md5:
        return None
    return {row["relpath"]: row["md5"] for row in json.loads(content)}


def write_list(files: Mapping[str, str]) -> bytes:
    """Return the object of a folder, as DVC writes it, given path -> md5 of its files."""
    return json.dumps([{"md5": files[path], "relpath": path} for path in sorted(files)]).encode()


def folder_md5(files: Mapping[str, str]) -> str:
    """Return the md5 that DVC records of a folder, given path -> md5 of its files."""
    return hashlib.md5(write_list(files), usedforsecurity=False).hexdigest() + FOLDER_SUFFIX


def object_path(root: Path, md5: str) -> Path:
    """Return the path of an object in DVC's cache."""
    return cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]


@lru_cache(maxsize=4)
def cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache. Raises MissingArtifact if DVC does not work in this repository."""
    return Path(run_dvc(root, "cache", "dir").strip())


def dvc_setting(root: Path, name: str) -> str:
    """Return a setting of DVC, e.g. core.remote; empty if it is not set."""
    try:
        return run_dvc(root, "config", name).strip()
    except MissingArtifact:
        return ""


def sizes_in_remote(root: Path, md5s: Iterable[str]) -> dict[str, int]:
    """Return md5 -> bytes of the objects that the default remote holds. Raises MissingArtifact if it cannot be asked.

    `dvc status --cloud` does not serve: it removes damaged objects from the cache.
    """
    sizes: dict[str, int] = json.loads(
        _run(root, ["-m", REMOTE_OBJECTS, "sizes"], "remote", json.dumps([*md5s]))
    )
    return sizes


def run_dvc(root: Path, *arguments: str) -> str:
    """Run a DVC command and return its output. Raises MissingArtifact with DVC's reason if it fails."""
    return _run(root, ["-m", "dvc", *arguments], arguments[0])


def _run(root: Path, arguments: Sequence[str], name: str, stdin: str = "") -> str:
    """Run Python with DVC in the repository and return its output; name: of the command, for the error."""
    check_installed(f"`dvc {name}`", "dvc")
    environment = os.environ | {
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, text=True, capture_output=True, input=stdin
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        reasons = [line for line in lines if "ERROR" in line or "No module" in line] or lines[-1:]
        raise MissingArtifact(
            f"`dvc {name}` failed in {root}: {reasons[0].removeprefix('ERROR: ')}; `autolora "
            "doctor` checks DVC and its remote"
        )
    return done.stdout


def _record_paths(root: Path, committed: Mapping[str, str]) -> list[str]:
    """Return dvc.lock and the .dvc files of batches and packs, on disk or in the last commit.

    The .dvc file of a pack of a former recipe is left out if it is not on disk: a refresh removes it.
    """
    on_disk = {str(path.relative_to(root)) for folder in added_folders(root) for path in folder.glob("*.dvc")}
    absent = {path for path in committed if path == LOCK or path.endswith(".dvc")} - on_disk
    recipe = current_recipe(root) if absent else None
    lock = {LOCK} if (root / LOCK).exists() else set()
    return sorted(on_disk | lock | {path for path in absent if not _is_former_pack(root, path, recipe)})


def _contradicts_commit(root: Path, output: Output, blob: str | None) -> bool:
    """Return whether a .dvc file differs from the committed one although its version does not.

    A new version is one whose object is in the cache; without that, the committed one is believed if it is cached.
    """
    content = (root / output.target).read_bytes()
    if blob is None or blob_hash(content, blob) == blob:
        return False
    try:
        committed = _md5(yaml.safe_load(read_committed(root, "HEAD", output.target))["outs"][0])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return False
    if committed == output.md5:
        return True
    return not object_path(root, output.md5).exists() and object_path(root, committed).exists()


def _is_former_pack(root: Path, path: str, recipe: str | None) -> bool:
    """Return whether a .dvc file is that of a sketch pack of another recipe than the pool's."""
    file = root / path.removesuffix(".dvc")
    return file.parent == packs_folder(root) and recipe_of(file.name) != recipe


def _added_output(root: Path, path: str) -> Output:
    """Read a .dvc file."""
    (out,) = _read_yaml(root / path)["outs"]
    output = str(Path(path).parent / out["path"])
    return Output(path=output, md5=_md5(out), target=path, stage=None, size=out.get("size"))


def _locked_outputs(root: Path) -> list[Output]:
    """Read dvc.lock; dvc.yaml tells which outputs git stores."""
    in_git = {path for _, path, is_cached in declared_outputs(root) if not is_cached}
    return [
        Output(
            path=out["path"],
            md5=_md5(out),
            target=out["path"],
            stage=stage,
            in_cache=out["path"] not in in_git,
            size=out.get("size"),
        )
        for stage, entry in _read_yaml(root / LOCK)["stages"].items()
        for out in entry["outs"]
    ]


def _read_yaml(path: Path) -> Mapping[str, Any]:
    """Return the mapping in a YAML file; raises ValueError if it holds anything else."""
    content = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    if not isinstance(content, dict):
        raise ValueError(f"{path} contains no mapping")
    return content


def _md5(out: Mapping[str, Any]) -> str:
    """Return the md5 of an output; raises ValueError if it is not 32 hex digits."""
    md5: str = out["md5"]
    if not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", md5):
        raise ValueError(f"{md5} is not an md5")
    return md5
