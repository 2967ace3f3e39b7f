"""The check of captions against weights, as an index states it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autolora.index import store as index
from autolora.index.caption_check import CaptionCheck, disagreeing, read_caption_checks
from autolora.index.copies import COLUMNS_FILE, vectors_path
from autolora.index.served import copy_path, release
from autolora.models import ClipTextEncoder
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import (
    ENCODER,
    SyntheticAdapter,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)


@pytest.fixture
def adapters() -> list[SyntheticAdapter]:
    return make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))


@pytest.mark.slow
def test_swapped_captions_are_found_and_named(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    before = read_caption_checks(index.folder(tmp_path))
    swapped = with_captions_of(adapters[0], adapters[-1])
    write_hybrid(tmp_path, text_encoder, [swapped, *adapters[1:]])
    after = read_caption_checks(index.folder(tmp_path))
    check = after[swapped.sha256]
    assert before.keys() == after.keys() == {adapter.sha256 for adapter in adapters}
    assert before[swapped.sha256].agrees and not check.agrees
    assert check.agreement < check.expected <= before[swapped.sha256].agreement
    assert check.name == f"huggingface:{swapped.listing.id}/lora.safetensors"
    assert swapped.sha256 in disagreeing(after)
    assert all(check.agrees == (check.agreement >= check.expected) for check in after.values())
    unchanged = after.keys() - {swapped.sha256}
    assert all(after[sha256] == before[sha256] for sha256 in unchanged)


@pytest.mark.slow
def test_an_adapter_without_captions_has_no_check(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    write_hybrid(tmp_path, text_encoder, [replace(adapters[0], captions=()), *adapters[1:]])
    checks = read_caption_checks(index.folder(tmp_path))
    assert checks.keys() == {adapter.sha256 for adapter in adapters[1:]}


@pytest.mark.slow
def test_a_changed_license_keeps_the_check_and_a_copy_holds_it(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    before = read_caption_checks(index.folder(tmp_path))
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit"))
    counts = write_hybrid(tmp_path, text_encoder, [relicensed, *adapters[1:]])
    assert counts == {"embedded": 0, "updated": 1, "removed": 0}
    digest = index.content_digest(tmp_path)
    release(tmp_path, digest)
    assert read_caption_checks(copy_path(tmp_path, digest)) == before
    assert read_caption_checks(index.folder(tmp_path)) == before


def test_no_checks_without_an_index_or_with_an_encoder_that_takes_no_captions(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    assert read_caption_checks(index.folder(tmp_path)) == {}
    write_repository(tmp_path, adapters)
    write_dataset(tmp_path)
    write_encoder(tmp_path, text_encoder, replace(ENCODER, variant=replace(ENCODER.variant, steps=3)))
    write_index(tmp_path)
    assert read_caption_checks(index.folder(tmp_path)) == {}


def test_an_index_of_an_older_version_has_no_checks(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    """Its meta.json has no threshold and its table no column `agreement`."""
    write_hybrid(tmp_path, text_encoder, adapters)
    path = index.folder(tmp_path) / "meta.json"
    meta = json.loads(path.read_text())
    del meta["agreement_margin"]
    path.write_text(json.dumps(meta))
    assert read_caption_checks(index.folder(tmp_path)) == {}


def test_captions_that_the_weights_cannot_contradict_are_said_to_be_searched(tmp_path: Path) -> None:
    """As of an adapter whose weights resemble no training adapter: its captions have a vector in the language."""
    checked = {"agreement": 0.4, "expected_agreement": 0.5, "uses_captions": False}
    rows = [
        checked | {"sha256": name, "hub": "civitai", "id": name, "file": "ink.safetensors"} for name in "ab"
    ]
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(tmp_path / COLUMNS_FILE, table.schema) as writer:
        writer.write_table(table)
    np.save(vectors_path(tmp_path, index.CAPTIONS_VECTOR), np.array([[0.6, 0.8], [0.0, 0.0]], np.float32))
    (tmp_path / "meta.json").write_text('{"agreement_margin": -0.1}')
    checks = read_caption_checks(tmp_path)
    assert "resemble those of no training adapter: searches use the captions" in checks["a"].verdict
    assert checks["b"].verdict.endswith("they are not used in searches")
    assert list(disagreeing(checks)) == ["b"]


def test_disagreeing_checks_are_sorted_and_described() -> None:
    def check(agreement: float) -> CaptionCheck:
        agrees = agreement >= 0.5
        return CaptionCheck(
            name="hub:a/b/c", agreement=agreement, expected=0.5, agrees=agrees, is_searched=agrees
        )

    checks = {"a": check(0.4), "b": check(0.9), "c": check(-0.2)}
    assert list(disagreeing(checks)) == ["c", "a"]
    assert checks["c"].verdict == (
        "captions disagree with the weights (cosine -0.20, at least 0.50 expected): they are not used in searches"
    )
    assert checks["b"].verdict == "captions agree with the weights (cosine 0.90, at least 0.50 expected)"
