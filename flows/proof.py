"""`autolora takedown --prove`: what is left of everything that was taken down, and where.

One pass over every file of the working tree, every object of DVC's cache and remotes, and every object of git searches
for hashes and names; data files of tables are decompressed. Weights are also found under another name, by their size
and sha256. Weights, images, and the rows of their captions are content; all else is a name.
"""

import hashlib
import io
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import yaml

from autolora.catalog import store as catalog
from autolora.catalog.takedowns import Takedown
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.integrity.dvc_records import LOADER
from autolora.releases.tags import PREFIX
from autolora.storage.byte_search import ByteSearch
from autolora.storage.git import committed_blobs, list_tags
from autolora.storage.hashes import canonical_json
from autolora.storage.tables import read_texts
from autolora.wording import counted
from flows.dvc_objects import EMPTY_MD5, ObjectStore, open_stores
from flows.stage import ROOT

TREE, GIT = "the working tree", "git's history"
CAPTION_FILES = ("data/captions/", "data/dataset/captions.lance/", "data/dataset/prompts.lance/")
"""files in which a row with the hash of an image has its caption"""
MIN_BYTES = 8
"""of a name that is searched for: shorter ones occur by chance"""
LANCE = b"LANC"
"""end of a data file of a table"""
MAX_TAGS = 3
"""releases that a line names"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One file or object in which something is left."""

    kind: str
    """content or name"""
    place: str
    """TREE, GIT, or the name of a store"""
    name: str
    """path in the place; of an object its md5, or in git its hash"""
    path: str
    """of the file of the project that it is a version of; empty if that is unknown"""
    needed_by: str
    """of an object: what lists it, the working tree or releases"""


class Wanted:
    """What identifies the files and images that were taken down."""

    def __init__(self, rows: Sequence[Takedown]) -> None:
        self.sha256 = {row.sha256 for row in rows if row.sha256}
        self.md5 = {md5 for row in rows for md5 in row.md5}
        own = {(row.hub, row.id) for row in rows if row.kind == "weights" and row.hub}
        listings = catalog.read_all_or_empty(ROOT)
        listed = [item for item in listings if (item.hub, item.id) in own]
        self.sizes = {item.size for item in listed}
        files = {PurePath(row.file).name for row in rows if row.kind == "weights" and row.hub}
        self.shared = files & {
            PurePath(item.file).name for item in listings if (item.hub, item.id) not in own
        }
        """names of files that others have too"""
        urls = {row.file for row in rows if row.kind == "rendering"} | {item.url for item in listed}
        ids = {f"{hub}:{id}" for hub, id in own} | {id for _, id in own if "/" in id}
        self.words = {text.encode() for text in urls | ids | (files - self.shared) if len(text) >= MIN_BYTES}
        rows_of = {canonical_json({"hub": hub, "id": id})[1:-1].encode() for hub, id in own}
        self.hashes = {text.encode() for text in self.sha256}
        self.patterns = self.hashes | {text.encode() for text in self.md5} | rows_of

    def search(self) -> ByteSearch:
        """Return the search for all of it."""
        return ByteSearch(self.patterns, self.words)


@dataclass(slots=True)
class Versions:
    """What dvc.lock and .dvc files of all commits and of the working tree list."""

    paths: dict[str, str] = field(default_factory=dict)
    """md5 of an object -> path of the file, or folder, that it is a version of"""
    files: dict[str, set[str]] = field(default_factory=dict)
    """md5 of a folder's object -> md5 of its files"""
    users: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """md5 -> TREE and the releases that list it"""

    def add(self, name: str, text: str, stores: Sequence[ObjectStore], tags: Collection[str] | None) -> None:
        """Add what one version of dvc.lock, or of a .dvc file, lists.

        name: its path. tags: releases with this version; None for the version of the working tree.
        """
        try:
            outs = [*_outputs(name, yaml.load(text, LOADER))]
        except (yaml.YAMLError, LookupError, TypeError, AttributeError):
            return  # a half-written version
        for path, md5 in outs:
            self.paths.setdefault(md5, path)
            if md5.endswith(".dir") and md5 not in self.files:
                self.files[md5] = set()
                for row in _list(md5, stores):
                    self.files[md5].add(row["md5"])
                    self.paths.setdefault(row["md5"], f"{path}/{row['relpath']}")
            for member in (md5, *self.files.get(md5, ())):
                self.users[member] |= {TREE} if tags is None else {*tags}

    def needed_by(self, md5: str) -> str:
        """Return what lists an object: the working tree, releases, or nothing of these."""
        users = self.users[md5]
        tags = sorted(users - {TREE})
        listed = [f"{tags[0]} … {tags[-1]} ({len(tags)})"] if len(tags) > MAX_TAGS else tags
        return ", ".join([*({TREE} & users), *listed]) or "no release"


class Proof:
    """The search, as far as it has come."""

    def __init__(self, rows: Sequence[Takedown]) -> None:
        self.stores, self.problems = open_stores()
        self._git = _git_paths()
        self._versions = self._read_versions()
        self._sizes = [store.sizes() for store in self.stores]
        self.wanted = Wanted(rows)
        self._search = self.wanted.search()
        self._found: dict[tuple[str, str], Finding] = {}

    def findings(self) -> list[Finding]:
        """Return all that is left, content first."""
        self._search_tree()
        self._search_git()
        self._search_stores()
        return sorted(self._found.values(), key=lambda item: (item.kind, item.place, item.path))

    def _read_versions(self) -> Versions:
        versions = Versions()
        working = [ROOT / "dvc.lock", *(ROOT / "data" / "pool").glob("*/*.dvc")]
        for path in filter(Path.exists, working):
            versions.add(str(path.relative_to(ROOT)), path.read_text(), self.stores, tags=None)
        tags: defaultdict[str, set[str]] = defaultdict(set)
        for tag, commit in list_tags(ROOT, PREFIX).items():
            for oid in committed_blobs(ROOT, "dvc.lock", "data/pool", rev=commit).values():
                tags[oid].add(tag)
        records = {
            oid: name for oid, name in self._git.items() if name == "dvc.lock" or name.endswith(".dvc")
        }
        for oid, _, content in _git_objects([*records]):
            versions.add(records[oid], content.decode(errors="replace"), self.stores, tags[oid])
        return versions

    def _search_tree(self) -> None:
        """Search the working tree, without what is searched otherwise, and without environments of Python."""
        searched = {(ROOT / ".git" / "objects"), *(store.folder for store in self.stores if store.folder)}
        for top, folders, files in os.walk(ROOT):
            folders[:] = [
                name for name in folders if Path(top, name) not in searched and not name.startswith(".venv")
            ]
            for path in (Path(top, name) for name in files):
                if path.is_file() and not path.is_symlink():
                    with suppress(FileNotFoundError):  # a page that is running may remove files of cache/
                        self._search_file(path, path.relative_to(ROOT).as_posix())

    def _search_file(self, path: Path, name: str) -> None:
        """Search one file. name: its path in the project."""
        size = path.stat().st_size
        with path.open("rb") as stream:
            found, is_copy = self._look(stream, size, name)
        found |= self._search.in_bytes(name.encode())
        is_named = path.name.partition(".")[0] in self.wanted.sha256 and size > 0
        is_copy |= is_named and "sketches" not in path.parts
        self._add(GIT if name.startswith(".git/") else TREE, name, name, found, is_copy)

    def _search_git(self) -> None:
        for oid, kind, content in _git_objects():
            path = self._git.get(oid, "") if kind == "blob" else f"a {kind}"
            found, is_copy = self._look(io.BytesIO(content), len(content), path)
            self._add(GIT, oid, path, found, is_copy)

    def _search_stores(self) -> None:
        """Search each object once, in the first store that has it; DVC names objects by their content."""
        for md5, size in sorted({item for sizes in self._sizes for item in sizes.items()}):
            holders = [
                store for store, sizes in zip(self.stores, self._sizes, strict=True) if sizes.get(md5) == size
            ]
            path = self._versions.paths.get(md5, "")
            found: set[bytes] = self.wanted.patterns & {md5.encode()}
            is_copy = bool(found) or (PurePath(path).stem in self.wanted.sha256 and md5 != EMPTY_MD5)
            if size and (holders[0] is self.stores[0] or not _is_member(path)):
                with holders[0].open(md5) as stream:
                    texts, is_same = self._look(stream, size, path)
                found, is_copy = found | texts, is_copy or is_same
            for store in holders:
                self._add(store.name, md5, path, found, is_copy and size > 0, self._versions.needed_by(md5))

    def _look(self, stream: BinaryIO, size: int, path: str) -> tuple[set[bytes], bool]:
        """Return what a file contains, and whether it is a file that was taken down. path: as in Finding."""
        found = self._search.in_stream(stream)
        stream.seek(max(0, size - len(LANCE)))
        if size > len(LANCE) and stream.read() == LANCE:
            try:
                found |= self._search.in_bytes(_decompressed(stream))
            except MissingArtifact as error:  # a manifest ends like a data file
                self.problems += [f"{path}: {error}"] if path.endswith(".lance") else []
        is_copy = False
        if size in self.wanted.sizes:
            stream.seek(0)
            is_copy = _sha256(stream) in self.wanted.sha256
        return found, is_copy

    def _add(
        self, place: str, name: str, path: str, found: Collection[bytes], is_copy: bool, needed_by: str = ""
    ) -> None:
        if found or is_copy:
            is_caption = path.startswith(CAPTION_FILES) and not self.wanted.hashes.isdisjoint(found)
            kind = "content" if is_copy or is_caption else "name"
            row = Finding(kind=kind, place=place, name=name, path=path, needed_by=needed_by)
            self._found.setdefault((place, name), row)


def choose(rows: Sequence[Takedown], names: Sequence[str]) -> list[Takedown]:
    """Return the takedowns of these names, with all listings of the same files, and their images; all without names.

    Raises MissingArtifact if the list has no such name.
    """
    chosen: list[Takedown] = [] if names else [*rows]
    for name in names:
        named = [row for row in rows if _is_named(row, name)]
        if not named:
            raise MissingArtifact(
                f"data/takedowns.jsonl has no '{name}': expected hub:id, id, or a sha256 (6 digits or more) of what "
                "was taken down"
            )
        chosen += named
    hashes = {row.sha256 for row in chosen if row.sha256}
    same = [row for row in rows if row in chosen or row.sha256 in hashes]
    listings = {(row.hub, row.id) for row in same if row.hub and row.kind == "weights"}
    return [row for row in rows if row in same or (row.hub, row.id) in listings]


def describe(proof: Proof, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of the proof: what is left by kind, place and folder, and what needs it."""
    wanted = proof.wanted
    yield f"searched for {counted(len(wanted.patterns | wanted.words), 'name')}"
    for name in sorted(wanted.shared):
        yield f"not searched for, because other adapters have it too: the file name {name}"
    groups: defaultdict[tuple[str, str, str, str], list[Finding]] = defaultdict(list)
    for found in findings:
        area = "/".join(PurePath(found.path).parts[:2]) or "no revision lists it"
        groups[found.kind, found.place, area, found.needed_by].append(found)
    for (kind, place, area, needed_by), group in groups.items():
        example = f"{group[0].name}{f' and {len(group) - 1} more' if len(group) > 1 else ''}"
        yield f"{kind} in {place}, {area} ({example}){f': of {needed_by}' if needed_by else ''}"


def check(proof: Proof, findings: Sequence[Finding]) -> None:
    """Raise AutoLoraError if content is left, or a place could not be searched."""
    if proof.problems:
        raise AutoLoraError(
            f"nothing is proven: {' | '.join(proof.problems)}; correct the cause, then prove again"
        )
    if left := [found for found in findings if found.kind == "content"]:
        raise AutoLoraError(
            f"content is left in {counted(len(left), 'file or object', 'files and objects')}: remove what the lines "
            "that begin with `content` name (docs/howto/takedown.md says how), then prove again"
        )


def _is_named(row: Takedown, name: str) -> bool:
    names = {row.id, f"{row.hub}:{row.id}", f"{row.id}/{row.file}", f"{row.hub}:{row.id}/{row.file}"}
    return name in names or (len(name) >= 6 and (row.sha256 or "").startswith(name.lower()))


def _is_member(path: str) -> bool:
    """Return whether an object is a file or image of the pool, whose name says which: it need not be downloaded."""
    parts = PurePath(path).parts
    return parts[:3] == ("data", "pool", "batches") and parts[-2:-1] in (("weights",), ("renderings",))


def _outputs(name: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and md5 of what a dvc.lock or .dvc file lists."""
    if name == "dvc.lock":
        yield from (
            (out["path"], out["md5"]) for entry in content["stages"].values() for out in entry["outs"]
        )
    else:
        yield from (((PurePath(name).parent / out["path"]).as_posix(), out["md5"]) for out in content["outs"])


def _list(md5: str, stores: Sequence[ObjectStore]) -> list[dict[str, str]]:
    """Return the files of a folder; none if no store has its object."""
    content = next((content for store in stores if (content := store.read(md5))), b"[]")
    rows: list[dict[str, str]] = json.loads(content)
    return rows


def _decompressed(stream: BinaryIO) -> bytes:
    """Return the texts of a data file of a table. Raises MissingArtifact if it is none, or damaged."""
    with tempfile.NamedTemporaryFile(suffix=".lance") as file:
        stream.seek(0)
        while block := stream.read(1 << 20):
            file.write(block)
        file.flush()
        return read_texts(Path(file.name))


def _git_paths() -> dict[str, str]:
    """Return the hash of each object of git that a branch, a tag or the reflog reaches, and a path of it."""
    command = ["git", "rev-list", "--all", "--reflog", "--objects"]
    listed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True).stdout
    pairs = (line.partition(" ") for line in listed.splitlines())
    return {oid: path for oid, _, path in pairs if path}


def _git_objects(oids: Sequence[str] | None = None) -> Iterator[tuple[str, str, bytes]]:
    """Yield hash, type and content of objects of git; without `oids` of all, also of those that nothing reaches."""
    which = ["--batch-all-objects", "--unordered"] if oids is None else []
    with tempfile.TemporaryFile() as names:
        names.write("".join(f"{oid}\n" for oid in oids or ()).encode())
        names.seek(0)
        command = ["git", "cat-file", "--batch", "--buffer", *which]
        with subprocess.Popen(command, cwd=ROOT, stdin=names, stdout=subprocess.PIPE) as process:
            assert process.stdout
            for header in iter(process.stdout.readline, b""):
                oid, kind, size = header.decode().split()
                yield oid, kind, process.stdout.read(int(size))
                process.stdout.read(1)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
