"""The dataset: one row a file, families, splits, the training lock, and writing only what is pending."""

import datetime
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.dataset import stage
from autolora.dataset import store as dataset
from autolora.dataset.families import assign, split
from autolora.errors import MissingArtifact
from autolora.lora.factors import Factors
from autolora.lora.fingerprint import fingerprint
from autolora.lora.sketch import cosine, sketch
from autolora.storage.tables import Counts, hash_row, open_table
from tests.support.synthetic_repo import (
    DATASET,
    DAY,
    SLOTS,
    SPEC,
    Made,
    make,
    make_pool,
    state,
    write_dataset,
    write_root,
)

LATER = DAY + datetime.timedelta(days=3)


@pytest.fixture
def made(tmp_path: Path) -> list[Made]:
    """Write a root of four themes by two authors and its dataset."""
    found = make_pool(authors=(0, 1), themes=("mosaic", "neon", "linocut", "chalk"))
    write_root(tmp_path, found)
    write_dataset(tmp_path)
    return found


def counting(root: Path, write: Callable[[], Counts]) -> Counts:
    """Return what a write counts, having checked that counting nothing means touching nothing."""
    before = state(root)
    counts = write()
    assert bool(counts) == (state(root) != before)
    return counts


def test_holds_every_accepted_adapter_with_pictures_and_captions(tmp_path: Path, made: list[Made]) -> None:
    rows = {row["sha256"]: row for row in dataset.rows(tmp_path, "adapters")}
    assert set(rows) == {one.sha256 for one in made}
    for one in made:
        row = rows[one.sha256]
        assert (row["id"], row["license"], row["first_seen"]) == (one.listing.id, "apache-2.0", DAY)
        assert row["listing_digest"] == one.listing.digest
        assert row["renderings"] == [rendering.sha256 for rendering in one.listing.renderings]
    assert len(dataset.rows(tmp_path, "renderings")) == 2 * len(made)
    assert len(dataset.rows(tmp_path, "captions")) == 4 * len(made)
    texts = {caption.text for captions in dataset.captions_of(tmp_path).values() for caption in captions}
    assert texts == {caption.text for one in made for caption in one.captions}


def test_nothing_pending_writes_nothing(tmp_path: Path, made: list[Made]) -> None:
    before = state(tmp_path)
    write_dataset(tmp_path)
    assert state(tmp_path) == before


def test_from_nothing_gives_the_same_digest(tmp_path: Path, made: list[Made]) -> None:
    write_root(tmp_path, [*made, make("pixel", 5, LATER)])
    grown = write_dataset(tmp_path)
    shutil.rmtree(tmp_path / "data" / "dataset")
    (tmp_path / "data" / "training.jsonl").unlink()
    assert write_dataset(tmp_path) == grown


def test_completes_what_a_kill_left(tmp_path: Path, made: list[Made]) -> None:
    whole = write_dataset(tmp_path)
    shutil.rmtree(tmp_path / "data" / "dataset" / "prompts.lance")
    (tmp_path / "data" / "dataset" / "captions.lance" / "_versions").rename(tmp_path / "gone")
    (tmp_path / "digests" / "dataset.json").unlink()
    assert write_dataset(tmp_path) == whole


def test_writes_only_what_is_pending(tmp_path: Path, made: list[Made]) -> None:
    first = made[0]
    licensed = replace(first, listing=replace(first.listing, license="mit"))
    write_root(tmp_path, [licensed, *made[2:], make("pixel", 7, LATER)])
    assert counting(tmp_path, lambda: stage.update_adapters(tmp_path, DATASET)) == Counts(1, 1, 1)
    assert counting(tmp_path, lambda: stage.update_renderings(tmp_path)) == Counts(2, 0, 2)
    assert counting(tmp_path, lambda: stage.update_captions(tmp_path)) == Counts(4, 0, 4)


def test_a_new_caption_changes_the_adapters_row(tmp_path: Path, made: list[Made]) -> None:
    first, *others = made
    captions = (replace(first.captions[0], text="something else"), *first.captions[1:])
    write_root(tmp_path, [replace(first, captions=captions), *others])
    assert counting(tmp_path, lambda: stage.update_adapters(tmp_path, DATASET)) == Counts(0, 1, 0)
    assert counting(tmp_path, lambda: stage.update_captions(tmp_path)) == Counts(0, 1, 0)


def test_reads_sketches_of_newcomers_only(tmp_path: Path, made: list[Made]) -> None:
    for one in made:
        shutil.rmtree(tmp_path / "data" / "pool" / "sketches" / one.sha256[:2], ignore_errors=True)
    write_dataset(tmp_path)  # would raise MissingArtifact if it read them
    shutil.rmtree(tmp_path / "data" / "dataset")
    with pytest.raises(MissingArtifact, match="sketch"):
        write_dataset(tmp_path)


def test_one_file_under_two_listings_is_one_adapter_of_the_earlier(tmp_path: Path, made: list[Made]) -> None:
    first = made[0]
    again = replace(first.listing, id="zz/copy", license="mit", first_seen=DAY - datetime.timedelta(days=1))
    write_root(tmp_path, [*made, replace(first, listing=again)])
    write_dataset(tmp_path)
    rows = [row for row in dataset.rows(tmp_path, "adapters") if row["sha256"] == first.sha256]
    assert [row["id"] for row in rows] == ["zz/copy"]
    write_root(tmp_path, made)
    write_dataset(tmp_path)
    rows = [row for row in dataset.rows(tmp_path, "adapters") if row["sha256"] == first.sha256]
    assert [row["id"] for row in rows] == [first.listing.id]


def test_lock_moves_with_its_date_only(tmp_path: Path, made: list[Made]) -> None:
    lock = dataset.training(tmp_path)
    assert lock.train_until == DAY
    assert {row.sha256 for row in lock.rows} == {one.sha256 for one in made}
    newcomer = make("pixel", 5, LATER)
    write_root(tmp_path, [*made[1:], newcomer])
    write_dataset(tmp_path)
    assert dataset.training(tmp_path) == lock
    write_dataset(tmp_path, replace(DATASET, train_until=LATER))
    moved = dataset.training(tmp_path)
    assert moved.train_until == LATER
    assert {row.sha256 for row in moved.rows} == {one.sha256 for one in made[1:]} | {newcomer.sha256}
    sides = {row.sha256: row.split for row in lock.rows}
    assert all(sides[row.sha256] == row.split for row in moved.rows if row.sha256 in sides)


def test_no_lock_reads_as_empty(tmp_path: Path) -> None:
    assert dataset.training(tmp_path).train_until is None


def test_prompts_are_of_families_that_nothing_has_learned_from(tmp_path: Path, made: list[Made]) -> None:
    learned = dataset.training(tmp_path).of("train")[0]
    source = next(one for one in made if one.sha256 == learned.sha256)
    newcomer, copy = make("pixel", 5, LATER), make("copy", 5, LATER, lora=source.lora)
    write_root(tmp_path, [*made, newcomer, copy])
    write_dataset(tmp_path)
    unseen = {row.sha256 for row in dataset.training(tmp_path).of("test")} | {newcomer.sha256}
    prompts = dataset.prompts(tmp_path)
    assert {prompt.adapter for prompt in prompts} == unseen
    said = {(one.sha256, caption.text) for one in [*made, newcomer] for caption in one.captions}
    assert {(prompt.adapter, prompt.text) for prompt in prompts} <= said


def test_copies_are_one_family_and_newcomers_change_no_family(tmp_path: Path, made: list[Made]) -> None:
    before = {row["sha256"]: (row["family"], row["split"]) for row in dataset.rows(tmp_path, "adapters")}
    louder = {name: replace(factors, scale=3.0 * factors.scale) for name, factors in made[0].lora.items()}
    copies = [make("copy", author, LATER, lora=louder) for author in range(6)]
    write_root(tmp_path, [*made, *copies])
    write_dataset(tmp_path)
    after = {row["sha256"]: (row["family"], row["split"]) for row in dataset.rows(tmp_path, "adapters")}
    assert {sha256: after[sha256] for sha256 in before} == before
    assert {after[one.sha256] for one in copies} == {before[made[0].sha256]}


def test_a_withdrawn_founder_leaves_its_locked_family_as_it_is(tmp_path: Path) -> None:
    founder = make("mosaic", 0)
    copies = [make("copy", author, lora=founder.lora) for author in range(3)]
    write_root(tmp_path, [founder, *copies])
    write_dataset(tmp_path)
    families = {row["sha256"]: row["family"] for row in dataset.rows(tmp_path, "adapters")}
    assert len(set(families.values())) == 1
    rest = [one for one in (founder, *copies) if one.sha256 != families[founder.sha256]]
    write_root(tmp_path, rest)
    write_dataset(tmp_path)
    assert {row["family"] for row in dataset.rows(tmp_path, "adapters")} == set(families.values())


def test_fingerprints_keep_cosines_of_sketches() -> None:
    base = make("mosaic", 0).lora
    exact, estimated = [], []
    for strength in (0.02, 0.1, 0.3, 1.0):
        noise = make("neon", 1).lora
        mixed = {
            name: Factors(
                down=torch.cat((factors.down, strength * noise[name].down)),
                up=torch.cat((factors.up, noise[name].up), dim=1),
                scale=1.0,
            )
            for name, factors in base.items()
        }
        pair = sketch(base, SLOTS, SPEC), sketch(mixed, SLOTS, SPEC)
        exact.append(cosine(*pair))
        estimated.append(float(fingerprint(pair[0].values.numpy()) @ fingerprint(pair[1].values.numpy())))
    assert np.abs(np.array(exact) - np.array(estimated)).max() < 0.06
    assert abs(exact[0] - estimated[0]) < 0.002


def test_fingerprint_is_fixed_for_ever() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = fingerprint(values)
    assert np.flatnonzero(found)[:4].tolist() == [155, 166, 171, 265]
    assert np.isclose(np.linalg.norm(found), 1)


def test_families_follow_the_nearest_earlier_adapter() -> None:
    a, b = np.eye(2, dtype=np.float32)
    near = np.array([0.999, 0.045], dtype=np.float32)
    assert assign({"b": a, "a": near, "c": b}, {}, 0.95) == {"b": "b", "a": "b", "c": "c"}
    assert assign({"b": a, "a": near}, {"a": "old"}, 0.95) == {"a": "old", "b": "old"}
    assert assign({}, {}, 0.95) == {}


def test_split_depends_on_family_and_salt_and_meets_its_share() -> None:
    sides = [split(f"family {n}", "salt", 0.3) for n in range(2000)]
    assert sides == [split(f"family {n}", "salt", 0.3) for n in range(2000)]
    assert abs(sides.count("test") / 2000 - 0.3) < 0.04
    assert sides != [split(f"family {n}", "pepper", 0.3) for n in range(2000)]


def test_changed_columns_start_the_table_anew(tmp_path: Path, made: list[Made]) -> None:
    columns = {name: kind for name, kind in dataset.CAPTIONS.items() if name != "length"}
    opened = open_table(dataset.folder(tmp_path), "captions", columns)
    assert opened.count_rows() == 0
    assert counting(tmp_path, lambda: stage.update_captions(tmp_path)) == Counts(4 * len(made), 0, 0)


def test_row_hash_leaves_inexact_columns_out() -> None:
    row = {"sha256": "a", "norm": 1.0, "day": DAY}
    columns = dict.fromkeys(row)
    assert hash_row(row, columns, {"norm"}) == hash_row(row | {"norm": 2.0}, columns, {"norm"})  # type: ignore[arg-type]
    assert hash_row(row, columns, {"norm"}) != hash_row(row | {"day": LATER}, columns, {"norm"})  # type: ignore[arg-type]


def test_reading_before_the_stage_has_run_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro"):
        dataset.rows(tmp_path, "adapters")
