"""Killed processes and full disks: the next run ends in the same state as an undisturbed one."""

import random
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.errors import DiskFull
from autolora.pool import store as pool
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.pool.site import DAYS, crawl_hub, run_pool, run_pool_with_retries
from tests.support import killing
from tests.support.tiny_pool import make_pool

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Undisturbed:
    """A hub, a repository before and after an undisturbed run of the stage, and the run's duration in seconds."""

    hub: Hub
    endpoint: str
    before: Path
    after: Path
    seconds: float

    def inject_interrupted_downloads(self) -> None:
        """Let the hub end responses in the middle of files, so that partial downloads exist when a kill comes."""
        fault = {"fault": "cut-body", "kind": "weights", "times": 3}
        self.hub.change({"heal": True})
        for repo in ("ann/neon", "bob/cat", "cat/later"):
            self.hub.change({"fail": fault | {"path": repo}})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    folder = tmp_path_factory.mktemp("undisturbed")
    hub = Hub(make_pool(folder / "pool"), day=2)
    with running(hub) as endpoint:
        crawl_hub(endpoint, folder / "before", DAYS[2])
        for name in ("warm", "after"):  # the first run only warms up
            shutil.copytree(folder / "before", folder / name)
            seconds = killing.run(run_pool, endpoint, folder / name)
        yield Undisturbed(hub, endpoint, folder / "before", folder / "after", seconds)


@pytest.mark.long(full=100, sample=2)
def test_a_stage_killed_at_any_time_can_be_completed(
    tmp_path: Path, undisturbed: Undisturbed, seed: int
) -> None:
    rng, root = random.Random(seed), tmp_path / "root"
    shutil.copytree(undisturbed.before, root)
    undisturbed.inject_interrupted_downloads()
    for longest in (1.1 * undisturbed.seconds, undisturbed.seconds):
        killing.kill(run_pool_with_retries, undisturbed.endpoint, root, after_s=rng.uniform(0, longest))
    killing.run(run_pool_with_retries, undisturbed.endpoint, root)
    assert contents(root) == contents(undisturbed.after)


def test_a_killed_download_is_resumed(tmp_path: Path) -> None:
    hub, root = Hub(make_pool(tmp_path / "pool"), day=1), tmp_path / "root"
    slow_body = {"fault": "slow-body", "kind": "weights", "path": "ann/neon", "seconds": 0.05}
    with running(hub) as endpoint:
        crawl_hub(endpoint, root, DAYS[1])
        hub.change({"fail": slow_body})
        killing.kill(run_pool, endpoint, root, until=lambda: any(size(part) > 20 for part in parts(root)))
        (part,) = parts(root)
        inode = part.stat().st_ino
        killing.run(run_pool, endpoint, root)
        (listing,) = [listing for listing in catalog.read_active(root) if listing.id == "ann/neon"]
        row = pool.adapters(root)[listing.key]
        assert pool.weights_path(root, row.sha256).stat().st_ino == inode
    assert not pool.incoming(root).exists()


def parts(root: Path) -> list[Path]:
    """Return the partial downloads that can be resumed."""
    return [path for path in pool.incoming(root).glob("*.part") if Path(f"{path}.json").exists()]


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its download is complete
        return 0


def run_pool_on_a_full_disk(endpoint: str, root: Path, limit: int) -> None:
    """Run the stage with a limit on the size of files, for which the kernel reports an error as for a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(DiskFull, match=r"the disk that holds .* is full \(.*\): free some space and run"):
        run_pool(endpoint, root)


@pytest.mark.parametrize("kind", ["weights/", "sketches/", "adapters.jsonl", "renderings.jsonl"])
def test_complete_files_are_kept_if_the_disk_is_full(
    tmp_path: Path, undisturbed: Undisturbed, kind: str
) -> None:
    root, expected = tmp_path / "root", contents(undisturbed.after)
    limit = max(len(content) for name, content in expected.items() if kind in name) - 1
    shutil.copytree(undisturbed.before, root)
    killing.run(run_pool_on_a_full_disk, undisturbed.endpoint, root, limit)
    complete = {Path(name).name: content for name, content in expected.items()}
    for name, content in contents(root).items():
        if name.endswith(".png") or "weights/" in name:
            assert content == complete[Path(name).name] or not content
    killing.run(run_pool, undisturbed.endpoint, root)
    assert contents(root) == expected


def test_a_table_that_cannot_be_written_is_unchanged(tmp_path: Path, undisturbed: Undisturbed) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed.after, root)
    table = pool.table_path(root, "adapters")
    shuffled = b"".join(reversed(table.read_bytes().splitlines(keepends=True)))
    table.write_bytes(shuffled)
    killing.run(run_pool_on_a_full_disk, undisturbed.endpoint, root, len(shuffled) - 1)
    assert table.read_bytes() == shuffled
    killing.run(run_pool, undisturbed.endpoint, root)
    assert contents(root) == contents(undisturbed.after)


def contents(root: Path) -> dict[str, bytes]:
    """Return the content of each file by relative path; folders end with a slash and are empty."""
    return {
        f"{path.relative_to(root)}{'/' * path.is_dir()}": path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }
