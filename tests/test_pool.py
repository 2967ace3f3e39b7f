"""The pool, from a real hub over real sockets: what is downloaded and refused, what a kill leaves behind."""

import datetime
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from autolora import crawl, intake, pool
from autolora.errors import HubError, MissingArtefact
from autolora.hubs.huggingface import HuggingFace
from autolora.incremental import digest_path, read_digest
from autolora.lora.read import read
from autolora.lora.sketch import cosine, sketch
from autolora.records import Adapter
from playground.hub import Hub, running
from tests import killing
from tests.lora.writing import SLOTS, draw_lora
from tests.tiny_pool import BOUNDS, RULES, TERMS, make_pool

DAYS = {1: datetime.date(2026, 1, 5), 2: datetime.date(2026, 1, 6)}


def client(endpoint: str) -> HuggingFace:
    """Return a client that asks once."""
    return HuggingFace(endpoint, 60.0, 1, None)


def crawl_hub(endpoint: str, root: Path, day: datetime.date) -> None:
    """Run the stage `crawl`."""
    crawl.write(root, crawl.look(root, client(endpoint), RULES, day), RULES)


def fill(endpoint: str, root: Path, terms: pool.Terms = TERMS, batch: int = 2) -> None:
    """Run the stage the way its flow does, without Prefect."""
    failures: list[BaseException] = []
    hubs = dict.fromkeys(pool.hubs(root), client(endpoint))
    for files in intake.batches(pool.pending_adapters(root, terms.recipe), batch):
        try:
            intake.fetch_adapters(root, files, hubs, terms, RULES.max_file_mb)
        except HubError as error:
            failures.append(error)
    for pictures in intake.batches(pool.pending_renderings(root, terms.recipe), batch):
        try:
            intake.fetch_renderings(root, pictures, hubs, terms.bounds)
        except HubError as error:
            failures.append(error)
    pool.finish(root, terms.recipe, failures)


class Fixture:
    """A hub and a repository's root, and the two stages between them."""

    def __init__(self, hub: Hub, endpoint: str, root: Path) -> None:
        self.hub, self.root, self.endpoint = hub, root, endpoint

    def crawl(self, day: int = 1) -> None:
        crawl_hub(self.endpoint, self.root, DAYS[day])
        self.hub.change({"reset": True})

    def fill(self, terms: pool.Terms = TERMS, batch: int = 2) -> None:
        fill(self.endpoint, self.root, terms, batch)

    def adapters(self) -> dict[str, Adapter]:
        """Return the pool's rows by repository."""
        rows = pool.adapters(self.root)
        return {listing.id: rows[listing.key] for listing in crawl.catalog(self.root) if listing.key in rows}

    def asked(self) -> dict[str, int]:
        """Return the counts of requests since the last crawl."""
        return {kind: number for kind, number in self.hub.requests().items() if kind != "paths"}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return every file of the root with size and time stamp."""
        paths = (path for path in self.root.rglob("*") if path.is_file())
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
    filled.hub.change({"day": 2, "withdraw": "bob/cat", "licence": ["ann/ink", "cc0-1.0"]})
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


def test_a_new_licence_downloads_nothing(filled: Fixture) -> None:
    before = {name: stamp for name, stamp in filled.files().items() if "catalog" not in name}
    filled.hub.change({"licence": ["ann/ink", "cc0-1.0"]})
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path, float]]:
    """A hub, a root before the stage ran, one after it ran undisturbed, and the seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    hub = Hub(make_pool(folder / "pool"), day=2)
    with running(hub) as endpoint:
        crawl_hub(endpoint, folder / "before", DAYS[2])
        for name in ("warm", "after"):
            shutil.copytree(folder / "before", folder / name)
            seconds = killing.run(fill, endpoint, folder / name)
        yield endpoint, folder / "before", folder / "after", seconds


@pytest.mark.long(full=200, sample=3)
def test_a_stage_killed_anywhere_ends_equal(
    tmp_path: Path, undisturbed: tuple[str, Path, Path, float], seed: int
) -> None:
    endpoint, before, after, seconds = undisturbed
    rng, root = random.Random(seed), tmp_path / "root"
    shutil.copytree(before, root)
    for moment in (rng.uniform(0, 1.1 * seconds), rng.uniform(0, seconds)):
        killing.kill(fill, endpoint, root, after_s=moment)
    killing.run(fill, endpoint, root)
    assert contents(root) == contents(after)


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
    assert read_digest(fixture.root, "pool")["accepted"] == 2
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


def test_pictures_lie_under_the_hash_of_what_was_downloaded(filled: Fixture) -> None:
    (listing, *_) = crawl.catalog(filled.root)
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
    with pytest.raises(MissingArtefact, match="run `dvc repro pool`"):
        pool.load_sketch(tmp_path, "ab" * 32)
    path = pool.sketch_path(tmp_path, "ab" * 32)
    path.parent.mkdir(parents=True)
    save_file({"values": torch.zeros(1)}, path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MissingArtefact):
        pool.load_sketch(tmp_path, "ab" * 32)
