"""The pool, from a real hub over real sockets: what is downloaded and refused, what a kill leaves behind."""

import datetime
import json
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from autolora.catalog import failed_downloads
from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.crawl import watermarks
from autolora.errors import AutoLoraError, DiskFull, HubError, MissingArtifact, NotGiven
from autolora.hubs.http.endpoint import Source
from autolora.hubs.huggingface.client import HuggingFace
from autolora.hubs.modelscope.client import ModelScope
from autolora.lora.read import read
from autolora.lora.sketch import cosine, sketch
from autolora.pool import recipe
from autolora.pool import store as pool
from autolora.pool.ingest import IN_A_ROW, Intake, batches
from autolora.pool.stage import Stock
from autolora.records import Adapter
from autolora.storage.incremental import digest_path, read_digest
from playground.hub import Hub, running
from tests.lora.writing import SLOTS, draw_lora
from tests.support import killing
from tests.support.tiny_pool import BOUNDS, RULES, TERMS, make_pool

DAYS = {1: datetime.date(2026, 1, 5), 2: datetime.date(2026, 1, 6)}


def client(endpoint: str) -> HuggingFace:
    """Return a client that asks once."""
    return HuggingFace(Source("huggingface", endpoint, 60.0, 1, None))


def patient_client(endpoint: str) -> HuggingFace:
    """Return a client that soon asks again."""
    return HuggingFace(Source("huggingface", endpoint, 60.0, 20, None, sleep=lambda _: time.sleep(0.01)))


def crawl_hub(endpoint: str, root: Path, day: datetime.date) -> None:
    """Run the stage `crawl`."""
    looked = crawl.look(root, client(endpoint), RULES, day)
    crawl.write(root, crawl.plan(root, [looked], RULES, day))


def fill(endpoint: str, root: Path, terms: recipe.Terms = TERMS, batch: int = 2) -> None:
    """Run the stage the way its flow does, without Prefect."""
    fill_from(client(endpoint), root, terms, batch)


def fill_patiently(endpoint: str, root: Path) -> None:
    """Run the stage with a client that asks again where an answer breaks off."""
    fill_from(patient_client(endpoint), root, TERMS, batch=2)


def fill_from(hub: HuggingFace, root: Path, terms: recipe.Terms, batch: int) -> None:
    stock, failures = Stock(root, terms), []
    intake = Intake(root, {hub.name: hub}, terms, RULES.max_file_mb)
    failures += fetch(intake.fetch_adapters, batches(stock.missing_adapters(), batch))
    stock.compare_newcomers()
    failures += fetch(intake.fetch_renderings, batches(stock.missing_renderings(), batch))
    stock.finish(DAYS[1], failures)


def fetch(fetcher: Callable[[Any], int], wanted: list[Any]) -> list[AutoLoraError]:
    """Fetch every batch and return what went wrong."""
    failures = []
    for batch in wanted:
        try:
            fetcher(batch)
        except (HubError, DiskFull) as error:
            failures.append(error)
    return failures


class Fixture:
    """A hub and a repository's root, and the two stages between them."""

    def __init__(self, hub: Hub, endpoint: str, root: Path) -> None:
        self.hub, self.root, self.endpoint = hub, root, endpoint

    def crawl(self, day: int = 1) -> None:
        crawl_hub(self.endpoint, self.root, DAYS[day])
        self.hub.change({"reset": True})

    def fill(self, terms: recipe.Terms = TERMS, batch: int = 2) -> None:
        fill(self.endpoint, self.root, terms, batch)

    def adapters(self) -> dict[str, Adapter]:
        """Return the pool's rows by repository."""
        rows = pool.adapters(self.root)
        return {
            listing.id: rows[listing.key] for listing in catalog.catalog(self.root) if listing.key in rows
        }

    def asked(self) -> dict[str, int]:
        """Return the counts of requests since the last crawl."""
        return {kind: number for kind, number in self.hub.requests().items() if kind != "paths"}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return every file of the root's data and digests with size and time stamp, but the crawl's own memory."""
        memory = self.root / watermarks.PATH
        files = [path for name in ("data", "digests") for path in (self.root / name).rglob("*")]
        paths = (path for path in files if path.is_file() and path != memory)
        return {
            str(path.relative_to(self.root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths
        }


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        found = Fixture(hub, endpoint, tmp_path / "root")
        found.crawl()
        yield found


@pytest.fixture
def filled(fixture: Fixture) -> Fixture:
    fixture.fill()
    fixture.hub.change({"reset": True})
    return fixture


def test_the_first_night_brings_everything(fixture: Fixture, tmp_path: Path) -> None:
    fixture.fill()
    rows = fixture.adapters()
    assert {id: row.verdict for id, row in rows.items()} == {
        "ann/ink": "accepted", "ann/neon": "accepted", "bob/cat": "accepted", "eve/pickle": "pickle",
    }  # fmt: skip
    ink = rows["ann/ink"]
    assert (
        pool.weights_path(fixture.root, ink.sha256).read_bytes()
        == (tmp_path / "pool/ann/ink/lora.safetensors").read_bytes()
    )
    assert (ink.num_slots, ink.rank_max, ink.layout, ink.dtype) == (len(SLOTS), 4, "peft", "float32")
    assert not pool.weights_path(fixture.root, rows["eve/pickle"].sha256).exists()
    assert "pickle" in rows["eve/pickle"].reason and not rows["eve/pickle"].accepted
    assert fixture.asked() == {"weights": 4, "renderings": 6}
    digest = read_digest(fixture.root, "pool")
    assert (digest["accepted"], digest["refused"], digest["renderings"], digest["rows"]) == (3, 1, 6, 10)
    assert not pool.incoming(fixture.root).exists()


def test_a_second_run_asks_and_writes_nothing(filled: Fixture) -> None:
    before = filled.files()
    filled.fill()
    filled.crawl(day=2)
    filled.fill()
    assert filled.files() == before
    assert filled.asked() == {}


def test_a_night_costs_what_is_new(filled: Fixture) -> None:
    before, files = filled.adapters(), filled.files()
    digest = read_digest(filled.root, "pool")["sha256"]
    filled.hub.change({"day": 2, "withdraw": "bob/cat", "license": ["ann/ink", "cc0-1.0"]})
    filled.crawl(day=2)
    filled.fill()
    assert filled.asked() == {"weights": 2, "renderings": 4}
    after = filled.adapters()
    assert after.keys() == before.keys() - {"bob/cat"} | {"bob/late", "cat/later"}
    assert {id: row for id, row in after.items() if id in before} == {
        id: before[id] for id in after if id in before
    }
    gone = before["bob/cat"].sha256
    assert (
        not pool.weights_path(filled.root, gone).exists() and not pool.sketch_path(filled.root, gone).exists()
    )
    assert len(list((filled.root / "data/pool/renderings").glob("*/*.png"))) == 8
    kept = {
        name for name in files if "/pool/" in name and name.endswith((".png", ".safetensors"))
    } & filled.files().keys()
    assert {name: filled.files()[name] for name in kept} == {name: files[name] for name in kept}
    assert read_digest(filled.root, "pool")["sha256"] != digest


def test_a_new_license_downloads_nothing(filled: Fixture) -> None:
    before = {name: stamp for name, stamp in filled.files().items() if "catalog" not in name}
    filled.hub.change({"license": ["ann/ink", "cc0-1.0"]})
    filled.crawl(day=2)
    filled.fill()
    assert filled.asked() == {}
    assert {name: stamp for name, stamp in filled.files().items() if "catalog" not in name} == before


def test_half_done_is_completed_and_equal(filled: Fixture) -> None:
    whole = digest_path(filled.root, "pool").read_bytes()
    tables = {
        name: (filled.root / f"data/pool/{name}.jsonl").read_bytes() for name in ("adapters", "renderings")
    }
    for name, table in tables.items():
        lines = table.splitlines(keepends=True)
        (filled.root / f"data/pool/{name}.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    lost = pool.sketch_path(filled.root, json.loads(tables["adapters"].splitlines()[0])["sha256"])
    lost.unlink(missing_ok=True)
    stray = pool.weights_path(filled.root, "ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    half = [filled.root / "data/pool/.adapters.jsonl.1", filled.root / "digests/.pool.json.1"]
    for path in (stray, *half):
        path.write_bytes(b"of a killed run")
    pool.incoming(filled.root).mkdir()
    (pool.incoming(filled.root) / "part").write_bytes(b"of a killed run")
    digest_path(filled.root, "pool").unlink()
    filled.fill()
    assert digest_path(filled.root, "pool").read_bytes() == whole
    assert {name: (filled.root / f"data/pool/{name}.jsonl").read_bytes() for name in tables} == tables
    assert not any(path.exists() for path in (stray, *half, pool.incoming(filled.root)))
    assert filled.asked().get("weights", 0) <= 1, (
        "accepted files that lie there are read again, not downloaded"
    )


@dataclass(frozen=True)
class Undisturbed:
    """A hub, a root before the stage ran, one after it ran undisturbed, and the seconds it took."""

    hub: Hub
    endpoint: str
    before: Path
    after: Path
    seconds: float

    def stumble(self) -> None:
        """Let the hub break off in the middle of files, so that there are parts of downloads when a kill comes."""
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
        for name in ("warm", "after"):
            shutil.copytree(folder / "before", folder / name)
            seconds = killing.run(fill, endpoint, folder / name)
        yield Undisturbed(hub, endpoint, folder / "before", folder / "after", seconds)


@pytest.mark.long(full=100, sample=2)
def test_a_stage_killed_anywhere_ends_equal(tmp_path: Path, undisturbed: Undisturbed, seed: int) -> None:
    rng, root = random.Random(seed), tmp_path / "root"
    shutil.copytree(undisturbed.before, root)
    undisturbed.stumble()
    for longest in (1.1 * undisturbed.seconds, undisturbed.seconds):
        killing.kill(fill_patiently, undisturbed.endpoint, root, after_s=rng.uniform(0, longest))
    killing.run(fill_patiently, undisturbed.endpoint, root)
    assert contents(root) == contents(undisturbed.after)


def test_a_killed_download_is_gone_on_with(tmp_path: Path) -> None:
    hub, root = Hub(make_pool(tmp_path / "pool"), day=1), tmp_path / "root"
    drip = {"fault": "drip", "kind": "weights", "path": "ann/neon", "seconds": 0.05}
    with running(hub) as endpoint:
        crawl_hub(endpoint, root, DAYS[1])
        hub.change({"fail": drip})
        killing.kill(fill, endpoint, root, until=lambda: any(size(part) > 20 for part in parts(root)))
        (part,) = parts(root)
        begun = part.stat().st_ino
        killing.run(fill, endpoint, root)
        row = pool.adapters(root)[next(row.key for row in catalog.catalog(root) if row.id == "ann/neon")]
        assert pool.weights_path(root, row.sha256).stat().st_ino == begun
    assert not pool.incoming(root).exists()


def parts(root: Path) -> list[Path]:
    """Return the beginnings of downloads that have a note."""
    return [path for path in pool.incoming(root).glob("*.part") if Path(f"{path}.json").exists()]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def fill_on_a_full_disk(endpoint: str, root: Path, limit: int) -> None:
    """Run the stage where no file may have more than `limit` bytes: the kernel says so as of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(DiskFull, match=r"the disk of .* is full \(.*\): make room and run this again"):
        fill(endpoint, root)


@pytest.mark.parametrize("kind", ["weights/", "sketches/", "adapters.jsonl", "renderings.jsonl"])
def test_a_full_disk_is_named_and_what_is_whole_is_kept(
    tmp_path: Path, undisturbed: Undisturbed, kind: str
) -> None:
    root, whole = tmp_path / "root", contents(undisturbed.after)
    limit = max(len(content) for name, content in whole.items() if kind in name) - 1
    shutil.copytree(undisturbed.before, root)
    killing.run(fill_on_a_full_disk, undisturbed.endpoint, root, limit)
    for name, content in contents(root).items():
        if not name.endswith((".jsonl", ".json")):
            assert content == whole[name]
    killing.run(fill, undisturbed.endpoint, root)
    assert contents(root) == whole


def test_tables_that_cannot_be_written_stay_as_they_were(tmp_path: Path, undisturbed: Undisturbed) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed.after, root)
    table = pool.table_path(root, "adapters")
    shuffled = b"".join(reversed(table.read_bytes().splitlines(keepends=True)))
    table.write_bytes(shuffled)
    killing.run(fill_on_a_full_disk, undisturbed.endpoint, root, len(shuffled) - 1)
    assert table.read_bytes() == shuffled
    killing.run(fill, undisturbed.endpoint, root)
    assert contents(root) == contents(undisturbed.after)


def test_a_full_disk_ends_all_downloads(fixture: Fixture) -> None:
    hubs = {"huggingface": client(fixture.endpoint)}
    intake, stock = Intake(fixture.root, hubs, TERMS, RULES.max_file_mb), Stock(fixture.root, TERMS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        failures = fetch(intake.fetch_adapters, batches(stock.missing_adapters(), 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(failures) == 4 and all(isinstance(failure, DiskFull) for failure in failures)
    assert fixture.asked() == {"weights": 1}


def test_a_batch_that_is_tried_again_asks_for_the_rest(fixture: Fixture) -> None:
    hubs = {"huggingface": client(fixture.endpoint)}
    intake, stock = Intake(fixture.root, hubs, TERMS, RULES.max_file_mb), Stock(fixture.root, TERMS)
    fixture.hub.change({"fail": {"kind": "weights", "path": "bob/cat", "status": 500}})
    with pytest.raises(HubError, match="bob/cat"):
        intake.fetch_adapters(stock.missing_adapters())
    assert fixture.asked() == {"weights": 4}
    assert intake.fetch_adapters(stock.missing_adapters()) == 1
    assert fixture.asked() == {"weights": 5}


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of a root, folders with a slash."""
    return {
        f"{path.relative_to(root)}{'/' * path.is_dir()}": path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }


def test_from_nothing_the_digest_is_equal(filled: Fixture) -> None:
    whole = digest_path(filled.root, "pool").read_bytes()
    shutil.rmtree(filled.root / "data/pool")
    filled.fill(batch=3)
    assert digest_path(filled.root, "pool").read_bytes() == whole


def test_wrong_bytes_stay_out(fixture: Fixture) -> None:
    fixture.hub.change({"fail": {"kind": "weights", "path": "ann/ink", "body": "wrong"}})
    with pytest.raises(HubError, match=r"ann/ink/lora.safetensors \(.*hash mismatch.*nothing was kept"):
        fixture.fill()
    assert fixture.adapters().keys() == {"ann/neon", "bob/cat", "eve/pickle"}
    assert not digest_path(fixture.root, "pool").exists()
    assert len(list((fixture.root / "data/pool/weights").glob("*/*"))) == 2
    fixture.hub.change({"reset": True})
    fixture.fill()
    assert fixture.asked() == {"weights": 1, "renderings": 2}


def test_a_hub_that_is_down_keeps_what_is_there(filled: Fixture) -> None:
    filled.hub.change({"day": 2})
    filled.crawl(day=2)
    before = filled.files()
    filled.hub.stop()
    with pytest.raises(
        HubError, match=r"bob/late/lora.safetensors, cat/later/lora.safetensors .*is it running"
    ):
        filled.fill()
    assert filled.files() == before


def test_a_picture_that_is_none_is_refused_once(tmp_path: Path) -> None:
    folder = make_pool(tmp_path / "pool")
    (folder / "ann/ink/images/0.png").write_bytes(b"GIF89a of another kind")
    hub = Hub(folder, day=1)
    with running(hub) as endpoint:
        fixture = Fixture(hub, endpoint, tmp_path / "root")
        fixture.crawl()
        fixture.fill()
        (refused,) = pool.refused_renderings(fixture.root).values()
        assert refused.code == "not-an-image"
        assert len(pool.renderings(fixture.root)) == 5
        before = fixture.files()
        hub.change({"reset": True})
        fixture.fill()
        assert fixture.asked() == {} and fixture.files() == before


def test_a_picture_comes_from_the_first_hub_that_gives_it(fixture: Fixture) -> None:
    source = Source("modelscope", f"{fixture.endpoint}/modelscope", 5.0, 1, None)
    hubs = {"huggingface": client(fixture.endpoint), "modelscope": ModelScope(source)}
    rules = replace(RULES, hubs=tuple(hubs))
    looks = [crawl.look(fixture.root, hub, rules, DAYS[1]) for hub in hubs.values()]
    crawl.write(fixture.root, crawl.plan(fixture.root, looks, rules, DAYS[1]))
    broken = {"fault": "404", "hub": "huggingface", "kind": "renderings", "path": "ann/ink", "times": 100}
    fixture.hub.change({"fail": broken})
    fixture.hub.change({"reset": True})
    stock = Stock(fixture.root, TERMS)
    intake = Intake(fixture.root, hubs, TERMS, RULES.max_file_mb)
    intake.fetch_adapters(stock.missing_adapters())
    stock.compare_newcomers()
    intake.fetch_renderings(stock.missing_renderings())
    stock.finish(DAYS[1])
    asked = fixture.hub.requests()
    assert (asked["renderings"], asked["modelscope"]["renderings"]) == (6, 2)


def test_a_hub_that_gives_nothing_is_soon_asked_no_more(fixture: Fixture) -> None:
    fixture.hub.change({"fail": {"status": 404, "kind": "weights", "times": 100}})
    intake = Intake(fixture.root, {"huggingface": client(fixture.endpoint)}, TERMS, RULES.max_file_mb)
    missing = Stock(fixture.root, TERMS).missing_adapters()
    for _ in range(IN_A_ROW):
        with pytest.raises(NotGiven) as failed:
            intake.fetch_adapters(missing)
    assert fixture.asked() == {"weights": IN_A_ROW}
    assert failed.value.reasons.keys() == {origins.named.key for origins in missing}


def test_what_is_never_had_cannot_keep_others_out(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolora.pool.ingest.IN_A_ROW", 2)
    first, *rest = [origins.named for origins in Stock(fixture.root, TERMS).missing_adapters()]
    broken = {first.id, rest[0].id}
    for id in broken:
        fixture.hub.change({"fail": {"status": 404, "kind": "weights", "path": id, "times": 100}})
    with pytest.raises(HubError, match="not asked for"):
        fixture.fill()
    noted = {one.id: one.nights for one in failed_downloads.read(fixture.root).values()}
    assert noted == {row.id: int(row.id in broken) for row in (first, *rest)}
    assert {origins.named.id for origins in Stock(fixture.root, TERMS).missing_adapters()[-2:]} == broken
    with pytest.raises(HubError, match="404"):
        fixture.fill()
    assert not broken & fixture.adapters().keys() and len(fixture.adapters()) == len(rest) - 1


def test_pictures_lie_under_the_hash_of_what_was_downloaded(filled: Fixture) -> None:
    (listing, *_) = catalog.catalog(filled.root)
    for rendering in listing.renderings:
        row = pool.renderings(filled.root)[rendering.key]
        assert row.sha256 == rendering.sha256 == rendering.key
        assert (row.width, row.height) == (16, 12)
        assert pool.rendering_path(filled.root, row.sha256).read_bytes().startswith(b"\x89PNG")


def test_the_same_file_under_two_names_is_one_adapter(tmp_path: Path) -> None:
    folder = make_pool(tmp_path / "pool")
    shutil.copy(folder / "ann/ink/lora.safetensors", folder / "bob/cat/lora.safetensors")
    hub = Hub(folder, day=1)
    with running(hub) as endpoint:
        fixture = Fixture(hub, endpoint, tmp_path / "root")
        fixture.crawl()
        fixture.fill()
        assert fixture.asked()["weights"] == 3
        assert fixture.adapters()["ann/ink"] == fixture.adapters()["bob/cat"]
        hub.change({"withdraw": "ann/ink"})
        fixture.crawl(day=2)
        fixture.fill()
        assert fixture.adapters()["bob/cat"].accepted
        assert pool.weights_path(fixture.root, fixture.adapters()["bob/cat"].sha256).exists()


@pytest.mark.parametrize("bounds", [{"sketch_size": 16}, {"max_rank": 8}])
def test_another_recipe_reads_again_without_downloading(filled: Fixture, bounds: dict[str, Any]) -> None:
    terms = replace(TERMS, bounds=replace(BOUNDS, **bounds))
    assert terms.recipe != TERMS.recipe
    filled.fill(terms)
    assert filled.asked() == {"weights": 1}, "only the refused file, which is not kept"
    assert {row.recipe for row in filled.adapters().values()} == {terms.recipe}
    ink = pool.load_sketch(filled.root, filled.adapters()["ann/ink"].sha256)
    assert ink.values.shape == (len(SLOTS), terms.bounds.sketch_size, terms.bounds.sketch_size)


def test_a_stricter_bound_lets_go_of_the_file(filled: Fixture) -> None:
    filled.fill(replace(TERMS, bounds=replace(BOUNDS, max_rank=2)))
    assert {row.verdict for row in filled.adapters().values()} == {"rank-out-of-bounds", "pickle"}
    for kind in ("weights", "sketches", "renderings"):
        assert not list((filled.root / "data/pool" / kind).rglob("*.*"))


def test_a_saved_sketch_is_the_sketch(filled: Fixture) -> None:
    row = filled.adapters()["ann/ink"]
    reading = read(pool.weights_path(filled.root, row.sha256), SLOTS, BOUNDS)
    exact = sketch(reading.lora, SLOTS, TERMS.spec)
    saved = pool.load_sketch(filled.root, row.sha256)
    assert cosine(exact, saved) > 0.999999
    torch.testing.assert_close(
        saved.values, exact.values, rtol=1e-3, atol=1e-3 * float(exact.values.abs().max())
    )
    assert torch.equal(saved.present, exact.present)


def test_a_sketch_keeps_tiny_and_absent_slots(tmp_path: Path) -> None:
    lora = draw_lora()
    name, other = SLOTS[0].name, SLOTS[1].name
    lora[name] = replace(lora[name], scale=1e-20)
    del lora[other]
    exact = sketch(lora, SLOTS, TERMS.spec)
    pool.save_sketch(tmp_path, "ab" * 32, exact)
    saved = pool.load_sketch(tmp_path, "ab" * 32)
    torch.testing.assert_close(saved.values[0] * 1e20, exact.values[0] * 1e20, rtol=1e-2, atol=1e-2)
    assert not saved.present[1] and not saved.values[1].any()


def test_a_sketch_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run `dvc repro --force --single-item pool`"):
        pool.load_sketch(tmp_path, "ab" * 32)
    path = pool.sketch_path(tmp_path, "ab" * 32)
    path.parent.mkdir(parents=True)
    save_file({"values": torch.zeros(1)}, path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MissingArtifact):
        pool.load_sketch(tmp_path, "ab" * 32)
