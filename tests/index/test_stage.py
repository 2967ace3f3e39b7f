"""Stage `index`: which adapters it embeds, updates and removes, and what its digest covers."""

import datetime
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.inputs import AdapterBatch
from autolora.errors import MismatchError, MissingArtifact
from autolora.index import stage
from autolora.index import store as index
from autolora.lora.sketch import SketchSpec, sketch
from autolora.models import ClipTextEncoder
from autolora.params import ModelsParams
from autolora.pool import store as pool
from autolora.records import Permissions
from autolora.storage.incremental import read_digest
from autolora.storage.tables import read_table
from autolora.text_encoder.clip import ClipTokenizer
from tests.support.synthetic_repo import (
    BOUNDS,
    DAY,
    ENCODER,
    SLOTS,
    SyntheticAdapter,
    file_states,
    make_adapter,
    make_adapters,
    no_text_encoder,
    tiny_text_encoder,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

LATER = DAY + datetime.timedelta(days=3)
SHORT_TRAINING = replace(ENCODER, variant=replace(ENCODER.variant, steps=3))


@pytest.fixture(scope="module")
def indexed(
    tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder
) -> tuple[Path, list[SyntheticAdapter]]:
    """Return a repository with an index of three themes by three authors, and its adapters."""
    root = tmp_path_factory.mktemp("indexed")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"))
    write_repository(root, adapters)
    write_dataset(root)
    write_encoder(root, text_encoder, SHORT_TRAINING)
    assert write_index(root) == {"embedded": 9, "updated": 0, "removed": 0}
    return root, adapters


def rows_by_adapter(root: Path) -> dict[str, dict[str, object]]:
    """Return sha256 -> row of the index."""
    names = ["sha256", "license", "nsfw", "weights_vector", "row_hash"]
    return {row["sha256"]: row for row in read_table(index.folder(root), "adapters", names)}


def test_contains_a_unit_vector_per_adapter(root: Path, adapters: list[SyntheticAdapter]) -> None:
    rows = rows_by_adapter(root)
    assert set(rows) == {adapter.sha256 for adapter in adapters}
    assert np.allclose([np.linalg.norm(row["weights_vector"]) for row in rows.values()], 1, atol=1e-6)


def test_columns_are_those_of_the_dataset(root: Path, adapters: list[SyntheticAdapter]) -> None:
    listing = replace(
        adapters[0].listing, permissions=Permissions(commercial=True), person=False, base="flux.1-dev"
    )
    write_repository(root, [replace(adapters[0], listing=listing), *adapters[1:]])
    write_dataset(root)
    write_index(root)
    names = [name for name in index.EXACT_COLUMNS if name != "encoder"]
    rows = read_table(index.folder(root), "adapters", names)
    assert rows == dataset.rows(root, "adapters", names)
    (row,) = (row for row in rows if row["sha256"] == adapters[0].sha256)
    stored = [row[name] for name in ("commercial", "derivatives", "person", "base", "size", "warnings")]
    assert stored == [True, None, False, "flux.1-dev", 1000, ["fp8"]]


def test_second_run_writes_nothing(root: Path) -> None:
    before = file_states(root)
    assert write_index(root) == {"embedded": 0, "updated": 0, "removed": 0}
    assert file_states(root) == before


def test_embeds_new_adapters_updates_columns_and_removes_withdrawn_adapters(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    before = rows_by_adapter(root)
    encoder = read_digest(root, "encoder")["sha256"]
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit", nsfw=True))
    unchanged = adapters[2:]
    new_adapters = [make_adapter("neon", author, LATER) for author in range(3, 8)]
    write_repository(root, [relicensed, *unchanged, *new_adapters])
    write_dataset(root)
    assert write_index(root) == {"embedded": 5, "updated": 1, "removed": 1}
    after = rows_by_adapter(root)
    assert set(after) == {adapter.sha256 for adapter in [relicensed, *unchanged, *new_adapters]}
    assert (after[relicensed.sha256]["license"], after[relicensed.sha256]["nsfw"]) == ("mit", True)
    assert after[relicensed.sha256]["weights_vector"] == before[relicensed.sha256]["weights_vector"]
    assert all(after[adapter.sha256] == before[adapter.sha256] for adapter in unchanged)
    assert read_digest(root, "encoder")["sha256"] == encoder


def test_a_changed_license_reads_no_sketch(
    root: Path, adapters: list[SyntheticAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit"))
    write_repository(root, [relicensed, *adapters[1:]])
    write_dataset(root)
    monkeypatch.delattr(pool, "load_sketch")
    assert write_index(root) == {"embedded": 0, "updated": 1, "removed": 0}


@pytest.mark.slow
def test_full_rebuild_has_the_digest_of_incremental_runs_of_any_batch_size(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    write_repository(root, [*adapters, *(make_adapter("neon", author, LATER) for author in range(3, 6))])
    write_dataset(root)
    write_index(root, batch=1)
    incremental = read_digest(root, "index")
    shutil.rmtree(root / "data" / "index")
    assert write_index(root, batch=64)["embedded"] == 12
    assert read_digest(root, "index") == incremental


def test_completes_a_killed_run(root: Path) -> None:
    complete = read_digest(root, "index")
    shutil.rmtree(root / "data" / "index")
    (root / "digests" / "index.json").unlink()
    sync = stage.open_sync(root, BOUNDS, no_text_encoder)
    sync.embed(sync.plan(batch=4).embed[0])
    assert write_index(root)["embedded"] == 9 - 4
    assert read_digest(root, "index") == complete


def test_another_encoder_embeds_all_adapters_again(root: Path, text_encoder: ClipTextEncoder) -> None:
    before = rows_by_adapter(root)
    write_encoder(root, text_encoder, replace(SHORT_TRAINING, seed=1))
    assert write_index(root) == {"embedded": 9, "updated": 0, "removed": 0}
    after = rows_by_adapter(root)
    assert all(after[sha256]["weights_vector"] != before[sha256]["weights_vector"] for sha256 in before)


def test_computed_rows_of_another_encoder_are_not_stored(root: Path, text_encoder: ClipTextEncoder) -> None:
    former = stage.open_sync(root, BOUNDS, no_text_encoder)
    computed = former.compute([*former.expected])
    write_encoder(root, text_encoder, replace(SHORT_TRAINING, seed=1))
    before = rows_by_adapter(root)
    assert stage.open_sync(root, BOUNDS, no_text_encoder).store(computed) == 0
    assert rows_by_adapter(root) == before
    assert former.store(computed) == 9


@pytest.mark.slow
def test_vectors_of_another_encoder_are_refused(root: Path, text_encoder: ClipTextEncoder) -> None:
    stored, (names, vectors) = rows_by_adapter(root), index.read_vectors(root)
    assert dict(zip(names, vectors.tolist(), strict=True)) == {
        name: stored[name]["weights_vector"] for name in names
    }
    assert list(names) == sorted(stored)
    write_encoder(root, text_encoder, replace(SHORT_TRAINING, seed=1))
    with pytest.raises(MismatchError, match="dvc repro index"):
        index.read_vectors(root)
    sync = stage.open_sync(root, BOUNDS, no_text_encoder)
    sync.embed(sync.plan(batch=4).embed[0])  # the other vectors are still of the old encoder
    with pytest.raises(MismatchError, match="dvc repro index"):
        index.read_vectors(root)
    write_index(root)
    assert len(index.read_vectors(root)[0]) == 9


def test_digest_excludes_vectors_and_the_content_digest_includes_them(root: Path) -> None:
    """As on another processor: the same inputs give weights and vectors that differ in their last bits."""
    before = read_digest(root, "index")
    path = root / "data/encoder/model.safetensors"
    weights = {name: tensor * (1 + 1e-6) for name, tensor in load_file(path).items()}
    save_file(weights, path)
    digest = json.loads((root / "digests/encoder.json").read_text())
    (root / "digests/encoder.json").write_text(json.dumps(digest | {"weights": "0" * 64}))
    assert write_index(root)["embedded"] == 9
    after = read_digest(root, "index")
    assert (after["rows"], after["sha256"], after["encoder"]) == (9, before["sha256"], before["encoder"])
    assert after["content"] != before["content"]
    assert after["encoder_weights"] == "0" * 64


def test_the_tokenizer_is_that_of_the_encoders_pipeline(root: Path) -> None:
    tiny_text_encoder(root / "pipeline")
    tiny_text_encoder(root / "other", width=16)
    models = ModelsParams(
        pipeline="pipeline", pipeline_revision=None, vlm="", vlm_revision=None, device="cpu", dtype="float32",
        threads=0, memory=None,
    )  # fmt: skip
    sync = stage.open_sync(root, BOUNDS, no_text_encoder)
    sync.save_tokenizer(models)
    before = file_states(root / "data")
    sync.save_tokenizer(models)
    assert file_states(root / "data") == before
    saved = ClipTokenizer(index.folder(root) / "tokenizer.json")
    assert saved.encode(["a neon"]).shape == (1, 48)
    with pytest.raises(MismatchError, match="trained with a different text encoder"):
        sync.save_tokenizer(replace(models, pipeline="other"))


def test_run_loads_the_encoder_and_the_dataset_once(
    root: Path, adapters: list[SyntheticAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for module, name in ((encoder_store, "load_encoder"), (dataset, "rows")):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, partial(count_call, calls, name, function))
    relicensed = replace(adapters[0], listing=replace(adapters[0].listing, license="mit"))
    write_repository(root, [relicensed, *adapters[2:], make_adapter("neon", 7, LATER)])
    write_dataset(root)
    calls.clear()
    assert write_index(root) == {"embedded": 1, "updated": 1, "removed": 1}
    assert calls == ["load_encoder", "rows"]


def count_call(calls: list[str], name: str, function: Callable[..., object], *args: object) -> object:
    calls.append(name)
    return function(*args)


@pytest.mark.slow
def test_vectors_do_not_depend_on_the_batch(root: Path) -> None:
    before = rows_by_adapter(root)
    for batch in (1, 9):
        shutil.rmtree(root / "data" / "index")
        write_index(root, batch)
        assert rows_by_adapter(root) == before


def test_sketches_are_embedded_together_on_a_gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `cuda` is simulated: its tensors stay on the CPU."""
    before = rows_by_adapter(root)
    monkeypatch.setattr(AdapterBatch, "to", lambda batch, device: batch)
    sync = replace(stage.open_sync(root, BOUNDS, no_text_encoder), device=torch.device("cuda"))
    sizes: list[int] = []
    embed = sync.encoder.embed
    monkeypatch.setattr(
        sync.encoder, "embed", lambda values, present: [sizes.append(len(present)), embed(values, present)][1]
    )
    sync.embed(list(before))
    assert sizes == [9]
    vectors = {sha256: row["weights_vector"] for sha256, row in rows_by_adapter(root).items()}
    assert np.allclose(
        [vectors[sha256] for sha256 in before], [row["weights_vector"] for row in before.values()], atol=1e-5
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_vectors_of_the_cpu(root: Path) -> None:
    before = rows_by_adapter(root)
    sync = stage.open_sync(root, BOUNDS, no_text_encoder, device="cuda")
    sync.embed(list(before))
    after = rows_by_adapter(root)
    assert np.allclose(
        [after[s]["weights_vector"] for s in before],
        [r["weights_vector"] for r in before.values()],
        atol=1e-4,
    )


def test_sketches_of_another_size_are_refused(root: Path, adapters: list[SyntheticAdapter]) -> None:
    pool.save_sketch(root, adapters[0].sha256, sketch(adapters[0].lora, SLOTS, SketchSpec(size=8)))
    with pytest.raises(MismatchError, match="dvc repro encoder"):
        stage.open_sync(root, BOUNDS, no_text_encoder).embed([adapters[0].sha256])


def test_missing_encoder_error_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro encoder"):
        stage.open_sync(tmp_path, BOUNDS, no_text_encoder)
