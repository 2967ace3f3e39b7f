"""`autolora takedown --prove`: what is left of everything that was taken down, where, and what removes it.

One pass over every file of the working tree, every object of DVC's cache and remotes, and every object of git searches
for hashes, names and captions; data files of tables are decompressed. Weights are also found under another name, by
their size and sha256. Weights, images and captions are content; what was computed from them, such as vectors, is
derived; all else is a name.
"""

import hashlib
import io
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from autolora.storage.git import list_tags, read_revisions
from autolora.storage.hashes import canonical_json, hash_value
from autolora.storage.tables import read_texts
from autolora.wording import counted
from flows.dvc_objects import EMPTY_MD5, ObjectStore, open_stores
from flows.stage import ROOT

TREE, GIT = "the working tree", "git's history"
KINDS = ("content", "derived", "name")
CAPTIONS, IMAGE = "data/captions/captions.jsonl", b'"image":"'
"""path of the captions, and what the sha256 of the image follows in each line"""
CAPTION_FILES = ("data/captions/", "data/dataset/captions.lance/", "data/dataset/prompts.lance/")
"""files in which a row with the hash of an image has its caption"""
LOCK = "data/training.jsonl"
MIN_BYTES = 8
"""of a name or caption that is searched for: shorter ones occur by chance"""
LANCE = b"LANC"
"""end of a data file of a table"""
REWRITE = (
    "stays in the commits, unless they are rewritten: `git filter-repo --replace-text FILE --replace-message FILE`, "
    "with one name per line in FILE"
)
APPLY = "`autolora takedown --apply`"
NEEDED = "stays: DVC can pull older releases only while it lists the emptied files"
REBUILD = "`rm -rf data/dataset data/index`, then `dvc repro --force --single-item dataset index`"
ADVICE = (
    ("data/takedowns.jsonl", "name", "stays: the list keeps it out"),
    ("data/catalog", "name", "stays: the record of the withdrawal"),
    ("data/gate.jsonl", "name", "stays: the history of the gate"),
    ("data/training.jsonl", "name", "leaves the lock once `dataset.train_until` moves"),
    ("data/encoder", "derived", "trained on it: trained without it once `dataset.train_until` moves"),
    ("data/fusion", "derived", "trained on it: trained without it once `dataset.train_until` moves"),
    (
        "data/pool/sketches",
        "derived",
        "a random projection: change `pool.sketch_size`, then `autolora refresh`",
    ),
    ("data/pool/open/sketches", "derived", "a random projection: `autolora takedown --apply`"),
    ("data/pool/batches", "name", NEEDED),
    ("data/pool", "name", "stays: the record of what the pool has read"),
    ("data/refresh.json", "name", "stays until a later refresh with changes"),
    (
        "data/index",
        "derived",
        f"`autolora refresh` takes out its row; files of the table keep it until {REBUILD}",
    ),
    ("cache/index", "derived", "left out whenever it is opened; the copy: `autolora prune`"),
    ("data/dataset", "name", f"`autolora refresh` takes it out; files of the table keep it until {REBUILD}"),
    ("data", "name", "`autolora refresh` takes it out"),
    ("digests", "name", "`autolora refresh` takes it out"),
    ("metrics", "name", "`autolora refresh` takes it out"),
    ("reports", "name", "`autolora refresh` writes it again"),
    ("cache/fusion_texts", "derived", "an encoded caption: delete it"),
    ("cache", "name", "`autolora refresh` writes it again; otherwise delete it"),
    (".dvc", "name", "a record of DVC: delete .dvc/tmp"),
    ("images", "name", "an image that was generated with it: delete it"),
    ("", "name", "edit or delete it"),
)
"""beginning of a path, what its file has of an adapter at least, and what removes it; the first that fits"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One file or object in which something is left."""

    kind: str
    """one of KINDS"""
    place: str
    """e.g. TREE; the name of a store; a folder"""
    name: str
    """path in the place; of an object its md5, or in git its hash"""
    path: str
    """of the file of the project that it is a version of; empty if that is unknown"""
    advice: str
    """what removes it, or why it stays"""


class Wanted:
    """What identifies the files and images that were taken down, and their captions."""

    def __init__(self, rows: Sequence[Takedown]) -> None:
        self.sha256 = {row.sha256 for row in rows if row.sha256}
        self.md5 = {md5 for row in rows for md5 in row.md5}
        self.images = {row.sha256 for row in rows if row.kind == "rendering" and row.sha256}
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
        self.patterns = {text.encode() for text in self.sha256 | self.md5} | rows_of
        self.captions: set[bytes] = set()

    def learn_captions(self, versions: Iterable[bytes]) -> None:
        """Remember the captions of the images; without those that another caption or a prompt of the catalog contains.

        versions: of the file of all captions.
        """
        images, shared = {image.encode() for image in self.images}, set[bytes]()
        texts: dict[bytes, bytes] = {}  # as JSON escapes it -> as it is
        for content in versions:
            lines: dict[bool, list[bytes]] = {True: [], False: []}
            for line in content.splitlines():
                lines[line.partition(IMAGE)[2][:64] in images].append(line)
            found = {json.loads(line)["text"] for line in lines[True]}
            own = {json.dumps(text, ensure_ascii=False)[1:-1].encode(): text.encode() for text in found}
            texts |= {escaped: text for escaped, text in own.items() if len(text) >= MIN_BYTES}
            shared |= ByteSearch(texts).in_bytes(b"\n".join(lines[False]))
        for path in catalog.catalog_files(ROOT):
            shared |= ByteSearch(texts).in_bytes(path.read_bytes())
        own_texts = [(escaped, text) for escaped, text in texts.items() if escaped not in shared]
        self.captions = {form for forms in own_texts for form in forms}
        self.patterns |= {hash_value(text.decode()).encode() for _, text in own_texts}  # names of ENCODED

    def search(self) -> ByteSearch:
        """Return the search for all of it."""
        return ByteSearch(self.patterns | self.captions, self.words)


@dataclass(slots=True)
class Versions:
    """What dvc.lock and .dvc files of all commits and of the working tree list."""

    paths: dict[str, str] = field(default_factory=dict)
    """md5 of an object -> path of the file, or folder, that it is a version of"""
    current: set[str] = field(default_factory=set)
    """md5 of the objects of the working tree"""
    files: dict[str, set[str]] = field(default_factory=dict)
    """md5 of a folder's object -> md5 of its files"""
    trainings: set[tuple[str, str, str]] = field(default_factory=set)
    """md5 of a training lock; path and md5 of an output that was trained by it"""
    tags: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """md5 -> releases that list it"""

    def add(
        self, name: str, text: str, stores: Sequence[ObjectStore], is_current: bool, tag: str = ""
    ) -> None:
        """Add what one version of dvc.lock, or of a .dvc file, lists. name: its path."""
        try:
            content = yaml.load(text, LOADER)
            outs = [*_outputs(name, content, self.trainings)]
        except (yaml.YAMLError, LookupError, TypeError, AttributeError):
            return  # a half-written version
        for path, md5 in outs:
            self.paths.setdefault(md5, path)
            if md5.endswith(".dir") and md5 not in self.files:
                self.files[md5] = set()
                for row in _list(md5, stores):
                    self.files[md5].add(row["md5"])
                    self.paths.setdefault(row["md5"], f"{path}/{row['relpath']}")
            members = {md5, *self.files.get(md5, ())}
            self.current |= members if is_current else set()
            for member in members if tag else ():
                self.tags[member].add(tag)


class Proof:
    """The search, as far as it has come."""

    def __init__(self, rows: Sequence[Takedown], folders: Sequence[Path] = ()) -> None:
        """folders: outside the project, which are searched too."""
        self.stores, self.problems = open_stores()
        self._git = _git_paths()
        self._versions = self._read_versions()
        self._sizes = [store.sizes() for store in self.stores]
        self._folders = folders
        self.wanted = Wanted(rows)
        self.wanted.learn_captions(self._caption_files())
        self._search = self.wanted.search()
        self._locks: set[str] = set()
        """md5 of the training locks that name it"""
        self._found: dict[tuple[str, str], Finding] = {}

    def findings(self) -> list[Finding]:
        """Return all that is left, content first."""
        self._search_tree(ROOT, TREE)
        for folder in self._folders:
            self._search_tree(folder, str(folder))
        self._search_git()
        self._search_stores()
        self._name_trained()
        return sorted(self._found.values(), key=lambda item: (KINDS.index(item.kind), item.place, item.path))

    def _read_versions(self) -> Versions:
        versions = Versions()
        working = [ROOT / "dvc.lock", *(ROOT / "data" / "pool").glob("*/*.dvc")]
        for path in filter(Path.exists, working):
            versions.add(str(path.relative_to(ROOT)), path.read_text(), self.stores, is_current=True)
        tagged = list_tags(ROOT, PREFIX)
        texts = read_revisions(ROOT, [*tagged.values()], "dvc.lock")
        for tag, commit in tagged.items():
            versions.add("dvc.lock", texts.get(commit, ""), self.stores, is_current=False, tag=tag)
        records = {
            oid: name for oid, name in self._git.items() if name == "dvc.lock" or name.endswith(".dvc")
        }
        for oid, _, content in _git_objects([*records]):
            versions.add(records[oid], content.decode(errors="replace"), self.stores, is_current=False)
        return versions

    def _caption_files(self) -> Iterator[bytes]:
        """Yield all versions of the captions."""
        if self.wanted.images:
            yield (ROOT / CAPTIONS).read_bytes() if (ROOT / CAPTIONS).exists() else b""
            for md5, path in self._versions.paths.items():
                if path == CAPTIONS:
                    yield next((content for store in self.stores if (content := store.read(md5))), b"")

    def _search_tree(self, root: Path, place: str) -> None:
        """Search the files of a folder, without what is searched otherwise, and without environments of Python."""
        searched = {(root / ".git" / "objects"), *(store.folder for store in self.stores if store.folder)}
        for top, folders, files in os.walk(root):
            folders[:] = [
                name for name in folders if Path(top, name) not in searched and not name.startswith(".venv")
            ]
            for path in (Path(top, name) for name in files):
                if path.is_file() and not path.is_symlink():
                    with suppress(FileNotFoundError):  # a page that is running may remove files of cache/
                        self._search_file(path, path.relative_to(root).as_posix(), place)

    def _search_file(self, path: Path, name: str, place: str) -> None:
        """Search one file. name: its path in the place."""
        size = path.stat().st_size
        with path.open("rb") as stream:
            found, is_copy = self._look(stream, size, name)
        found |= self._search.in_bytes(name.encode())
        is_named = path.name.partition(".")[0] in self.wanted.sha256 and size > 0
        is_copy |= is_named and "sketches" not in path.parts
        if name == LOCK and found & self.wanted.patterns:
            self._locks.add(_md5(path.read_bytes()))
        self._add(GIT if name.startswith(".git/") else place, name, name, found, is_copy)

    def _search_git(self) -> None:
        for oid, kind, content in _git_objects():
            path = self._git.get(oid, "") if kind == "blob" else f"a {kind}"
            found, is_copy = self._look(io.BytesIO(content), len(content), path)
            if path == LOCK and found & self.wanted.patterns:
                self._locks.add(_md5(content))
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
                self._add(store.name, md5, path, found, is_copy and size > 0)

    def _name_trained(self) -> None:
        """Add the models that were trained by a lock that names it."""
        for lock, path, md5 in self._versions.trainings:
            if lock not in self._locks:
                continue
            if md5 in self._versions.current and (ROOT / path).exists():
                self._add(TREE, path, path, {b"trained"}, is_copy=False)
            for member in self._versions.files.get(md5, {md5}):
                for store, sizes in zip(self.stores, self._sizes, strict=True):
                    if sizes.get(member):
                        self._add(store.name, member, f"{path}/", {b"trained"}, is_copy=False)

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

    def _add(self, place: str, name: str, path: str, found: Collection[bytes], is_copy: bool) -> None:
        if found or is_copy:
            kind, advice = _judge(place, path, self._has_content(path, found) or is_copy)
            if place in {store.name for store in self.stores}:
                advice = self._advice_on_object(name, kind, advice)
            elif place not in (TREE, GIT):
                advice = "publish it again (`autolora publish`), or delete it"
            self._found.setdefault(
                (place, name), Finding(kind=kind, place=place, name=name, path=path, advice=advice)
            )

    def _has_content(self, path: str, found: Collection[bytes]) -> bool:
        """Return whether captions are among what was found: by their texts, or by the image in a file of captions."""
        images = {image.encode() for image in self.wanted.images}
        return bool(self.wanted.captions & {*found} or (images & {*found} and path.startswith(CAPTION_FILES)))

    def _advice_on_object(self, md5: str, kind: str, advice: str) -> str:
        if md5 in self.wanted.md5 or advice == NEEDED:
            return APPLY if kind == "content" else NEEDED
        if md5 in self._versions.current:
            return f"of the working tree: {advice}"
        tags = sorted(self._versions.tags[md5])
        needed = f", once the tags that need it are deleted ({', '.join(tags)})" if tags else ""
        return f"of a former state: `autolora prune`{needed}"


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
    """Yield the lines of the proof: what is left by kind, place and folder, and what removes it."""
    wanted = proof.wanted
    names, captions = len(wanted.patterns | wanted.words), len(wanted.captions)
    yield f"searched for {counted(names, 'name', 'names')} and {counted(captions, 'caption', 'captions')}"
    for name in sorted(wanted.shared):
        yield f"not searched for, because other adapters have it too: the file name {name}"
    groups: defaultdict[tuple[str, str, str, str], list[Finding]] = defaultdict(list)
    for found in findings:
        area = "/".join(PurePath(found.path).parts[:2]) or "no revision lists it"
        groups[found.kind, found.place, area, found.advice].append(found)
    for (kind, place, area, advice), group in groups.items():
        example = f"{group[0].name}{f' and {len(group) - 1} more' if len(group) > 1 else ''}"
        yield f"{kind} in {place}, {area} ({example}): {advice}"


def check(proof: Proof, findings: Sequence[Finding]) -> None:
    """Raise AutoLoraError if content is left, or a place could not be searched."""
    if proof.problems:
        raise AutoLoraError(
            f"nothing is proven: {' | '.join(proof.problems)}; correct the cause, then prove again"
        )
    if left := [found for found in findings if found.kind == "content"]:
        raise AutoLoraError(
            f"content is left in {counted(len(left), 'file or object', 'files and objects')}: follow the lines that "
            "begin with `content`, then prove again"
        )


def _judge(place: str, path: str, has_content: bool) -> tuple[str, str]:
    """Return kind and advice of what was found in a version of a file of the project."""
    least, advice = next((kind, advice) for start, kind, advice in ADVICE if path.startswith(start))
    if place == GIT:
        least, advice = "name", REWRITE
    elif has_content and path.startswith(("data/pool", "cache/web_images", "cache/fetched")):
        advice = APPLY
    return "content" if has_content else least, advice


def _is_named(row: Takedown, name: str) -> bool:
    names = {row.id, f"{row.hub}:{row.id}", f"{row.id}/{row.file}", f"{row.hub}:{row.id}/{row.file}"}
    return name in names or (len(name) >= 6 and (row.sha256 or "").startswith(name.lower()))


def _is_member(path: str) -> bool:
    """Return whether an object is a file or image of the pool, whose name says which: it need not be downloaded."""
    parts = PurePath(path).parts
    return parts[:3] == ("data", "pool", "batches") and parts[-2:-1] in (("weights",), ("renderings",))


def _outputs(
    name: str, content: Mapping[str, Any], trainings: set[tuple[str, str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield path and md5 of what a dvc.lock or .dvc file lists; add what was trained to `trainings`."""
    if name != "dvc.lock":
        for out in content["outs"]:
            yield (PurePath(name).parent / out["path"]).as_posix(), out["md5"]
        return
    for stage, entry in content["stages"].items():
        locks = [dep["md5"] for dep in entry.get("deps", ()) if dep["path"] == LOCK]
        for out in entry["outs"]:
            yield out["path"], out["md5"]
            if stage in ("encoder", "fusion") and out["path"].startswith("data/"):
                trainings |= {(lock, out["path"], out["md5"]) for lock in locks}


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


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
