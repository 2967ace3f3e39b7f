"""The index: what is embedded, updated, removed, and what its digest promises."""

import datetime
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.errors import MismatchError, MissingArtifact
from autolora.index import stage
from autolora.index import store as index
from autolora.lora.sketch import SketchSpec, sketch
from autolora.models import ClipTextEncoder
from autolora.pool.store import save_sketch
from autolora.storage.incremental import read_digest
from autolora.storage.tables import read_table
from tests.support.synthetic_repo import (
    BOUNDS,
    DAY,
    ENCODER,
    SLOTS,
    Made,
    make,
    make_pool,
    state,
    text_tower,
    write_dataset,
    write_encoder,
    write_index,
    write_root,
)

LATER = DAY + datetime.timedelta(days=3)
QUICK = replace(ENCODER, steps=3)


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> ClipTextEncoder:
    """Draw a text tower."""
    return text_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, tower: ClipTextEncoder) -> tuple[Path, list[Made]]:
    """Index three themes by three authors."""
    root = tmp_path_factory.mktemp("indexed")
    made = make_pool(themes=("mosaic", "neon", "chalk"))
    write_root(root, made)
    write_dataset(root)
    write_encoder(root, tower, QUICK)
    assert write_index(root) == {"embedded": 9, "updated": 0, "removed": 0}
    return root, made


@pytest.fixture
def root(tmp_path: Path, indexed: tuple[Path, list[Made]]) -> Path:
    """Return a root of one's own with the index in it."""
    shutil.copytree(indexed[0], tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def made(indexed: tuple[Path, list[Made]]) -> list[Made]:
    """Return the indexed adapters."""
    return list(indexed[1])


def rows(root: Path) -> dict[str, dict[str, object]]:
    """Return the rows of the index by adapter."""
    names = ["sha256", "license", "nsfw", "vector", "row_hash"]
    return {row["sha256"]: row for row in read_table(index.folder(root), "adapters", names)}


def test_holds_a_unit_vector_for_each_adapter(root: Path, made: list[Made]) -> None:
    found = rows(root)
    assert set(found) == {one.sha256 for one in made}
    assert np.allclose([np.linalg.norm(row["vector"]) for row in found.values()], 1, atol=1e-6)


def test_nothing_pending_writes_nothing(root: Path) -> None:
    before = state(root)
    assert write_index(root) == {"embedded": 0, "updated": 0, "removed": 0}
    assert state(root) == before


def test_a_night_embeds_newcomers_updates_columns_and_removes(root: Path, made: list[Made]) -> None:
    before = rows(root)
    encoder = read_digest(root, "encoder")["sha256"]
    relicensed = replace(made[0], listing=replace(made[0].listing, license="mit", nsfw=True))
    newcomers = [make("neon", author, LATER) for author in range(3, 8)]
    write_root(root, [relicensed, *made[2:], *newcomers])
    write_dataset(root)
    assert write_index(root) == {"embedded": 5, "updated": 1, "removed": 1}
    after = rows(root)
    assert set(after) == {one.sha256 for one in [made[0], *made[2:], *newcomers]}
    assert (after[made[0].sha256]["license"], after[made[0].sha256]["nsfw"]) == ("mit", True)
    assert after[made[0].sha256]["vector"] == before[made[0].sha256]["vector"]
    assert all(after[one.sha256] == before[one.sha256] for one in made[2:])
    assert read_digest(root, "encoder")["sha256"] == encoder


def test_a_changed_license_needs_no_sketch(root: Path, made: list[Made]) -> None:
    relicensed = replace(made[0], listing=replace(made[0].listing, license="mit"))
    write_root(root, [relicensed, *made[1:]])
    write_dataset(root)
    shutil.rmtree(root / "data" / "pool" / "sketches")
    assert write_index(root) == {"embedded": 0, "updated": 1, "removed": 0}


def test_from_nothing_gives_the_same_digest_whatever_the_batches(root: Path, made: list[Made]) -> None:
    write_root(root, [*made, *(make("neon", author, LATER) for author in range(3, 6))])
    write_dataset(root)
    write_index(root, batch=1)
    grown = read_digest(root, "index")
    shutil.rmtree(root / "data" / "index")
    assert write_index(root, batch=64)["embedded"] == 12
    assert read_digest(root, "index") == grown


def test_completes_what_a_kill_left(root: Path) -> None:
    whole = read_digest(root, "index")
    shutil.rmtree(root / "data" / "index")
    (root / "digests" / "index.json").unlink()
    first, *_ = stage.plan(root, batch=4).embed
    stage.embed(root, first, BOUNDS)
    assert write_index(root)["embedded"] == 9 - 4
    assert read_digest(root, "index") == whole


def test_a_new_encoder_embeds_everything_anew(root: Path, tower: ClipTextEncoder) -> None:
    before = rows(root)
    write_encoder(root, tower, replace(QUICK, seed=1))
    assert write_index(root) == {"embedded": 9, "updated": 0, "removed": 0}
    after = rows(root)
    assert all(after[sha256]["vector"] != before[sha256]["vector"] for sha256 in before)


def test_exact_digest_leaves_vectors_out(root: Path) -> None:
    digest = read_digest(root, "index")
    assert digest["rows"] == 9
    assert digest["encoder"] == read_digest(root, "encoder")["sha256"]
    assert digest["exact"] != digest["sha256"]


def test_sketches_of_another_size_are_refused(root: Path, made: list[Made]) -> None:
    save_sketch(root, made[0].sha256, sketch(made[0].lora, SLOTS, SketchSpec(size=8)))
    with pytest.raises(MismatchError, match="learned from"):
        stage.embed(root, [made[0].sha256], BOUNDS)


def test_before_there_is_an_encoder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro encoder"):
        stage.plan(tmp_path, 4)
