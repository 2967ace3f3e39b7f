"""A small repository under git and DVC: a pool from a hub, outputs of stages, an index with copies, and a remote."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.integrity.mending import mend
from autolora.integrity.verification import Finding, Report, verify
from autolora.params import load
from autolora.pool.recipe import ReadRecipe
from autolora.storage.hashes import hash_file
from tests.index.test_served import LATER
from tests.lora.writing import CONFIG
from tests.pool.site import DAYS, Site
from tests.support.synthetic_repo import (
    make_adapter,
    make_adapters,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)
from tests.support.tiny_pool import BOUNDS

ROOT = Path(__file__).parents[2]
IGNORED = {
    "data": "/captions\n/dataset\n/encoder\n/index\n",
    "data/pool": "/adapters.jsonl\n/renderings.jsonl\n/refused.jsonl\n/near_duplicates.jsonl\n/open\n/incoming\n",
    "data/pool/batches": "/*/\n",
    "data/pool/sketches": "/*.safetensors\n",
    ".": "/cache\n",
}
KEPT = ("captions", "dataset", "encoder", "index")
"""stages whose command copies outputs that were made before"""
TABLES = ("adapters", "renderings", "refused", "near_duplicates")


@dataclass
class VersionedRepository:
    """A repository whose files are all intact, and what a test does with it."""

    root: Path
    remote: Path

    def verify(self, **options: Any) -> Report:
        return verify(self.root, **options)

    def mend(self) -> dict[str, Sequence[Finding]]:
        """Return command -> what it mends."""
        return mend(self.root, self.verify().findings)

    def commands(self) -> list[str]:
        return [*filter(None, self.mend())]

    def run_commands(self) -> None:
        """Run the commands that `autolora verify` prints, as a shell does; lists and records make others known."""
        for _ in range(3):
            for command in self.commands():
                self.run("bash", "-c", command)

    def run(self, *command: str) -> str:
        return run(self.root, *command)

    def add_remote(self) -> None:
        """Make the folder that holds all objects the default remote."""
        (self.root / ".dvc/config.local").write_text(
            f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.remote}\n"
        )

    def list_takedown(self, path: Path, *md5: str) -> None:
        """List the takedown of a file in the pool and of its objects, without erasing it."""
        row = Takedown(
            kind="weights", sha256=path.stem, hub="", id="", file="", reason="test", date=DAYS[1], md5=md5
        )
        takedowns.write(self.root, Takedowns((row,)))

    def commit_takedown_elsewhere(self, path: Path, ref: str) -> None:
        """Commit the takedown of a file on another branch; working tree and HEAD do not list it."""
        self.list_takedown(path)
        self.commit_elsewhere(ref)

    def commit_elsewhere(self, ref: str) -> None:
        """Commit the working tree as the tip of another branch, and return to HEAD."""
        commit(self.root)
        self.run("git", "update-ref", ref, "HEAD")
        self.run("git", "reset", "-q", "--hard", "HEAD~1")

    def remove_cache(self) -> None:
        """Remove DVC's cache; the files of the working tree are no longer linked to it."""
        shutil.rmtree(self.root / ".dvc/cache")

    def file(self, pattern: str) -> Path:
        """Return the first file with content that matches a pattern, in the order of paths."""
        return sorted(path for path in self.root.glob(pattern) if path.is_file() and path.stat().st_size)[0]

    def contents(self) -> dict[str, str]:
        """Return path -> sha256 of all files in data, digests, cache/index and DVC's cache."""
        return {str(path.relative_to(self.root)): hash_file(path) for path in self.files()}

    def files(self) -> Iterator[Path]:
        """Yield all files in data, digests, cache/index and DVC's cache."""
        for name in ("data", "digests", "cache/index", ".dvc/cache/files"):
            for path in sorted((self.root / name).rglob("*")):
                if path.is_file():
                    yield path


def build(site: Site, folder: Path) -> VersionedRepository:
    """Build the repository around the pool that a hub's files make."""
    root = site.root
    root.mkdir(exist_ok=True)
    _write_settings(root, site.endpoint)
    site.run_pool(ReadRecipe.for_base_model(CONFIG, load(root / "params.yaml").pool))
    _make_index(folder / "other", root, new=False)
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "cache.type", "hardlink,symlink,copy")
    for path, lines in IGNORED.items():
        with (root / path / ".gitignore").open("a") as stream:
            stream.write(lines)
    run(root, "dvc", "commit", "-f", "-q")
    run(root, "dvc", "add", "-q", *(str(path.relative_to(root)) for path in _added(root)))
    commit(root)
    release(root, content_digest(root))
    _make_index(folder / "other", root, new=True)
    run(root, "dvc", "commit", "-f", "-q")
    run(root, "dvc", "checkout", "-q", "--force", "--relink")
    commit(root)
    release(root, content_digest(root))
    repository = VersionedRepository(root, folder / "store")
    repository.add_remote()
    run(root, "dvc", "push", "-q", "--all-commits")
    (root / ".dvc/config.local").unlink()
    return repository


def copy(repository: VersionedRepository, target: Path) -> VersionedRepository:
    """Copy a repository; files that were links to one file are so in the copy too."""
    subprocess.run(["cp", "-a", str(repository.root), str(target)], check=True)
    return replace(repository, root=target)


def run(root: Path, *command: str) -> str:
    """Run a command of git or DVC."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=root,
        env=os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commit(root: Path) -> None:
    """Commit everything that git does not ignore."""
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "x")


def _added(root: Path) -> list[Path]:
    """Return the batches and sketch packs."""
    packs = (root / "data/pool/sketches").glob("*.safetensors")
    return [*sorted(path for path in (root / "data/pool/batches").iterdir() if path.is_dir()), *sorted(packs)]


def _make_index(other: Path, root: Path, new: bool) -> None:
    """Make an index in another repository, and copy it with all that precedes it into this one, once more as kept."""
    adapters = make_adapters(themes=("mosaic", "neon"))
    if new:
        write_repository(other, [*adapters, make_adapter("neon", 7, LATER)])
        write_dataset(other)
    else:
        write_repository(other, adapters)
        write_dataset(other)
        write_encoder(other, tiny_text_encoder(other / "text_encoder"))
    write_index(other)
    for stage in KEPT:
        for path in (root / "data" / stage, root / "kept" / stage):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(other / "data" / stage, path)
    for stage in ("dataset", "encoder", "index"):
        shutil.copy(other / f"digests/{stage}.json", root / f"digests/{stage}.json")


def _write_settings(root: Path, endpoint: str) -> None:
    """Write dvc.yaml, params.yaml, metrics in git and the config of the base model."""
    (root / "metrics/plots").mkdir(parents=True)
    (root / "metrics/index.json").write_text("{}\n")
    (root / "metrics/plots/recall.csv").write_text("k,recall\n1,0.5\n")
    (root / "metrics/plots/scores.csv").write_text("score\n0.5\n")
    stages: dict[str, Any] = {
        stage: {
            "cmd": f"cp -r kept/{stage} data/",
            "outs": [{f"data/{stage}": {"persist": stage != "encoder"}}],
        }
        for stage in KEPT
    }
    stages["index"]["outs"].append({"digests/index.json": {"cache": False, "persist": True}})
    stages["index"]["metrics"] = [{"metrics/index.json": {"cache": False, "persist": True}}]
    stages["index"]["plots"] = [{"metrics/plots": {"cache": False, "persist": True}}]
    stages["pool"] = {
        "cmd": f"PYTHONPATH={ROOT} {sys.executable} -m tests.integrity.pool_stage {endpoint}",
        "outs": [
            *({f"data/pool/{name}.jsonl": {"persist": True}} for name in TABLES),
            {"data/pool/batches.jsonl": {"cache": False, "persist": True}},
            {"data/catalog": {"cache": False, "persist": True}},
            {"digests/pool.json": {"cache": False, "persist": True}},
        ],
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["models"]["pipeline"] = str(root / "flux")
    params["hubs"] |= {"huggingface": {"endpoint": endpoint}, "attempts": 1}
    params["pool"] |= {name: getattr(BOUNDS, name) for name in params["pool"]}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "flux/transformer").mkdir(parents=True)
    (root / "flux/transformer/config.json").write_text(json.dumps(CONFIG))
