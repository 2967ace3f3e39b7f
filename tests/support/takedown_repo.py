"""A git and DVC repository with a catalog, a pool of one batch, and a stage `crawl` that must not run."""

import datetime
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.pool import batches
from autolora.pool.store import table_path
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_value

DAY = datetime.date(2026, 1, 5)
INK, CAT, DOG = (hash_value(["file", name]) for name in ("ink", "cat", "dog"))
OWN, SHARED, OTHER = (hash_value(["image", name]) for name in ("own", "shared", "other"))
FILES, IMAGES = (INK, CAT, DOG), (OWN, SHARED, OTHER)
BATCH = "2026-01-05"
LISTINGS = (
    ("civitai", "7", INK, (OWN, SHARED)),
    ("huggingface", "ann/ink", INK, ()),
    ("huggingface", "bob/cat", CAT, (SHARED,)),
    ("huggingface", "bob/dog", DOG, (OTHER,)),
)
"""hub, id, file and images of each listing"""


def listing(hub: str, id: str, sha256: str | None, images: tuple[str, ...] = ()) -> Listing:
    """Return a listing whose hub reports no sha256 of the images."""
    return Listing(
        hub=hub, id=id, version="v1", file="lora.safetensors", url=f"http://127.0.0.1:1/{hub}/{id}", size=1000,
        sha256=sha256, license=None, base_model=None, nsfw=False, trigger_words=(), first_seen=DAY,
        renderings=tuple(
            ListedRendering(url=f"http://127.0.0.1:1/{image}", sha256=None, prompt=None) for image in images
        ),
    )  # fmt: skip


def adapter(key: str, sha256: str) -> Adapter:
    """Return the row of an accepted file."""
    return Adapter(
        key=key, sha256=sha256, size=1000, recipe="r", verdict=ACCEPTED, reason="", layout="peft", num_slots=1,
        rank_max=1, norm=1.0, dtype="float32", keys_used=2, keys_seen=2, ignored_keys=(),
    )  # fmt: skip


def write_pool(root: Path) -> None:
    """Write the catalog, the pool's tables, and one closed batch with the three files and images."""
    catalog.write(root, [listing(*values) for values in LISTINGS])
    rows = {sha256: adapter(sha256, sha256).to_row() | {"active": True} for sha256 in FILES}
    write_rows(table_path(root, "adapters"), [rows[key] for key in sorted(rows)])
    images = [
        PooledRendering(key=f"http://127.0.0.1:1/{sha256}", sha256=sha256, width=8, height=8)
        for sha256 in IMAGES
    ]
    write_rows(table_path(root, "renderings"), [asdict(row) | {"active": True} for row in images])
    pair = {"settings": "s", "sha256": CAT, "cosines": {INK: 0.999}}
    write_rows(table_path(root, "near_duplicates"), [pair])
    for kind, members in (("weights", FILES), ("renderings", IMAGES)):
        for sha256 in members:
            path = batches.open_folder(root) / kind / f"{sha256}{batches.SUFFIXES[kind]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(sha256))
    batches.close(root, {"weights": FILES, "renderings": IMAGES}, DAY)
    batches.remove_open(root)


def content(sha256: str) -> bytes:
    """Return the content of a file of the pool."""
    return sha256.encode() * 100


def make_repository(root: Path, remote_url: str, **settings: str) -> Path:
    """Write the repository, give it to git and DVC, and push it. settings: of the DVC remote."""
    root.mkdir()
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "cache.type", "hardlink,symlink,copy")
    add_remote(root, "store", remote_url, **settings)
    write_pool(root)
    (root / "data/pool/.gitignore").write_text("/open\n/adding\n/*.jsonl\n!/batches.jsonl\n")
    (root / "data/pool/batches/.gitignore").write_text("/*/\n")
    (root / ".gitignore").write_text("/cache/\n/.dvc/config.local\n")
    out = "{data/catalog: {cache: false, persist: true}}"
    (root / "dvc.yaml").write_text(f"stages:\n  crawl:\n    cmd: 'false'\n    outs:\n    - {out}\n")
    run(root, "dvc", "commit", "-q", "--force", "crawl")
    run(root, "dvc", "add", "-q", f"data/pool/batches/{BATCH}")
    run(root, "dvc", "push", "-q")
    commit(root, "first")
    run(root, "git", "tag", "old")
    return root


def add_remote(root: Path, name: str, url: str, **settings: str) -> None:
    """Add a DVC remote, the default one if it is the first. settings: of the remote."""
    default = ["-d"] if name == "store" else []
    run(root, "dvc", "remote", "add", "-q", *default, name, url)
    for key, value in settings.items():
        run(root, "dvc", "remote", "modify", "-q", name, key, value)


def clone(root: Path, target: Path, rev: str) -> Path:
    """Return a clone at a revision, pulled."""
    run(root.parent, "git", "clone", "-q", str(root), str(target))
    run(target, "git", "checkout", "-q", rev)
    run(target, "dvc", "pull", "-q")
    return target


def commit(root: Path, message: str) -> None:
    """Commit everything."""
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", message)


def run(root: Path, *command: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = execute(root, *command)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def execute(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with this Python first on the path, on the day DAY."""
    seconds = int(datetime.datetime.combine(DAY, datetime.time(), datetime.UTC).timestamp())
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SOURCE_DATE_EPOCH": str(seconds),
        "DVC_NO_ANALYTICS": "1",
    }
    return subprocess.run(command, cwd=root, env=os.environ | variables, text=True, capture_output=True)


def take_down(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return execute(root, "python", "-m", "flows.takedown", *arguments)


def contents(root: Path) -> dict[str, int]:
    """Return sha256 -> size of each file of the batch."""
    return {path.stem: path.stat().st_size for path in (root / f"data/pool/batches/{BATCH}").rglob("*.*")}
