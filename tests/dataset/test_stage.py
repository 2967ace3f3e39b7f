"""Stage `dataset`: rows of the tables, the training lock, and writing only the difference."""

import datetime
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.dataset import stage
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.pool import store as pool
from autolora.storage.tables import Counts, hash_row, open_table
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    SyntheticAdapter,
    file_states,
    make_adapter,
    make_adapters,
    write_dataset,
    write_repository,
)

LATER = DAY + datetime.timedelta(days=3)


@pytest.fixture
def adapters(tmp_path: Path) -> list[SyntheticAdapter]:
    """Write a repository of four themes by two authors, and its dataset."""
    adapters = make_adapters(authors=(0, 1), themes=("mosaic", "neon", "linocut", "chalk"))
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    return adapters


def write_checked(root: Path, write: Callable[[], Counts]) -> Counts:
    """Return the counts of a write, after checking that files change if and only if the counts are not zero."""
    before = file_states(root)
    counts = write()
    assert bool(counts) == (file_states(root) != before)
    return counts


def ids_of(root: Path, sha256: str) -> list[str]:
    """Return the ids in the rows of one adapter."""
    return [row["id"] for row in dataset.rows(root, "adapters") if row["sha256"] == sha256]


def test_contains_every_accepted_adapter_with_renderings_and_captions(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    rows = {row["sha256"]: row for row in dataset.rows(tmp_path, "adapters")}
    assert set(rows) == {adapter.sha256 for adapter in adapters}
    for adapter in adapters:
        row = rows[adapter.sha256]
        assert (row["id"], row["license"], row["first_seen"]) == (adapter.listing.id, "apache-2.0", DAY)
        assert row["listing_digest"] == adapter.listing.digest
        assert row["renderings"] == [rendering.sha256 for rendering in adapter.listing.renderings]
        assert (row["rank_max"], row["size"], row["warnings"]) == (4, 1000, ["fp8"])
    assert len(dataset.rows(tmp_path, "renderings")) == 2 * len(adapters)
    assert len(dataset.rows(tmp_path, "captions")) == 4 * len(adapters)
    texts = {caption.text for group in dataset.captions_by_image(tmp_path).values() for caption in group}
    assert texts == {caption.text for adapter in adapters for caption in adapter.captions}


def test_second_run_writes_nothing(tmp_path: Path, adapters: list[SyntheticAdapter]) -> None:
    before = file_states(tmp_path)
    write_dataset(tmp_path)
    assert file_states(tmp_path) == before


def test_full_rebuild_has_the_digest_of_incremental_runs(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    write_repository(tmp_path, [*adapters, make_adapter("pixel", 5, LATER)])
    incremental = write_dataset(tmp_path)
    shutil.rmtree(tmp_path / "data" / "dataset")
    (tmp_path / "data" / "training.jsonl").unlink()
    assert write_dataset(tmp_path) == incremental


def test_completes_a_killed_run(tmp_path: Path, adapters: list[SyntheticAdapter]) -> None:
    complete = write_dataset(tmp_path)
    shutil.rmtree(tmp_path / "data" / "dataset" / "prompts.lance")
    (tmp_path / "data" / "dataset" / "captions.lance" / "_versions").rename(tmp_path / "removed")
    (tmp_path / "digests" / "dataset.json").unlink()
    assert write_dataset(tmp_path) == complete


def test_writes_only_the_difference(tmp_path: Path, adapters: list[SyntheticAdapter]) -> None:
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit"))
    write_repository(tmp_path, [relicensed, *adapters[2:], make_adapter("pixel", 7, LATER)])
    sync = stage.open_sync(tmp_path, DATASET)
    assert write_checked(tmp_path, sync.update_adapters) == Counts(1, 1, 1)
    assert write_checked(tmp_path, sync.update_renderings) == Counts(2, 0, 2)
    assert write_checked(tmp_path, sync.update_captions) == Counts(4, 0, 4)


def test_a_sentence_is_left_out_as_soon_as_three_adapters_share_it(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    def describe(count: int) -> list[SyntheticAdapter]:
        texts = [("Ink", f"{adapter.listing.id} on paper. Have a nice day.") for adapter in adapters[:count]]
        described = [
            replace(adapter, listing=replace(adapter.listing, description=text))
            for adapter, text in zip(adapters, texts, strict=False)
        ]
        return [*described, *adapters[count:]]

    for count, end, expected in ((2, " Have a nice day.", 2), (3, "", 3), (4, "", 1)):
        write_repository(tmp_path, describe(count))
        counts = write_checked(tmp_path, stage.open_sync(tmp_path, DATASET).update_adapters)
        assert counts == Counts(0, expected, 0)
        said = {row["id"]: row["description"] for row in dataset.rows(tmp_path, "adapters")}
        assert [said[adapter.listing.id] for adapter in adapters[:count]] == [
            ["Ink", f"{adapter.listing.id} on paper.{end}"] for adapter in adapters[:count]
        ]


def test_a_new_caption_changes_the_row_of_the_adapter(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    first, *others = adapters
    captions = (replace(first.captions[0], text="something else"), *first.captions[1:])
    write_repository(tmp_path, [replace(first, captions=captions), *others])
    sync = stage.open_sync(tmp_path, DATASET)
    assert write_checked(tmp_path, sync.update_adapters) == Counts(0, 1, 0)
    assert write_checked(tmp_path, sync.update_captions) == Counts(0, 1, 0)


def test_reads_only_the_sketches_of_new_adapters(
    tmp_path: Path, adapters: list[SyntheticAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load_fingerprints = pool.load_fingerprints

    def count(root: Path, names: Sequence[str]) -> np.ndarray:
        read.extend(names)
        return load_fingerprints(root, names)

    monkeypatch.setattr(pool, "load_fingerprints", count)
    new_adapter = make_adapter("pixel", 5, LATER)
    write_repository(tmp_path, [*adapters, new_adapter])
    write_dataset(tmp_path)
    assert read == [new_adapter.sha256]
    shutil.rmtree(tmp_path / "data" / "dataset")
    write_dataset(tmp_path)
    assert len(read) == 1 + len(adapters) + 1


def test_run_reads_catalog_pool_and_captions_once(
    tmp_path: Path, adapters: list[SyntheticAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counting(name: str, function: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda root: [calls.append(name), function(root)][1]

    for module, name in (
        (stage, "read_active"),
        (stage, "read_captions"),
        (pool, "adapters"),
        (pool, "renderings"),
    ):
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    write_dataset(tmp_path)
    assert sorted(calls) == ["adapters", "read_active", "read_captions", "renderings"]


@pytest.mark.slow
def test_a_file_with_two_listings_is_one_row_named_by_the_earlier_listing(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    first = adapters[0]
    earlier = replace(first.listing, id="zz/copy", license="mit", first_seen=DAY - datetime.timedelta(days=1))
    write_repository(tmp_path, [*adapters, replace(first, listing=earlier)])
    write_dataset(tmp_path)
    assert ids_of(tmp_path, first.sha256) == ["zz/copy"]
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    assert ids_of(tmp_path, first.sha256) == [first.listing.id]


def test_training_lock_changes_only_with_its_date(tmp_path: Path, adapters: list[SyntheticAdapter]) -> None:
    lock = dataset.training_lock(tmp_path)
    assert lock.train_until == DAY
    assert {row.sha256 for row in lock.rows} == {adapter.sha256 for adapter in adapters}
    new_adapter = make_adapter("pixel", 5, LATER)
    write_repository(tmp_path, [*adapters[1:], new_adapter])
    write_dataset(tmp_path)
    assert dataset.training_lock(tmp_path) == lock
    write_dataset(tmp_path, replace(DATASET, train_until=LATER))
    new_lock = dataset.training_lock(tmp_path)
    assert new_lock.train_until == LATER
    expected = {adapter.sha256 for adapter in adapters[1:]} | {new_adapter.sha256}
    assert {row.sha256 for row in new_lock.rows} == expected
    splits = {row.sha256: row.split for row in lock.rows}
    assert all(splits[row.sha256] == row.split for row in new_lock.rows if row.sha256 in splits)


def test_missing_training_lock_reads_as_empty(tmp_path: Path) -> None:
    assert dataset.training_lock(tmp_path).train_until is None


def test_prompts_are_of_families_outside_the_training_split(
    tmp_path: Path, adapters: list[SyntheticAdapter]
) -> None:
    params = replace(DATASET, validation_share=0.3)
    (tmp_path / dataset.TRAINING_LOCK).unlink()
    write_dataset(tmp_path, params)
    training_row = dataset.training_lock(tmp_path).in_split("train")[0]
    training_adapter = next(adapter for adapter in adapters if adapter.sha256 == training_row.sha256)
    new_adapter = make_adapter("pixel", 5, LATER)
    copy = make_adapter("copy", 5, LATER, lora=training_adapter.lora)
    write_repository(tmp_path, [*adapters, new_adapter, copy])
    write_dataset(tmp_path, params)
    lock = dataset.training_lock(tmp_path)
    held_out = {row.sha256: row.split for row in lock.rows if row.split != "train"}
    assert set(held_out.values()) == {"validation", "test"}
    prompts = dataset.prompts(tmp_path)
    assert {prompt.adapter for prompt in prompts} == held_out.keys() | {new_adapter.sha256}
    assert {prompt.split for prompt in prompts if prompt.adapter == new_adapter.sha256} == {"test"}
    assert all(prompt.split == held_out.get(prompt.adapter, "test") for prompt in prompts)
    captions = {
        (adapter.sha256, caption.text) for adapter in [*adapters, new_adapter] for caption in adapter.captions
    }
    assert {(prompt.adapter, prompt.text) for prompt in prompts} <= captions


def test_changed_columns_rebuild_the_table(tmp_path: Path, adapters: list[SyntheticAdapter]) -> None:
    columns = {name: kind for name, kind in dataset.CAPTIONS.items() if name != "length"}
    table = open_table(dataset.folder(tmp_path), "captions", columns)
    assert table.count_rows() == 0
    expected = Counts(4 * len(adapters), 0, 0)
    assert write_checked(tmp_path, stage.open_sync(tmp_path, DATASET).update_captions) == expected


def test_row_hash_leaves_out_inexact_columns() -> None:
    row = {"sha256": "a", "norm": 1.0, "day": DAY}
    columns = dict.fromkeys(row)
    assert hash_row(row, columns, {"norm"}) == hash_row(row | {"norm": 2.0}, columns, {"norm"})  # type: ignore[arg-type]
    assert hash_row(row, columns, {"norm"}) != hash_row(row | {"day": LATER}, columns, {"norm"})  # type: ignore[arg-type]


def test_reading_a_missing_table_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro"):
        dataset.rows(tmp_path, "adapters")
