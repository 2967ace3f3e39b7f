"""Duplicates: one adapter with several origins, and adapters that are an earlier one saved anew."""

import datetime
import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.hubs.folder.client import Folder
from autolora.lora.factors import Lora
from autolora.pool import recipe
from autolora.pool import store as pool
from autolora.pool.ingest import Intake
from autolora.pool.near_duplicates import NEAR, gather, settle
from autolora.pool.stage import Stock
from autolora.records import Adapter, ListedRendering, Listing
from autolora.storage.files import hash_file
from autolora.storage.incremental import digest_path, read_digest
from bench.variants import Copy, copies, lay_out_copy
from tests.lora.writing import draw_lora, kohya, peft, write
from tests.support.tiny_pool import TERMS, picture

DAY = datetime.date(2026, 1, 5)
MUST_BE_FOUND = [copy for copy in copies() if copy.asked]
WIDE = replace(TERMS, bounds=replace(TERMS.bounds, sketch_size=32, max_rank=32))
"""a small sketch is a coarse one"""


class World:
    """A folder of LoRA files, and a repository whose catalog lists them."""

    def __init__(self, home: Path) -> None:
        self.shelf, self.root = home / "shelf", home / "root"
        self.hubs = {name: Folder(self.shelf) for name in ("folder", "civitai")}

    def put(self, id: str, tensors: Mapping, day: int = 0, hub: str = "folder", told: bool = True) -> Listing:
        """Put a LoRA and its picture on the shelf and return its listing."""
        (self.shelf / id).mkdir(parents=True, exist_ok=True)
        path = write(self.shelf / id / "lora.safetensors", tensors)
        (self.shelf / id / "0.png").write_bytes(picture(len(id), (12, len(id))))
        shown = ListedRendering(url=f"folder:{id}/0.png", sha256=None, prompt=None)
        return Listing(
            hub=hub, id=id, version="1", file="lora.safetensors", url=f"folder:{id}/lora.safetensors",
            size=path.stat().st_size, sha256=hash_file(path) if told else None, license=None, base_model=None,
            nsfw=False, trigger_words=(), renderings=(shown,), first_seen=DAY + datetime.timedelta(days=day),
        )  # fmt: skip

    def night(self, *listings: Listing, terms: recipe.Terms = WIDE) -> dict[str, Adapter]:
        """List these, run the stage, and return the rows by id."""
        catalog.write(self.root, listings)
        stock = Stock(self.root, terms)
        intake = Intake(self.root, self.hubs, terms, max_file_mb=10)
        intake.fetch_adapters(stock.missing_adapters())
        self.newcomers = stock.compare_newcomers()
        self.fetched = intake.fetch_renderings(stock.missing_renderings())
        stock.finish(DAY)
        rows = pool.adapters(self.root)
        return {listing.id: rows[listing.key] for listing in listings}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def lora() -> Lora:
    return draw_lora(1, ranks=(4, 8))


def copy_of(name: str) -> Copy:
    return next(copy for copy in copies() if copy.name == name)


@pytest.mark.parametrize("copy", MUST_BE_FOUND, ids=lambda copy: copy.name)
def test_a_copy_is_told_from_others_however_it_was_saved(world: World, lora: Lora, copy: Copy) -> None:
    original = world.put("ann/ink", peft(lora))
    again = world.put("eve/mine", lay_out_copy(copy, lora, "eve"), day=1)
    other = world.put("bob/other", kohya(draw_lora(2)), day=1)
    rows = world.night(original, other, again)
    assert {id: row.verdict for id, row in rows.items()} == {
        "ann/ink": "accepted", "eve/mine": NEAR, "bob/other": "accepted",
    }  # fmt: skip
    reason = rows["eve/mine"].reason
    assert f"that one is folder:ann/ink/lora.safetensors (sha256 {original.sha256})" in reason
    assert 0.99 <= float(reason.split("cosine ")[1][:6]) <= 1
    assert world.fetched == 2, "pictures of a near-duplicate are not fetched"
    digest = read_digest(world.root, "pool")
    assert (digest["accepted"], digest["near_duplicates"], digest["refused"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("copy", "words"),
    [
        ("re-scaled", "0.37 times as strong"),
        ("re-saved", "layout onetrainer, there peft; stored as float16, there float32"),
        ("rank-padded", "factored, padded or rounded anew"),
        ("re-factored", "stored as bfloat16, there float32"),
    ],
)
def test_a_verdict_says_how_a_copy_differs(world: World, lora: Lora, copy: str, words: str) -> None:
    listings = world.put("a", peft(lora)), world.put("b", lay_out_copy(copy_of(copy), lora, "b"), day=1)
    assert world.night(*listings)["b"].reason.endswith(words)


def test_the_order_of_downloads_does_not_matter(world: World, lora: Lora) -> None:
    files = [
        world.put(id, lay_out_copy(copy, lora, id), day)
        for (day, id), copy in zip(enumerate("abc"), MUST_BE_FOUND, strict=False)
    ]
    outcomes = set()
    for order in itertools.permutations(files):
        shutil.rmtree(world.root, ignore_errors=True)
        for end in range(1, len(order) + 1):
            rows = world.night(*order[:end])
            first = min(order[:end], key=lambda listing: listing.first_seen)
            assert {id for id, row in rows.items() if row.accepted} == {first.id}
        tables = [pool.table_path(world.root, name).read_bytes() for name in ("adapters", "alike")]
        outcomes.add((digest_path(world.root, "pool").read_bytes(), *tables))
    assert len(outcomes) == 1


def test_the_next_one_takes_the_place_of_a_withdrawn_original(world: World, lora: Lora) -> None:
    a, b, c = (
        world.put(id, lay_out_copy(copy_of(name), lora, id), day)
        for day, (id, name) in enumerate({"a": "re-saved", "b": "re-scaled", "c": "rank-padded"}.items())
    )
    rows = world.night(a, b, c)
    assert [rows[id].verdict for id in "abc"] == ["accepted", NEAR, NEAR]
    for id in "bc":
        (world.shelf / id / "lora.safetensors").unlink()
    rows = world.night(b, c)
    assert rows["b"].accepted and "that one is folder:b/" in rows["c"].reason
    assert (world.newcomers, world.fetched) == (0, 1)
    assert not pool.weights_path(world.root, a.sha256 or "").exists()


def test_on_one_day_the_catalogs_order_decides(world: World, lora: Lora) -> None:
    a, b = world.put("a", peft(lora)), world.put("b", kohya(lora))
    assert world.night(b, a)["b"].accepted
    assert world.night(a, b)["a"].accepted


def test_a_night_compares_newcomers_alone(world: World, lora: Lora) -> None:
    a, b = world.put("a", peft(lora)), world.put("b", peft(draw_lora(2)))
    world.night(a, b)
    assert world.newcomers == 2
    world.night(a, b)
    assert world.newcomers == 0
    rows = world.night(a, b, world.put("c", kohya(lora), day=1))
    assert (world.newcomers, rows["c"].verdict) == (1, NEAR)


def test_another_threshold_reads_no_file_again(world: World, lora: Lora) -> None:
    a, b = world.put("a", peft(lora)), world.put("b", kohya(draw_lora(2)), day=1)
    assert world.night(a, b)["b"].accepted
    shutil.rmtree(world.shelf)
    lax = replace(WIDE, bounds=replace(WIDE.bounds, near_duplicate_cosine=-1.0))
    assert world.night(a, b, terms=lax)["b"].verdict == NEAR
    assert world.newcomers == 2


def test_a_near_duplicate_of_a_near_duplicate_is_an_original(world: World, lora: Lora) -> None:
    listings = [world.put(id, peft(lora), day) for day, id in enumerate("abc")]
    rows = world.night(*listings)
    some = next(iter(rows.values()))
    three = {id: replace(some, key=id, sha256=id) for id in "abc"}
    files = gather(replace(listing, sha256=listing.id) for listing in listings)
    settled = settle(three, files, {"b": {"a": 0.995}, "c": {"b": 0.995}})
    assert [settled[id].verdict for id in "abc"] == ["accepted", NEAR, "accepted"]


@pytest.mark.parametrize("told", [True, False])
def test_equal_bytes_are_one_adapter_with_two_origins(world: World, lora: Lora, told: bool) -> None:
    listings = [
        world.put("ann/ink", peft(lora), day=1, hub="civitai", told=told),
        world.put("ann/ink-again", peft(lora), told=told),
        world.put("bob/cat", kohya(draw_lora(2)), told=told),
    ]
    rows = world.night(*listings)
    assert rows["ann/ink"].sha256 == rows["ann/ink-again"].sha256
    assert all(row.accepted for row in rows.values())
    assert [rows[id].warnings for id in ("ann/ink", "ann/ink-again", "bob/cat")] == [
        ("exact-duplicate",), ("exact-duplicate",), (),
    ]  # fmt: skip
    for kind in ("weights", "sketches"):
        assert len(list((pool.folder(world.root) / kind).glob("*/*"))) == 2
    assert len(list(pool.load_fingerprints(world.root, [rows["ann/ink"].sha256]))) == 1
    alone = world.night(listings[0])
    assert alone["ann/ink"].accepted and not alone["ann/ink"].warnings


def test_a_file_comes_from_the_first_origin_that_gives_it(world: World, lora: Lora) -> None:
    first = world.put("ann/ink", peft(lora), hub="civitai")
    second = world.put("bob/ink", peft(lora), day=1)
    (world.shelf / "ann/ink/lora.safetensors").unlink()
    assert world.night(first, second)["ann/ink"].accepted


def test_files_json_says_what_the_folders_should_hold(world: World, lora: Lora) -> None:
    a, b = world.put("a", peft(lora)), world.put("b", kohya(draw_lora(2)))
    world.night(a)
    one = pool.note_path(world.root).read_bytes()
    assert {name: json.loads(one)[name] for name in pool.FOLDERS} == dict.fromkeys(pool.FOLDERS, 1)
    world.night(a, b)
    assert pool.note_path(world.root).read_bytes() != one
    world.night(a)
    assert pool.note_path(world.root).read_bytes() == one
