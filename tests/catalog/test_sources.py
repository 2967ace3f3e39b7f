"""The sources of one file: a single row of the dataset, with the strictest metadata of all hubs."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog.sources import Sources, strictest
from autolora.dataset import store as dataset
from tests.support.synthetic_repo import DAY, make_adapter, write_dataset, write_repository
from tests.support.two_sources import ADAPTER, CIVITAI, HUGGINGFACE, write_two_sources

LATER = DAY + datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("values", "strict", "expected"),
    [
        ([True, False], False, False),
        ([True, None], False, None),
        ([True, True], False, True),
        ([False, None], False, False),
        ([False, None], True, None),
        ([None, True], True, True),
        ([False], True, False),
    ],
)
def test_strictest_value(values: list[bool | None], strict: bool, expected: bool | None) -> None:
    assert strictest(values, strict) is expected


def test_file_on_two_hubs_is_one_row_with_the_strictest_metadata(tmp_path: Path) -> None:
    write_two_sources(tmp_path)
    rows = {row["sha256"]: row for row in dataset.rows(tmp_path, "adapters")}
    assert len(rows) == 2
    row = rows[ADAPTER.sha256]
    assert row["sources"] == ["civitai:618692", f"huggingface:{HUGGINGFACE.id}"]
    assert (row["hub"], row["license"]) == ("civitai", CIVITAI.license)
    assert (row["commercial"], row["derivatives"], row["credit"]) == (False, None, True)
    assert (row["nsfw"], row["nsfw_level"], row["person"], row["minor"]) == (True, "mature", True, None)
    assert row["renderings"] == [rendering.sha256 for rendering in HUGGINGFACE.renderings]


def test_withdrawn_listing_is_no_source(tmp_path: Path) -> None:
    withdrawn = replace(CIVITAI, status="withdrawn", withdrawn=LATER)
    adapters = [replace(ADAPTER, listing=listing) for listing in (withdrawn, HUGGINGFACE)]
    write_repository(tmp_path, [*adapters, make_adapter("neon", 1)])
    write_dataset(tmp_path)
    (row,) = (row for row in dataset.rows(tmp_path, "adapters") if row["sha256"] == ADAPTER.sha256)
    assert (row["sources"], row["person"]) == ([f"huggingface:{HUGGINGFACE.id}"], False)


def test_first_listing_is_primary_and_the_digest_covers_all_listings() -> None:
    both = Sources((HUGGINGFACE, CIVITAI))
    assert both.primary == HUGGINGFACE
    assert Sources((HUGGINGFACE,)).digest == HUGGINGFACE.digest != both.digest
