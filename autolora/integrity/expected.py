"""Which files should be on disk, and the hash of each: pool, outputs of stages, DVC's cache, copies of the index."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autolora.catalog.takedowns import takedowns_path
from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import HASHES, read_hashes
from autolora.index.served import copies_folder, copy_path, readable_revisions, served_digest, served_path
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import (
    Output,
    Records,
    folder_md5,
    object_path,
    read_list,
    read_lists,
    read_records,
)
from autolora.integrity.index_sources import working_digest
from autolora.integrity.taken_down import TakenDown, read_taken_down
from autolora.pool import batches, sketch_packs
from autolora.pool.evicted import evicted_batches
from autolora.releases.checks import GATE, read_decisions
from autolora.storage.git import committed_blobs, read_committed
from autolora.storage.hashes import hash_files


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExpectedFile:
    """One file that should be in the working tree, in DVC's cache, or in both."""

    kind: str
    """weights, renderings, sketches, copies, or the name of a stage; in the cache only: lists (of a folder's files) and
    takedowns"""
    path: Path | None = None
    """in the working tree"""
    object: Path | None = None
    """in DVC's cache"""
    md5: str | None = None
    sha256: str | None = None
    """of the downloaded file; of a rendering, which is stored as another file, it is the name only"""
    output: Output | None = None
    """the output of DVC that the file belongs to"""
    is_taken_down: bool = False
    """whether data/takedowns.jsonl of any branch lists the file, which is empty then"""

    @property
    def oid(self) -> str:
        """The md5 that names the object in the cache and in remotes; of a list it ends with .dir."""
        assert self.object is not None
        return f"{self.object.parent.name}{self.object.name}"

    @property
    def shown_path(self) -> Path:
        """The path that identifies the file in messages."""
        path = self.path or self.object
        assert path is not None
        return path


@dataclass(frozen=True, slots=True)
class ExpectedFolder:
    """One folder whose files are all known."""

    kind: str
    """batches, copies, or the name of a stage"""
    path: Path
    names: frozenset[str]
    """relative paths of the files"""


@dataclass(frozen=True, slots=True)
class Expectation:
    """All that should be on disk."""

    files: list[ExpectedFile] = field(default_factory=list)
    folders: list[ExpectedFolder] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Records.unreadable, and the same of takedowns, the gate's decisions, copies of the index and cache/served"""
    unversioned: list[str] = field(default_factory=list)
    """batches and sketch packs that DVC has no version of"""
    remote_only: list[ExpectedFile] = field(default_factory=list)
    """files of evicted batches, and the lists of these files"""
    unasked: list[str] = field(default_factory=list)
    """why the files of evicted batches are not known; empty if they are"""


def expect_all(root: Path) -> Expectation:
    """Return all that should be on disk. Raises MissingArtifact if DVC does not work in this repository."""
    records = read_records(root)
    found = Expectation(unreadable=dict(records.unreadable))
    taken_down = read_taken_down(root)
    if taken_down.is_list_damaged:
        found.unreadable[str(takedowns_path(root).relative_to(root))] = "damaged"
    try:
        read_decisions(root)
    except (MismatchError, MissingArtifact):
        found.unreadable[str(GATE)] = "damaged"
    _expect_batches(root, found, records, taken_down)
    _expect_packs(root, found, records)
    for output in records.outputs:
        if output.stage:
            _expect_output(root, found, output.stage, output)
    _expect_copies(root, found)
    known = {file.object for file in found.files if file.is_taken_down}
    for md5 in sorted(taken_down.md5):  # of other versions
        if (path := object_path(root, md5)) not in known:
            found.files.append(ExpectedFile(kind="takedowns", object=path, md5=md5, is_taken_down=True))
    return found


def _expect_batches(root: Path, found: Expectation, records: Records, taken_down: TakenDown) -> None:
    """Add the files of all batches: those of batches.jsonl, and those that DVC has a version of."""
    members: defaultdict[str, set[str]] = defaultdict(set)
    for kind, files in _members(root).items():
        for sha256, batch in files.items():
            members[batch].add(f"{kind}/{sha256}{batches.SUFFIXES[kind]}")
    outputs = _added_outputs(root, records, batches.batches_folder(root))
    evicted = {name: outputs[name] for name in evicted_batches(root) if name in outputs}
    try:
        lists = read_lists(root, [output.md5 for output in evicted.values()])
    except MissingArtifact as error:
        found.unasked.append(str(error))
    else:
        for output in evicted.values():
            found.remote_only.extend(_list_files(root, output))
            files_of = _files_of_batch(
                root, root / output.path, output, lists.get(output.md5, {}), taken_down
            )
            found.remote_only.extend(files_of)
    for name in sorted({*members, *outputs, *batches.batch_names(root)} - evicted.keys()):
        _expect_batch(root, found, name, members[name], outputs.get(name), taken_down)


def _expect_batch(
    root: Path,
    found: Expectation,
    name: str,
    members: Iterable[str],
    output: Output | None,
    taken_down: TakenDown,
) -> None:
    """Add the files of one batch. A batch that neither list describes holds what its folder holds."""
    folder = batches.batches_folder(root) / name
    listed = _list_of(root, output)
    names = {*members, *(listed or ())} or set(_names_in(folder))
    found.folders.append(ExpectedFolder("batches", folder, frozenset(names)))
    if output is None:
        found.unversioned.append(str(folder.relative_to(root)))
    files = {name: (listed or {}).get(name) for name in sorted(names)}
    found.files.extend(_list_files(root, output))
    found.files.extend(_files_of_batch(root, folder, output, files, taken_down))


def _files_of_batch(
    root: Path, folder: Path, output: Output | None, files: Mapping[str, str | None], taken_down: TakenDown
) -> Iterator[ExpectedFile]:
    """Yield the files of a batch. files: relative path -> md5, None if DVC has not recorded it."""
    for name, md5 in files.items():
        sha256 = Path(name).stem
        yield ExpectedFile(
            kind=name.partition("/")[0],
            path=folder / name,
            object=object_path(root, md5) if md5 else None,
            md5=md5,
            sha256=sha256,
            output=output,
            is_taken_down=sha256 in taken_down.sha256 or md5 in taken_down.md5,
        )


def _expect_packs(root: Path, found: Expectation, records: Records) -> None:
    """Add the sketch packs. One that DVC has no version of has no recorded hash and cannot be verified."""
    folder = sketch_packs.packs_folder(root)
    outputs = _added_outputs(root, records, folder)
    for name in sketch_packs.pack_names(root):
        if name not in outputs:
            found.unversioned.append(str((folder / name).relative_to(root)))
    found.files.extend(_file_of(root, "sketches", output) for output in outputs.values())


def _expect_output(root: Path, found: Expectation, stage: str, output: Output) -> None:
    """Add the files of one output of a stage."""
    folder, listed = root / output.path, None
    if not output.is_folder:
        found.files.append(_file_of(root, stage, output))
    elif output.in_cache:
        found.files.extend(_list_files(root, output))
        listed = _list_of(root, output)
    elif (listed := _committed_list(root, output)) is None and md5_of_folder(folder) != output.md5:
        found.unreadable[output.path] = "damaged"
    if listed is not None:
        found.folders.append(ExpectedFolder(stage, folder, frozenset(listed)))
        for name, md5 in listed.items():
            cached = object_path(root, md5) if output.in_cache else None
            row = ExpectedFile(kind=stage, path=folder / name, object=cached, md5=md5, output=output)
            found.files.append(row)


def _committed_list(root: Path, output: Output) -> dict[str, str] | None:
    """Return path -> md5 of the files of a folder that git stores, if the last commit has what DVC has recorded.

    Otherwise nothing tells the hash of each file.
    """
    texts = {name: read_committed(root, "HEAD", name) for name in committed_blobs(root, output.path)}
    committed = {
        str(Path(name).relative_to(output.path)): hashlib.md5(
            text.encode(), usedforsecurity=False
        ).hexdigest()
        for name, text in texts.items()
    }
    return committed if folder_md5(committed) == output.md5 else None


def md5_of_folder(folder: Path) -> str:
    """Return the md5 that DVC would record of a folder."""
    return folder_md5(hash_files(folder, ContentReader().md5))


def _expect_copies(root: Path, found: Expectation) -> None:
    """Add the files of the copies of the index that searches read."""
    try:
        released = served_digest(root)
    except MissingArtifact:
        released = None
        found.unreadable[str(served_path(root).relative_to(root))] = "damaged"
    for folder in _copies(root, released):
        hashes = read_hashes(folder)
        if hashes is None:
            problem = "damaged" if (folder / HASHES).exists() else "missing"
            found.unreadable[str((folder / HASHES).relative_to(root))] = problem
            continue
        found.folders.append(ExpectedFolder("copies", folder, frozenset({*hashes, HASHES})))
        found.files.extend(
            ExpectedFile(kind="copies", path=folder / name, sha256=sha256) for name, sha256 in hashes.items()
        )


def _copies(root: Path, released: str | None) -> list[Path]:
    """Return the folders of all copies on disk, and of the released one if a search cannot make it again."""
    names = {path.name for path in copies_folder(root).glob("*") if not path.name.startswith(".")}
    if released and released not in {working_digest(root), *(row.index for row in readable_revisions(root))}:
        names.add(released)
    return [copy_path(root, name) for name in sorted(names)]


def _members(root: Path) -> batches.Members:
    """Return the batch of each file; none if batches.jsonl is damaged, which its own hash shows."""
    try:
        return batches.members(root)
    except (MissingArtifact, UnicodeDecodeError):
        return {}


def _added_outputs(root: Path, records: Records, folder: Path) -> dict[str, Output]:
    """Return name -> output of the batches or packs in a folder that DVC has a version of."""
    prefix = f"{folder.relative_to(root)}/"
    return {
        output.path.removeprefix(prefix): output
        for output in records.outputs
        if output.stage is None and output.path.startswith(prefix)
    }


def _list_of(root: Path, output: Output | None) -> dict[str, str] | None:
    """Return path -> md5 of the files of a folder; None if DVC has no version or its list is missing or damaged."""
    return read_list(object_path(root, output.md5), output.md5) if output and output.is_folder else None


def _list_files(root: Path, output: Output | None) -> list[ExpectedFile]:
    """Return the object with the list of a folder's files."""
    if output is None or not output.is_folder:
        return []
    md5 = output.md5.removesuffix(".dir")
    return [ExpectedFile(kind="lists", object=object_path(root, output.md5), md5=md5, output=output)]


def _file_of(root: Path, kind: str, output: Output) -> ExpectedFile:
    """Return the file that an output consists of."""
    cached = object_path(root, output.md5) if output.in_cache else None
    return ExpectedFile(kind=kind, path=root / output.path, object=cached, md5=output.md5, output=output)


def _names_in(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files below a folder."""
    yield from (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
