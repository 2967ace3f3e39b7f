"""The playground's pool as repositories: their files, commits and cards, and on which hubs and days they appear."""

import datetime
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HUBS = ("huggingface", "civitai", "modelscope")
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a commit."""

    size: int
    sha256: str
    oid: str
    """git's object id: of the file, or of its LFS pointer"""
    pointer_size: int | None
    """bytes of the LFS pointer; None for a file that is not in LFS"""
    source: Path | bytes

    @property
    def etag(self) -> str:
        """The value of the ETag header of downloads."""
        return self.oid if self.pointer_size is None else self.sha256

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop)."""
        return b"".join(self.pieces(start, stop))

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes [start, stop) in pieces of at most 1 MiB."""
        if isinstance(self.source, bytes):
            yield self.source[start:stop]
            return
        with self.source.open("rb") as stream:
            stream.seek(start)
            while piece := stream.read(min(PIECE, stop - stream.tell())):
                yield piece


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a repository; its sha is a digest of its contents."""

    sha: str
    date: str
    blobs: Mapping[str, Blob]
    card: Mapping[str, Any]

    def __hash__(self) -> int:
        """Return the hash of the sha, which equal commits share."""
        return hash(self.sha)

    @property
    def weights(self) -> list[str]:
        """Paths of the weights, sorted."""
        return sorted(path for path in self.blobs if path.lower().endswith(WEIGHT_SUFFIXES))

    @property
    def images(self) -> dict[str, str]:
        """Path -> prompt of the images in the card's widget, in the card's order."""
        prompts = {}
        for entry in as_list(self.card.get("widget")):
            if isinstance(entry, dict) and isinstance(entry.get("output"), dict):
                prompts[entry["output"].get("url")] = str(entry.get("text", ""))
        return {path: prompt for path, prompt in prompts.items() if path in self.blobs}


@dataclass(eq=False, slots=True)
class Repo:
    """One repository: its line of the schedule, and its commits, oldest first."""

    id: str
    day: int
    created_at: str
    downloads: int
    hubs: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Any]]
    """hub -> fields of its entry that replace the generated ones"""
    published_at: str
    """date of the last publication, by which Civitai sorts; a change of license does not change it"""
    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    @property
    def author(self) -> str:
        """The user that published it."""
        return self.id.partition("/")[0]

    def commit(self, revision: str, branch: str) -> Commit | None:
        """Return the commit of a revision: the branch's name or a sha; None if there is none."""
        if revision == branch:
            return self.head
        return next((commit for commit in self.commits if commit.sha == revision), None)

    def relicense(self, license: str, date: str) -> None:
        """Add a commit that changes the license in the README's front matter."""
        text = self._readme()
        match = FRONT_MATTER.match(text)
        lines = [line for line in (match[1] if match else "").splitlines() if not line.startswith("license:")]
        body = text[match.end() :] if match else text
        self._rewrite("\n".join(["---", f"license: {license}", *lines, "---", body]), date)

    def touch(self, date: str) -> None:
        """Publish the repository again, with a commit that appends a line to the README."""
        self._rewrite(f"{self._readme()}\nUpdated on {date}.\n", date)
        self.published_at = date

    def _readme(self) -> str:
        blob = self.head.blobs["README.md"]
        return blob.read(0, blob.size).decode()

    def _rewrite(self, readme: str, date: str) -> None:
        blobs = {**self.head.blobs, "README.md": describe("README.md", readme.encode())}
        self.commits.append(make_commit(blobs, date))


def read_pool(pool: Path, spread_days: int = 1) -> dict[str, Repo]:
    """Read the repositories of `pool/schedule.jsonl`, each with one commit; return id -> repository.

    spread_days: the schedule dates all repositories of day 1 within one day; their dates are spread over so many
    days before the newest of them, as on a hub that has grown over months. With 1 they are not changed.
    Raises ValueError if a line has an unknown hub.
    """
    lines = (pool / "schedule.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    newest = max((full_date(row["created_at"]) for row in rows if row["day"] == 1), default="")
    repos = {}
    for row in rows:
        hubs = tuple(row.get("hubs", HUBS))
        if unknown := set(hubs) - set(HUBS):
            raise ValueError(
                f"{pool}/schedule.jsonl: {row['repo']} has unknown hubs {sorted(unknown)}; expected some of {HUBS}"
            )
        overrides = {hub: row[hub] for hub in HUBS if hub in row}
        created_at = full_date(row["created_at"])
        if row["day"] == 1:
            created_at = spread_date(created_at, newest, spread_days)
        repo = Repo(
            row["repo"], int(row["day"]), created_at, int(row["downloads"]), hubs, overrides, created_at
        )
        folder = pool / repo.id
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        blobs = {path.relative_to(folder).as_posix(): describe(path.name, path) for path in files}
        repo.commits.append(make_commit(blobs, created_at))
        repos[repo.id] = repo
    return repos


def spread_date(date: str, newest: str, times: int) -> str:
    """Return a date `times` times as far before the newest one; this preserves the order of dates."""
    last = datetime.datetime.fromisoformat(newest)
    shifted = last - times * (last - datetime.datetime.fromisoformat(date))
    return shifted.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def full_date(text: str) -> str:
    """Return a date or time in the only format that all clients parse: `2026-01-02T03:04:05.000Z`."""
    day, _, time = text.partition("T")
    return f"{day}T{(time or '00:00:00').removesuffix('Z').partition('.')[0]}.000Z"


def describe(name: str, source: Path | bytes) -> Blob:
    """Return a file's size and hashes as git and git-lfs compute them."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if not is_lfs(name):
        return Blob(len(content), sha256, _git_oid(content), None, source)
    version = "version https://git-lfs.github.com/spec/v1"
    pointer = f"{version}\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    return Blob(len(content), sha256, _git_oid(pointer), len(pointer), source)


def is_lfs(name: str) -> bool:
    """Return whether a file of this name is in LFS: weights and images are."""
    return name.lower().endswith((*WEIGHT_SUFFIXES, *IMAGE_SUFFIXES))


def make_commit(blobs: Mapping[str, Blob], date: str) -> Commit:
    """Return a commit of a set of files, with its sha and its card."""
    listing = json.dumps([[path, blob.sha256] for path, blob in sorted(blobs.items())])
    readme = blobs.get("README.md")
    card = read_card(readme.read(0, readme.size).decode(errors="replace")) if readme else {}
    return Commit(hashlib.sha1(listing.encode()).hexdigest(), date, blobs, card)


def read_card(readme: str) -> dict[str, Any]:
    """Return a README's front matter; an empty dict if it has none, or none that is a mapping."""
    match = FRONT_MATTER.match(readme)
    try:
        card = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return json.loads(json.dumps(card, default=str)) if isinstance(card, dict) else {}


def tags(card: Mapping[str, Any]) -> list[str]:
    """Return the tags that Hugging Face derives from a card."""
    own = [str(tag) for tag in as_list(card.get("tags"))]
    adapter = "lora" in own or card.get("base_model_relation") == "adapter"
    derived = [str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key)] + own
    for base in as_list(card.get("base_model")):
        derived += [f"base_model:{base}", f"base_model:{'adapter' if adapter else 'finetune'}:{base}"]
    if card.get("license"):
        derived.append(f"license:{card['license']}")
    return list(dict.fromkeys([*derived, "region:us"]))


def list_folder(commit: Commit, folder: str, recursive: bool) -> tuple[list[str], list[str]] | None:
    """Return the paths of the folders and of the files in a folder ('' is the root); None if it does not exist."""
    prefix = f"{folder}/" if folder else ""
    files = [path for path in commit.blobs if path.startswith(prefix)]
    if not files and folder:
        return None
    parts = [path[len(prefix) :].split("/") for path in files]
    inner = {prefix + "/".join(names[:depth]) for names in parts for depth in range(1, len(names))}
    if not recursive:
        inner = {path for path in inner if "/" not in path[len(prefix) :]}
        files = [path for path in files if "/" not in path[len(prefix) :]]
    return sorted(inner), sorted(files)


def as_list(value: Any) -> list[Any]:
    """Return a card's value, which may be a list, a single value or missing, as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
