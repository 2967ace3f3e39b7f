"""Counts and sizes: given, of the catalog, or assumed."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.errors import ParamsError
from autolora.lora.slots import slots
from autolora.params import Params, load
from autolora.planning.workload import make_workload
from autolora.pool import store as pool
from autolora.records import ListedRendering
from autolora.storage.files import write_rows
from tests.support.synthetic_repo import make_adapters, write_repository
from tests.support.tiny_flux import CONFIG

ROOT = Path(__file__).parents[2]
SLOTS = slots(CONFIG)
NUMBERS = sum(slot.d_in + slot.d_out for slot in SLOTS)
PARAMS = load(ROOT / "params.yaml")


def test_without_a_catalog_sizes_are_assumed() -> None:
    work = make_workload(PARAMS, SLOTS, 16, None, 100, None)
    assert (work.adapters, work.rank, work.from_catalog) == (100, 16, False)
    assert work.file_bytes == 2 * 16 * NUMBERS
    assert work.image_px == PARAMS.generation.width * PARAMS.generation.height
    assert work.images == 100 * PARAMS.crawl.max_renderings
    assert work.captions == 3 * work.images
    assert work.training_adapters == round(100 * (1 - 0.34 - 0.1))


@pytest.mark.parametrize(("adapters", "training"), [(1, 0), (3, 1), (4, 2), (25, 14), (50, 28), (100, 56)])
def test_training_adapters_are_whole_and_rounded_down(adapters: int, training: int) -> None:
    work = make_workload(PARAMS, SLOTS, 16, None, adapters, None)
    assert work.training_adapters == training  # .56 of them
    assert work.can_train_gates == (training >= 2)


def test_no_captions_are_counted_if_none_are_written() -> None:
    params = replace(PARAMS, captions=replace(PARAMS.captions, engine=None))
    assert make_workload(params, SLOTS, 16, None, 100, None).captions == 0


def test_numbers_are_those_of_the_catalog_unless_they_are_given(tmp_path: Path) -> None:
    write_repository(tmp_path, make_adapters())
    listings = [replace(listing, size=4 * NUMBERS) for listing in catalog.read_active(tmp_path)]
    images = tuple(ListedRendering(url=f"u{n}", sha256=None, prompt=None, nsfw_level=None) for n in range(2))
    listings[0] = replace(listings[0], renderings=images)
    catalog.write(tmp_path, listings)
    sizes = [{"key": f"{n}", "sha256": f"{n}", "width": 10 * n, "height": 20} for n in (1, 3)]
    write_rows(pool.table_path(tmp_path, "renderings"), sizes)
    work = make_workload(PARAMS, SLOTS, 16, tmp_path, None, None)
    assert (work.adapters, work.rank, work.from_catalog) == (len(listings), 2, True)
    assert work.image_px == (200 + 600) / 2
    expected = sum(len(listing.renderings) for listing in listings) / len(listings)
    assert work.images_per_adapter == pytest.approx(expected)
    given = make_workload(PARAMS, SLOTS, 16, tmp_path, 7, 1.5)
    assert (given.adapters, given.images) == (7, round(10.5))


def test_the_new_files_of_a_night_are_the_adapters_of_a_first_run() -> None:
    params = replace(PARAMS, crawl=replace(PARAMS.crawl, max_new_files=250))
    assert make_workload(params, SLOTS, 16, None, None, None).adapters == 250


@pytest.mark.parametrize(("files", "per_day", "days"), [(None, 100, 1), (250, 100, 1), (15, 30, 4)])
def test_nights_follow_from_the_new_files_of_two_hubs(files: int | None, per_day: int, days: int) -> None:
    rules = replace(PARAMS.crawl, hubs=("huggingface", "civitai"), max_new_files=files)
    work = make_workload(replace(PARAMS, crawl=rules), SLOTS, 16, None, 100, 5)
    assert (work.per_day, work.days, work.listed) == (per_day, days, 100)


def test_an_unknown_number_of_adapters_is_an_error_that_names_the_option(params: Params) -> None:
    with pytest.raises(ParamsError, match=r"give it \(`autolora plan --adapters 1000`\)"):
        make_workload(PARAMS, SLOTS, 16, None, None, None)


@pytest.mark.parametrize("images", [float("inf"), float("nan")])
def test_a_number_of_images_that_is_not_finite_is_an_error(images: float) -> None:
    with pytest.raises(
        ParamsError, match=f"the number of images per adapter is {images}: give a finite number"
    ):
        make_workload(PARAMS, SLOTS, 16, None, 10, images)
