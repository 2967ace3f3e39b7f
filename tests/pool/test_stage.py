"""The stage `pool` with a real hub over HTTP: what is downloaded, stored, refused and removed."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.errors import HubError
from autolora.pool import store as pool
from autolora.storage.incremental import digest_path, read_digest
from tests.lora.writing import SLOTS
from tests.pool.site import Site
from tests.support.tiny_pool import BOUNDS, RECIPE


def test_the_first_run_downloads_everything(site: Site, tmp_path: Path) -> None:
    site.run_pool()
    rows = site.adapters()
    assert {id: row.verdict for id, row in rows.items()} == {
        "ann/ink": "accepted", "ann/neon": "accepted", "bob/cat": "accepted", "eve/pickle": "pickle",
    }  # fmt: skip
    ink = rows["ann/ink"]
    weights = (tmp_path / "pool/ann/ink/lora.safetensors").read_bytes()
    assert pool.weights_path(site.root, ink.sha256).read_bytes() == weights
    assert (ink.num_slots, ink.rank_max, ink.layout, ink.dtype) == (len(SLOTS), 4, "peft", "float32")
    assert not pool.weights_path(site.root, rows["eve/pickle"].sha256).exists()
    assert "pickle" in rows["eve/pickle"].reason and not rows["eve/pickle"].accepted
    assert site.requests() == {"weights": 4, "renderings": 6}
    digest = read_digest(site.root, "pool")
    assert (digest["accepted"], digest["refused"], digest["renderings"], digest["rows"]) == (3, 1, 6, 10)
    assert not pool.incoming(site.root).exists()


def test_a_second_run_requests_and_writes_nothing(filled: Site) -> None:
    before = filled.files()
    filled.run_pool()
    filled.crawl(day=2)
    filled.run_pool()
    assert filled.files() == before
    assert filled.requests() == {}


def test_a_run_processes_only_new_files_and_keeps_withdrawn_ones_as_inactive(filled: Site) -> None:
    rows_before, files_before = filled.adapters(), filled.files()
    digest = read_digest(filled.root, "pool")["sha256"]
    filled.hub.change({"day": 2, "withdraw": "bob/cat", "license": ["ann/ink", "cc0-1.0"]})
    filled.crawl(day=2)
    filled.run_pool()
    assert filled.requests() == {"weights": 2, "renderings": 4}
    rows, files = filled.adapters(), filled.files()
    assert rows.keys() == rows_before.keys() - {"bob/cat"} | {"bob/late", "cat/later"}
    assert all(row == rows_before[id] for id, row in rows.items() if id in rows_before)
    withdrawn = rows_before["bob/cat"].sha256
    assert withdrawn in pool.find_sketches(filled.root)
    assert pool.weights_path(filled.root, withdrawn).exists()
    in_batches = {
        name: stamp for name, stamp in files_before.items() if name.endswith((".png", ".safetensors"))
    }
    assert in_batches and {name: files[name] for name in in_batches} == in_batches
    assert len(list((filled.root / "data/pool/batches").glob("*/renderings/*.png"))) == 10
    assert read_digest(filled.root, "pool")["sha256"] != digest


def test_a_withdrawn_file_that_returns_is_neither_downloaded_nor_read_again(filled: Site) -> None:
    digest = read_digest(filled.root, "pool")["sha256"]
    listings = catalog.read_all(filled.root)
    catalog.write(filled.root, [listing for listing in listings if listing.id == "ann/ink"])
    filled.run_pool()
    assert filled.adapters().keys() == {"ann/ink"} and read_digest(filled.root, "pool")["sha256"] != digest
    filled.ingest = pytest.fail  # type: ignore[method-assign]
    catalog.write(filled.root, listings)
    filled.run_pool()
    assert read_digest(filled.root, "pool")["sha256"] == digest
    assert filled.requests() == {}


def test_an_incomplete_pool_is_completed_and_equal(filled: Site) -> None:
    digest = digest_path(filled.root, "pool").read_bytes()
    tables = {
        name: (filled.root / f"data/pool/{name}.jsonl").read_bytes() for name in ("adapters", "renderings")
    }
    for name, table in tables.items():
        lines = table.splitlines(keepends=True)
        (filled.root / f"data/pool/{name}.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    (pack,) = (filled.root / "data/pool/sketches").iterdir()
    pack.unlink()
    unreferenced = pool.weights_path(filled.root, "ab" * 32)
    unreferenced.parent.mkdir(parents=True)
    leftovers = [filled.root / "data/pool/.adapters.jsonl.1", filled.root / "digests/.pool.json.1"]
    for path in (unreferenced, *leftovers):
        path.write_bytes(b"of a killed run")
    pool.incoming(filled.root).mkdir()
    (pool.incoming(filled.root) / "part").write_bytes(b"of a killed run")
    digest_path(filled.root, "pool").unlink()
    filled.run_pool()
    assert digest_path(filled.root, "pool").read_bytes() == digest
    assert {name: (filled.root / f"data/pool/{name}.jsonl").read_bytes() for name in tables} == tables
    assert not any(path.exists() for path in (unreferenced, *leftovers, pool.incoming(filled.root)))
    assert filled.requests().get("weights", 0) <= 1, "present files are read again, not downloaded"


def test_a_rebuilt_pool_has_the_same_digest(filled: Site) -> None:
    digest = digest_path(filled.root, "pool").read_bytes()
    shutil.rmtree(filled.root / "data/pool")
    filled.run_pool(batch_size=3)
    assert digest_path(filled.root, "pool").read_bytes() == digest


def test_nothing_is_removed_while_a_hub_is_down(filled: Site) -> None:
    filled.hub.change({"day": 2})
    filled.crawl(day=2)
    before = filled.files()
    filled.hub.stop()
    with pytest.raises(
        HubError, match=r"bob/late/lora.safetensors, cat/later/lora.safetensors .*cannot be reached"
    ):
        filled.run_pool()
    assert filled.files() == before


@pytest.mark.parametrize("bounds", [{"sketch_size": 16}, {"max_rank": 8}])
def test_another_recipe_reads_files_again_without_downloading(filled: Site, bounds: dict[str, Any]) -> None:
    recipe = replace(RECIPE, bounds=replace(BOUNDS, **bounds))
    assert recipe.digest != RECIPE.digest
    filled.run_pool(recipe)
    assert filled.requests() == {"weights": 1}, "only the refused file, which is not stored"
    assert {row.recipe for row in filled.adapters().values()} == {recipe.digest}
    ink = pool.load_sketch(filled.root, filled.adapters()["ann/ink"].sha256)
    assert ink.values.shape == (len(SLOTS), recipe.bounds.sketch_size, recipe.bounds.sketch_size)


def test_stricter_bounds_for_one_run_cost_no_byte_and_no_download(filled: Site) -> None:
    before = {
        name: stamp for name, stamp in filled.files().items() if "/batches/" in name or "/sketches/" in name
    }
    digest = read_digest(filled.root, "pool")["sha256"]
    filled.run_pool(replace(RECIPE, bounds=replace(BOUNDS, max_rank=2)))
    assert {row.verdict for row in filled.adapters().values()} == {"rank-out-of-bounds", "pickle"}
    filled.hub.change({"reset": True})
    filled.run_pool()
    assert read_digest(filled.root, "pool")["sha256"] == digest
    assert filled.requests() == {"weights": 1}, "only the refused file, which is not stored"
    assert {name: stamp for name, stamp in filled.files().items() if name in before} == before
