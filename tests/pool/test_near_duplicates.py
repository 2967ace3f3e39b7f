"""Exact duplicates become one adapter with several sources; near-duplicates refer to their original."""

import datetime
import itertools
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.hubs.folder.client import Folder
from autolora.lora.factors import Lora
from autolora.pool import store as pool
from autolora.pool.batches import present_files
from autolora.pool.ingest import Ingest
from autolora.pool.near_duplicates import NEAR_DUPLICATE, assign_verdicts
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from autolora.records import Adapter, ListedRendering, Listing
from autolora.storage.hashes import hash_file
from autolora.storage.incremental import digest_path, read_digest
from tests.lora.copies import COPIES, LAYOUTS
from tests.lora.writing import Tensors, draw_lora, kohya, peft, write
from tests.support.tiny_pool import RECIPE as SMALL_SKETCH_RECIPE
from tests.support.tiny_pool import encoded_image

DAY = datetime.date(2026, 1, 5)
RECIPE = replace(SMALL_SKETCH_RECIPE, bounds=replace(SMALL_SKETCH_RECIPE.bounds, sketch_size=32, max_rank=32))
"""a larger sketch than in other tests, because the cosines of small sketches are inexact"""


class FolderSite:
    """A folder hub and a repository whose catalog lists its files."""

    def __init__(self, home: Path) -> None:
        self.hub_folder, self.root = home / "hub", home / "root"
        self.hubs = {name: Folder(self.hub_folder) for name in ("folder", "civitai")}

    def put(
        self, id: str, tensors: Mapping, day: int = 0, hub: str = "folder", lists_sha256: bool = True
    ) -> Listing:
        """Write a LoRA and an image to the hub, and return the listing.

        lists_sha256: whether the hub reports the sha256 of the file.
        """
        (self.hub_folder / id).mkdir(parents=True, exist_ok=True)
        path = write(self.hub_folder / id / "lora.safetensors", tensors)
        (self.hub_folder / id / "0.png").write_bytes(encoded_image(len(id), (12, len(id))))
        rendering = ListedRendering(url=f"folder:{id}/0.png", sha256=None, prompt=None)
        return Listing(
            hub=hub, id=id, version="1", file="lora.safetensors", url=f"folder:{id}/lora.safetensors",
            size=path.stat().st_size, sha256=hash_file(path) if lists_sha256 else None, license=None, base_model=None,
            nsfw=False, trigger_words=(), renderings=(rendering,), first_seen=DAY + datetime.timedelta(days=day),
        )  # fmt: skip

    def run_stage(self, *listings: Listing, recipe: ReadRecipe = RECIPE) -> dict[str, Adapter]:
        """Write the catalog, run the stage, and return the rows by id."""
        catalog.write(self.root, listings)
        sync = PoolSync(self.root, recipe)
        ingest = Ingest(sync.tables, self.hubs, recipe, max_file_mb=10)
        ingest.fetch_adapters(sync.missing_adapters())
        self.num_new = sync.compare_new_adapters()
        self.num_images = ingest.fetch_renderings(sync.missing_renderings())
        sync.finish(DAY)
        rows = pool.adapters(self.root)
        return {listing.id: rows[listing.key] for listing in listings}


@pytest.fixture
def site(tmp_path: Path) -> FolderSite:
    return FolderSite(tmp_path)


@pytest.fixture(scope="module")
def lora() -> Lora:
    return draw_lora(1, ranks=(4, 8))


def copy_of(lora: Lora, kind: str, layout: str = "peft") -> Tensors:
    rng = random.Random(kind)
    return LAYOUTS[layout]({name: COPIES[kind](rng, factors) for name, factors in lora.items()})


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_in_any_form_is_a_near_duplicate(site: FolderSite, lora: Lora, kind: str) -> None:
    original = site.put("ann/ink", peft(lora))
    again = site.put("eve/mine", copy_of(lora, kind, "onetrainer"), day=1)
    other = site.put("bob/other", kohya(draw_lora(2)), day=1)
    rows = site.run_stage(original, other, again)
    assert {id: row.verdict for id, row in rows.items()} == {
        "ann/ink": "accepted", "eve/mine": NEAR_DUPLICATE, "bob/other": "accepted",
    }  # fmt: skip
    reason = rows["eve/mine"].reason
    assert f"the original is folder:ann/lora.safetensors (sha256 {original.sha256})" in reason
    assert 0.99 <= float(reason.split("cosine ")[1][:6]) <= 1
    assert site.num_images == 2, "images of a near-duplicate are not downloaded"
    digest = read_digest(site.root, "pool")
    assert (digest["accepted"], digest["near_duplicates"], digest["refused"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("kind", "layout", "differences"),
    [
        ("re-scaled", "peft", "0.37 times the original's norm"),
        ("re-saved in double precision", "onetrainer",
         "layout onetrainer instead of peft; dtype float64 instead of float32"),
        ("re-factored", "peft", "the files differ only in factorization, padding or rounding"),
        ("rank-padded", "peft", "rank 14 instead of 8"),
    ],
)  # fmt: skip
def test_the_reason_describes_the_differences(
    site: FolderSite, lora: Lora, kind: str, layout: str, differences: str
) -> None:
    listings = site.put("a", peft(lora)), site.put("b", copy_of(lora, kind, layout), day=1)
    assert site.run_stage(*listings)["b"].reason.endswith(differences)


@pytest.mark.slow
def test_the_order_of_downloads_does_not_matter(site: FolderSite, lora: Lora) -> None:
    kinds = ("re-saved in double precision", "re-scaled", "re-quantized to fp8")
    files = [
        site.put(id, copy_of(lora, kind), day)
        for day, (id, kind) in enumerate(zip("abc", kinds, strict=True))
    ]
    outcomes = set()
    for order in itertools.permutations(files):
        shutil.rmtree(site.root, ignore_errors=True)
        for end in range(1, len(order) + 1):
            rows = site.run_stage(*order[:end])
            first = min(order[:end], key=lambda listing: listing.first_seen)
            assert {id for id, row in rows.items() if row.accepted} == {first.id}
        tables = [pool.table_path(site.root, name).read_bytes() for name in ("adapters", "near_duplicates")]
        outcomes.add((digest_path(site.root, "pool").read_bytes(), *tables))
    assert len(outcomes) == 1


def test_the_next_adapter_replaces_a_withdrawn_original(site: FolderSite, lora: Lora) -> None:
    a, b, c = (
        site.put(id, copy_of(lora, kind), day)
        for day, (id, kind) in enumerate({"a": "re-saved", "b": "re-scaled", "c": "rank-padded"}.items())
    )
    rows = site.run_stage(a, b, c)
    assert [rows[id].verdict for id in "abc"] == ["accepted", NEAR_DUPLICATE, NEAR_DUPLICATE]
    for id in "bc":
        (site.hub_folder / id / "lora.safetensors").unlink()
    rows = site.run_stage(b, c)
    assert rows["b"].accepted and f"(sha256 {rows['b'].sha256})" in rows["c"].reason
    assert (site.num_new, site.num_images) == (0, 1)


def test_within_a_day_the_order_of_the_catalog_decides(site: FolderSite, lora: Lora) -> None:
    a, b = site.put("a", peft(lora)), site.put("b", kohya(lora))
    assert site.run_stage(b, a)["a"].accepted
    assert site.run_stage(a, b)["a"].accepted


def test_a_run_compares_only_new_adapters(site: FolderSite, lora: Lora) -> None:
    a, b = site.put("a", peft(lora)), site.put("b", peft(draw_lora(2)))
    site.run_stage(a, b)
    assert site.num_new == 2
    site.run_stage(a, b)
    assert site.num_new == 0
    rows = site.run_stage(a, b, site.put("c", kohya(lora), day=1))
    assert (site.num_new, rows["c"].verdict) == (1, NEAR_DUPLICATE)


def test_another_threshold_does_not_read_files_again(site: FolderSite, lora: Lora) -> None:
    a, b = site.put("a", peft(lora)), site.put("b", kohya(draw_lora(2)), day=1)
    assert site.run_stage(a, b)["b"].accepted
    shutil.rmtree(site.hub_folder)
    low_threshold = replace(RECIPE, bounds=replace(RECIPE.bounds, near_duplicate_cosine=-1.0))
    assert site.run_stage(a, b, recipe=low_threshold)["b"].verdict == NEAR_DUPLICATE
    assert site.num_new == 2


def test_a_near_duplicate_of_a_near_duplicate_is_an_original(site: FolderSite, lora: Lora) -> None:
    listings = [site.put(id, peft(lora), day) for day, id in enumerate("abc")]
    rows = site.run_stage(*listings)
    row = next(iter(rows.values()))
    adapters = {id: replace(row, key=id, sha256=id) for id in "abc"}
    listings = [replace(listing, sha256=listing.id) for listing in listings]
    judged = assign_verdicts(adapters, listings, {"b": {"a": 0.995}, "c": {"b": 0.995}})
    assert [judged[id].verdict for id in "abc"] == ["accepted", NEAR_DUPLICATE, "accepted"]


@pytest.mark.parametrize("lists_sha256", [True, False])
def test_equal_bytes_are_one_adapter_with_two_sources(
    site: FolderSite, lora: Lora, lists_sha256: bool
) -> None:
    listings = [
        site.put("ann/ink", peft(lora), day=1, hub="civitai", lists_sha256=lists_sha256),
        site.put("ann/ink-again", peft(lora), lists_sha256=lists_sha256),
        site.put("bob/cat", kohya(draw_lora(2)), lists_sha256=lists_sha256),
    ]
    rows = site.run_stage(*listings)
    assert rows["ann/ink"].sha256 == rows["ann/ink-again"].sha256
    assert all(row.accepted for row in rows.values())
    assert [rows[id].warnings for id in ("ann/ink", "ann/ink-again", "bob/cat")] == [
        ("exact-duplicate",), ("exact-duplicate",), (),
    ]  # fmt: skip
    assert len(present_files(site.root, "weights")) == len(pool.find_sketches(site.root)) == 2
    assert len(list(pool.load_fingerprints(site.root, [rows["ann/ink"].sha256]))) == 1
    (row,) = site.run_stage(listings[0]).values()
    assert row.accepted and not row.warnings


def test_a_file_is_downloaded_from_the_first_available_source(site: FolderSite, lora: Lora) -> None:
    first = site.put("ann/ink", peft(lora), hub="civitai")
    second = site.put("bob/ink", peft(lora), day=1)
    (site.hub_folder / "ann/ink/lora.safetensors").unlink()
    assert site.run_stage(first, second)["ann/ink"].accepted
