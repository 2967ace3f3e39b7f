"""A pool larger than the disk: python -m bench.bounded_disk [--gigabytes 20] [--keep 1] [--nights 11] [--folder F]

Builds LoRAs at FLUX.1-dev's widths (as `python -m playground.rehearsal`, of which it takes models and servers), and
refreshes a fresh clone night by night with `storage.keep_local_gb` and DVC's remote on a real S3 server. One night the
remote is away. Then it searches, generates with an evicted adapter, verifies, goes back, clones, and reads every file
of the pool back. It prints the peak of the disk, during the nights and in all, and writes it to metrics/details.json.
Needs twice the gigabytes. Models and LoRAs that the folder has are used again. Metrics are written with the default
options only.
"""

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from autolora.errors import ParamsError, exit_on_error
from autolora.lora.slots import slots
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.pool import batches, evicted
from autolora.storage.hashes import hash_file
from bench.timing import today
from playground.hubs.state import Hub
from playground.rehearsal import loras, models
from playground.rehearsal.__main__ import PROFILE, Rehearsal, make_clone, servers
from playground.repository import IDENTITY, ROOT, Repository, change_params
from tests.support.s3 import S3Server, s3_server

GB = 10**9
PX = 64
SMALL, LARGE = 8, 128
"""ranks of the files of the first night, which train the encoder, and of later ones"""
FIRST_FILES = 18
BYTES_PER_NUMBER = 2
AWAY = "http://127.0.0.1:9"
"""nothing listens there"""
JUDGES = ROOT / "playground" / "models" / "judges"
SMALLER: dict[str, dict[str, Any]] = {
    "fusion": {"steps": 2},
    "judges": {"clip": str(JUDGES / "clip"), "vlm": str(JUDGES / "vlm")},
}
"""than in the rehearsal"""
PROMPT = "a red fox"
PLACES = ("data/pool/batches", "data/pool/open", "data/pool/incoming", "data/pool/adding", "data/pool/evicting",
          "cache/fetched", ".dvc/cache")  # fmt: skip
"""folders of a project with files of the pool, or objects"""
COMMAND = "python -m bench.bounded_disk"
GIGABYTES, KEEP, NIGHTS = 20.0, 1.0, 11
console = Console()


@dataclass
class Peak:
    """The largest number of bytes that the files of a project's pool took."""

    bytes: int = 0
    finished: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self, root: Path) -> Iterator[None]:
        """Look every half second while the block runs."""
        thread = threading.Thread(target=self._watch, args=(root,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.finished.set()
            thread.join()

    def _watch(self, root: Path) -> None:
        while not self.finished.wait(0.5):
            self.bytes = max(self.bytes, stored_bytes(root))


def stored_bytes(root: Path) -> int:
    """Return the bytes of a pool's files and of DVC's objects; links count once."""
    sizes: dict[int, int] = {}
    for place in PLACES:
        for path in (root / place).rglob("*"):
            try:
                state = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            sizes[state.st_ino] = 0 if path.is_dir() else state.st_size
    return sum(sizes.values())


def plan(gigabytes: float, nights: int, numbers_per_rank: int) -> list[loras.Recipe]:
    """Return the LoRAs of all nights: small ones on the first, large ones in equal parts on the others."""
    file_bytes = numbers_per_rank * LARGE * BYTES_PER_NUMBER
    large = round(gigabytes * GB / file_bytes)
    themes = list(loras.THEMES)
    return [
        loras.Recipe(
            number=number,
            theme=themes[number % len(themes)],
            layout=loras.LAYOUTS[number % len(loras.LAYOUTS)],
            rank=SMALL if number < FIRST_FILES else LARGE,
            dtype=torch.bfloat16,
            day=1 if number < FIRST_FILES else 2 + (number - FIRST_FILES) * (nights - 1) // large,
        )
        for number in range(FIRST_FILES + large)
    ]


def main() -> None:
    """Build, refresh night by night, and check everything; exit with 1 if something is wrong."""
    options = _options()
    rehearsal = Rehearsal(options.folder, models.Depth(double=2, single=4, t5=1), PX, "cpu")
    for name in ("clone", "second", "remote"):
        shutil.rmtree(options.folder / name, ignore_errors=True)
    flux, peak, wrong = options.folder / "models" / "flux", Peak(), list[str]()
    if not flux.exists():
        _timed("models", lambda: models.build(flux.parent, load(PROFILE), rehearsal.depth))
    config = models.config_of(flux)
    recipes = plan(options.gigabytes, options.nights, sum(slot.d_in + slot.d_out for slot in slots(config)))
    pool = options.folder / "pool"
    schedule = pool / "schedule.jsonl"
    if not schedule.exists():
        _timed("LoRAs", lambda: loras.build(pool, config, PX, recipes))
    if [row["day"] for row in map(json.loads, schedule.read_text().splitlines())] != [r.day for r in recipes]:
        raise ParamsError(f"{pool} has LoRAs of other options: remove it, or give the same options")
    size = sum(path.stat().st_size for path in pool.rglob("*.safetensors"))
    console.print(f"{len(recipes)} files, {size / GB:.1f} GB")
    hub = Hub(pool, day=1)
    with (
        s3_server(options.folder / "remote", "pool", volume_mb=4096) as s3,
        servers(rehearsal, hub) as repository,
        peak.watching(rehearsal.clone),
    ):
        make_clone(rehearsal, repository)
        changes: dict[str, dict[str, Any]] = {
            **SMALLER,
            "storage": {"keep_local_gb": options.keep},
            "refresh": {"commit": True},
        }
        change_params(rehearsal.clone / "params.yaml", changes)
        repository.run("dvc", "remote", "add", "-q", "-d", "-f", "cloud", "s3://pool/store")
        set_access(repository, s3)
        repository.commit("a remote")
        for day in range(1, options.nights + 1):
            hub.change({"day": day})
            if day == max(2, options.nights // 2):
                wrong += _night_without_remote(repository, s3, day)
            _timed(f"night {day}", lambda day=day: repository.committed_refresh(day))  # type: ignore[misc]
            here = stored_bytes(repository.root) / GB
            console.print(f"  {here:.2f} GB here, peak {peak.bytes / GB:.2f}")
        nights_peak = peak.bytes
        for check in (_searches, _generates, _verifies, _goes_back, _clones, _reads_all):
            _timed(check.__name__.strip("_"), lambda check=check: wrong.extend(check(repository, s3, pool)))  # type: ignore[misc]
    console.print(f"peak {peak.bytes / GB:.2f} GB of {size / GB:.1f}; {len(wrong)} faults: {wrong}")
    if wrong:
        sys.exit(1)
    if (options.gigabytes, options.keep, options.nights) != (GIGABYTES, KEEP, NIGHTS):
        return
    peaks = {"nights": nights_peak, "all": peak.bytes}
    headlines = [
        Headline(
            name=f"operation.disk_peak_gb.{name}", value=round(value / GB, 2), n=len(recipes), better="lower"
        )
        for name, value in peaks.items()
    ]
    update(ROOT, COMMAND, today(), headlines)


def set_access(repository: Repository, server: S3Server, **changes: str) -> None:
    """Let DVC's remote be a server, but for changed settings."""
    for name, value in (server.remote_settings() | changes).items():
        repository.run("dvc", "remote", "modify", "--local", "cloud", name, value)


def _night_without_remote(repository: Repository, s3: S3Server, day: int) -> Iterator[str]:
    """Refresh while the remote is away: it must fail, and searches go on."""
    set_access(repository, s3, endpointurl=AWAY)
    done = repository.run("python", "-m", "flows.refresh", day=day, check=False, **IDENTITY)
    if not done.returncode:
        yield "a refresh without the remote did not fail"
    console.print(f"  without the remote: {done.stderr.strip().splitlines()[-1][:160]}", markup=False)
    if not repository.search(PROMPT):
        yield "nothing is found while the remote is away"
    set_access(repository, s3)


def _searches(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    for theme in loras.THEMES:
        hits = repository.search(f"a {theme}", "-k", "5")
        if not hits or theme.replace(" ", "-") not in hits[0]["id"]:
            yield f"{theme} is not found"


def _generates(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    gone = _evicted_adapter(repository.root)
    command = ("python", "-m", "autolora", "generate", PROMPT, "--adapter", gone, "-o", "images/a.png")
    set_access(repository, s3, endpointurl=AWAY)
    shutil.rmtree(repository.root / "cache/fetched", ignore_errors=True)
    away = repository.run(*command, check=False)
    if away.returncode == 0 or "DVC's remote only" not in away.stderr:
        yield f"without the remote: {away.stderr[-200:]}"
    set_access(repository, s3)
    repository.run(*command)
    if not (repository.root / "images/a.png").exists():
        yield "no image"


def _evicted_adapter(root: Path) -> str:
    """Return an adapter whose weights are in the remote only."""
    return next(
        sha256
        for sha256 in batches.members(root)["weights"]
        if evicted.is_remote_only(root, "weights", sha256)
    )


def _verifies(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    done = repository.run("python", "-m", "autolora", "verify", "--json", check=False)
    yield from map(str, json.loads(done.stdout)["findings"])


def _goes_back(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    first, *_, last = repository.run("git", "tag", "--list", "release/*").stdout.split()
    run = ("python", "-m", "autolora", "versions")
    hits = []
    for release in (first, last):
        repository.run(*run, "rollback", release, "--reason", "bench")
        hits.append(len(repository.search(PROMPT, "-k", "100")))
    repository.run(*run, "lift")
    if not 0 < hits[0] < hits[1]:
        yield f"{first} has {hits[0]} fitting adapters, and {last} {hits[1]}"


def _clones(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    target = repository.root.parent / "second"
    repository.run("git", "clone", "-q", str(repository.root), str(target))
    clone = Repository(target, repository.endpoint, repository.api)
    set_access(clone, s3)
    clone.run("bash", "-c", "dvc pull -q dvc.yaml data/pool/sketches/*.dvc")
    if clone.search(PROMPT) != repository.search(PROMPT):
        yield "a clone has other hits"
    report = json.loads(clone.run("python", "-m", "autolora", "verify", "--json", check=False).stdout)
    yield from map(str, report["findings"])
    if batches.batch_names(target):
        yield "a clone has batches"


def _reads_all(repository: Repository, s3: S3Server, pool: Path) -> Iterator[str]:
    """Read each file as a stage does, and compare it with the hub's."""
    given = {hash_file(path) for path in pool.rglob("*.safetensors")}
    known = set(batches.members(repository.root)["weights"])
    if known != given:
        yield f"the pool has {len(known & given)} of {len(given)} files"
    script = (
        "import sys; from pathlib import Path; from autolora.pool import evicted; "
        "from autolora.storage.hashes import hash_file; "
        "print(sum(hash_file(evicted.local_path(Path('.'), 'weights', s)) == s for s in sys.argv[1:]))"
    )
    right = int(repository.run("python", "-c", script, *sorted(known)).stdout.split()[-1])
    if right != len(given):
        yield f"{right} of {len(given)} files are as the hub has them"


def _timed(name: str, run: Callable[[], object]) -> None:
    started = time.perf_counter()
    run()
    console.print(f"{name}: {time.perf_counter() - started:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="of the pool's weights")
    parser.add_argument("--keep", type=float, default=KEEP, help="storage.keep_local_gb")
    parser.add_argument("--nights", type=int, default=NIGHTS, help="at least 2")
    parser.add_argument("--folder", type=Path, default=ROOT / "cache" / "bounded_disk")
    return parser.parse_args()


if __name__ == "__main__":
    with exit_on_error():
        main()
