"""Takedowns in the pool: what one covers, and that its content is neither fetched again nor reported as lost."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.errors import MissingArtifact
from autolora.pool import store as pool
from autolora.pool.tables import PoolTables
from autolora.pool.takedown import Scope, find_scope, orphaned_images
from autolora.pool.weights import load_lora
from tests.pool.site import Site
from tests.support.synthetic_repo import BOUNDS, SLOTS
from tests.support.takedown_repo import CAT, DAY, DOG, INK, OTHER, OWN, SHARED, listing, write_pool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A pool of three files with three images, one of which two files show."""
    write_pool(tmp_path)
    return tmp_path


def scope(root: Path, *names: str) -> Scope:
    return find_scope(root, names, "asked", DAY)


def names(rows: tuple[Takedown, ...]) -> list[tuple[str, str | None, str]]:
    return [(row.kind, row.sha256, f"{row.hub}:{row.id}") for row in rows]


@pytest.mark.parametrize(
    "name", [INK, INK[:6], INK.upper(), "civitai:7", "ann/ink", "huggingface:ann/ink/lora.safetensors"]
)
def test_a_file_is_taken_down_on_all_hubs_with_the_images_that_only_it_shows(root: Path, name: str) -> None:
    assert names(scope(root, name).rows) == [
        ("weights", INK, "civitai:7"),
        ("weights", INK, "huggingface:ann/ink"),
        ("rendering", OWN, "civitai:7"),
    ]
    assert scope(root, name).kept_images == {SHARED: "huggingface:bob/cat/lora.safetensors"}
    assert scope(root, name).near_duplicates == {CAT: "huggingface:bob/cat/lora.safetensors"}


def test_a_shared_image_goes_with_the_last_file_that_shows_it(root: Path) -> None:
    both = scope(root, INK, "bob/cat")
    assert {row.sha256 for row in both.rows} == {INK, CAT, OWN, SHARED}
    assert both.kept_images == both.near_duplicates == {}
    first = Takedowns(scope(root, INK).rows)
    second = find_scope(root, ["bob/cat"], "asked", DAY, first)
    assert {row.sha256 for row in second.rows} == {CAT, SHARED} and not second.kept_images
    assert orphaned_images(root, first, DAY) == []
    separate = first.with_rows(scope(root, "bob/cat").rows)
    assert names(tuple(orphaned_images(root, separate, DAY))) == [
        ("rendering", SHARED, "civitai:7"),
        ("rendering", SHARED, "huggingface:bob/cat"),
    ]


def test_an_image_is_taken_down_by_itself(root: Path) -> None:
    assert names(scope(root, SHARED).rows) == [
        ("rendering", SHARED, "civitai:7"),
        ("rendering", SHARED, "huggingface:bob/cat"),
    ]


def test_a_file_that_the_catalog_does_not_list_is_found_by_its_sha256(root: Path) -> None:
    catalog.write(root, [])
    assert names(scope(root, DOG).rows) == [("weights", DOG, ":")]
    assert names(scope(root, OTHER).rows) == [("rendering", OTHER, ":")]


def test_a_listed_file_that_was_never_downloaded_is_kept_out_by_its_name(root: Path) -> None:
    catalog.write(root, [listing("civitai", "new", None)])
    assert names(scope(root, "civitai:new").rows) == [("weights", None, "civitai:new")]


def test_a_name_of_several_files_is_an_error_that_lists_them(root: Path) -> None:
    two = [
        replace(listing("civitai", "9", sha256), file=f"{sha256[:2]}.safetensors") for sha256 in (CAT, DOG)
    ]
    catalog.write(root, two)
    with pytest.raises(
        MissingArtifact, match=rf"2 files or images: civitai:9/{CAT[:2]}.*, civitai:9/{DOG[:2]}"
    ):
        scope(root, "civitai:9")
    assert len(scope(root, f"civitai:9/{CAT[:2]}.safetensors").rows) == 1


@pytest.mark.parametrize(("name", "hint"), [("bob/cats", "bob/cat"), ("huggingface:an/ink", "ann/ink")])
def test_an_unknown_name_is_an_error_with_suggestions(root: Path, name: str, hint: str) -> None:
    with pytest.raises(MissingArtifact, match=rf"'{name}' \(did you mean '{hint}'\?\): expected a sha256"):
        scope(root, name)
    with pytest.raises(MissingArtifact, match=r"hub:id or id$"):
        scope(root, "f" * 64)


def test_an_emptied_file_counts_as_absent_for_readers(root: Path) -> None:
    assert pool.has_weights(root, INK) and pool.has_rendering(root, OWN)
    for path in (pool.weights_path(root, INK), pool.rendering_path(root, OWN)):
        os.truncate(path, 0)
    assert not pool.has_weights(root, INK) and not pool.has_rendering(root, OWN)
    assert not pool.has_weights(root, "f" * 64)
    with pytest.raises(MissingArtifact, match=r"is empty: the file was taken down .data/takedowns.jsonl."):
        load_lora(root, INK, SLOTS, BOUNDS)


def take_down(site: Site, id: str) -> str:
    """Take a file of the filled pool down, without DVC; return its sha256."""
    adapter = site.adapters()[id]
    scope = find_scope(site.root, [adapter.sha256], "asked", DAY)
    takedowns.write(site.root, Takedowns(scope.rows))
    for row in scope.rows:
        assert row.sha256
        path = pool.weights_path if row.kind == "weights" else pool.rendering_path
        os.truncate(path(site.root, row.sha256), 0)
    return adapter.sha256


def test_the_pool_neither_misses_nor_fetches_what_was_taken_down(filled: Site) -> None:
    count = len(filled.adapters())
    sha256 = take_down(filled, "ann/ink")
    filled.crawl(day=1)
    filled.run_pool()
    assert len(filled.adapters()) == count - 1 and filled.requests() == {}
    assert pool.weights_path(filled.root, sha256).stat().st_size == 0


def test_a_former_catalog_fetches_nothing_either(filled: Site) -> None:
    before = catalog.read_all(filled.root)
    take_down(filled, "ann/ink")
    filled.crawl(day=1)
    filled.run_pool()
    catalog.write(filled.root, before)
    takedowns.takedowns_path(filled.root).unlink()
    filled.run_pool()
    assert filled.requests() == {} and "ann/ink" in filled.adapters()


def test_the_same_bytes_under_a_listing_without_sha256_are_refused(filled: Site) -> None:
    sha256 = take_down(filled, "ann/ink")
    images = {row.sha256 for row in takedowns.read(filled.root).rows if row.kind == "rendering"}
    assert images
    listings = [
        replace(item, sha256=None, id="ann/copy", renderings=tuple(replace(r, sha256=None) for r in item.renderings))
        for item in catalog.read_all(filled.root)
        if item.id == "ann/ink"
    ]  # fmt: skip
    catalog.write(filled.root, listings)
    filled.run_pool()
    row = filled.adapters()["ann/copy"]
    assert (row.sha256, row.verdict) == (sha256, "taken-down") and "asked" in row.reason
    filled.hub.change({"reset": True})
    filled.run_pool()
    assert filled.requests() == {}, "a refused file is not fetched again"
    assert pool.weights_path(filled.root, sha256).stat().st_size == 0


def test_an_image_without_a_reported_sha256_is_refused(filled: Site) -> None:
    take_down(filled, "ann/ink")
    listings = catalog.read_all(filled.root)
    image = next(item for item in listings if item.id == "ann/ink").renderings[0]
    cat = next(item for item in listings if item.id == "bob/cat")
    moved = replace(image, sha256=None)
    catalog.write(filled.root, [replace(cat, renderings=(*cat.renderings, moved))])
    filled.run_pool()
    refused = PoolTables(filled.root).refused.values()
    assert {row["code"] for row in refused if row["active"]} == {"taken-down"}
    sha256 = next(row.sha256 for row in takedowns.read(filled.root).rows if row.kind == "rendering")
    assert sha256 and pool.rendering_path(filled.root, sha256).stat().st_size == 0
