"""Counts and sizes: given, of the catalog, or assumed."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.errors import ParamsError
from autolora.params import load
from autolora.planning.workload import make_workload
from autolora.pool import store as pool
from autolora.records import ListedRendering
from autolora.storage.files import write_rows
from tests.support.synthetic_repo import make_adapters, write_repository

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


def test_without_a_catalog_sizes_are_assumed() -> None:
    work = make_workload(PARAMS, None, 1e6, 100)
    assert (work.adapters, work.file_bytes, work.pooled, work.nights) == (100, 1e6, 0, 1)
    assert work.image_px == PARAMS.generation.width * PARAMS.generation.height
    assert work.images == 100 * PARAMS.crawl.max_renderings
    assert work.captions == 3 * work.images


@pytest.mark.parametrize(("adapters", "training"), [(1, 0), (3, 1), (4, 2), (25, 14), (50, 28), (100, 56)])
def test_training_adapters_are_whole_and_rounded_down(adapters: int, training: int) -> None:
    assert make_workload(PARAMS, None, 1e6, adapters).training_adapters == training  # .56 of them


def test_no_captions_are_counted_if_none_are_written() -> None:
    params = replace(PARAMS, captions=replace(PARAMS.captions, engine=None))
    assert make_workload(params, None, 1e6, 100).captions == 0


def test_numbers_are_those_of_the_catalog_unless_they_are_given(tmp_path: Path) -> None:
    write_repository(tmp_path, make_adapters())
    listings = [replace(listing, size=4000) for listing in catalog.read_active(tmp_path)]
    images = tuple(ListedRendering(url=f"u{n}", sha256=None, prompt=None, nsfw_level=None) for n in range(2))
    listings[0] = replace(listings[0], renderings=images)
    catalog.write(tmp_path, listings)
    sizes = [{"key": f"{n}", "sha256": f"{n}", "width": 10 * n, "height": 20} for n in (1, 3)]
    write_rows(pool.table_path(tmp_path, "renderings"), sizes)
    work = make_workload(PARAMS, tmp_path, 1e6, None)
    assert (work.adapters, work.file_bytes) == (len(listings), 4000) and work.pooled > 0
    assert work.image_px == (200 + 600) / 2
    assert work.images == sum(len(listing.renderings) for listing in listings)
    assert make_workload(PARAMS, tmp_path, 1e6, 7).adapters == 7


def test_a_nights_files_are_the_number_of_adapters_of_a_first_run() -> None:
    params = replace(PARAMS, crawl=replace(PARAMS.crawl, max_new_files=250))
    assert make_workload(params, None, 1e6, None).adapters == 250
    assert make_workload(params, None, 1e6, 1001).nights == 5


def test_an_unknown_number_of_adapters_is_an_error_that_names_the_option() -> None:
    with pytest.raises(ParamsError, match=r"give it \(`autolora plan --adapters 1000`\)"):
        make_workload(PARAMS, None, 1e6, None)
