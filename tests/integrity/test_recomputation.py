"""What a repair computes again: sketch packs, and outputs of stages."""

import shutil
from pathlib import Path

import pytest

from autolora.integrity import hub_source
from autolora.pool import sketch_packs
from tests.integrity.faults import empty, flip_bit
from tests.integrity.repairs import RECOMPUTED, WEIGHTS, sources
from tests.integrity.versioned_repository import VersionedRepository


def test_a_sketch_pack_is_computed_again(repository: VersionedRepository) -> None:
    before = repository.contents()
    path = repository.file("data/pool/sketches/*.safetensors")
    flip_bit(path)
    planned = sources(repository.plan())
    assert list(planned.values()) == [RECOMPUTED]
    repairs = sources(repository.repair())
    assert repairs.items() >= planned.items()
    assert repository.contents() == before, "the same processor gives the same bytes"


def test_a_sketch_pack_with_other_bytes_is_given_to_dvc(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack = sketch_packs.write_pack

    def write(path: Path, files: dict[str, Path]) -> None:
        write_pack(path, files)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    monkeypatch.setattr(sketch_packs, "write_pack", write)
    path = repository.file("data/pool/sketches/*.safetensors")
    flip_bit(path)
    repairs = repository.repair()
    assert {RECOMPUTED} == {repair.source for repair in repairs if repair.finding.kind == "sketches"}
    assert "commit it" in repairs[-1].remark
    assert repository.verify().findings == ()


def test_a_sketch_pack_of_damaged_weights_is_not_computed(
    repository: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_source.Hubs, "offer", lambda self, finding: None)
    flip_bit(repository.file(WEIGHTS))
    flip_bit(repository.file("data/pool/sketches/*.safetensors"))
    assert set(sources(repository.repair()).values()) == {None}


def test_a_sketch_pack_of_weights_that_were_taken_down_names_the_reason(
    repository: VersionedRepository,
) -> None:
    pack = repository.file("data/pool/sketches/*.safetensors")
    batch = sketch_packs.NAME.fullmatch(pack.name)
    assert batch
    weights = repository.file(f"data/pool/batches/{batch['batch']}/weights/*")
    repository.list_takedown(weights)
    empty(weights)
    flip_bit(pack)
    (repair,) = repository.plan()
    name, linked = str(pack.relative_to(repository.root)), repair.finding.linked_object
    assert (repair.source, repair.remark) == (
        None,
        "1 of its weights was taken down; delete it and its object in DVC's cache first: "
        f"`rm -f {name} {linked} {name}.dvc`, then run `dvc repro --force --single-item pool`",
    )


def test_a_stage_is_run_again_for_its_output(repository: VersionedRepository) -> None:
    before = repository.contents()
    paths = [repository.file("data/captions/*"), repository.file("data/dataset/*/data/*")]
    for path in paths:
        flip_bit(path)
    planned = sources(repository.plan())
    assert list(planned.values()) == [
        "a new run of the stage 'captions'",
        "a new run of the stage 'dataset'",
    ]
    assert sources(repository.repair()).items() >= planned.items()
    assert {path: sha for path, sha in repository.contents().items() if path in before} == before


def test_a_stage_that_fails_changes_nothing(repository: VersionedRepository) -> None:
    path = repository.file("data/captions/*")
    flip_bit(path)
    damaged = path.read_bytes()
    shutil.rmtree(repository.root / "kept")
    (repair,) = repository.repair()
    assert repair.source is None and "`dvc repro` failed" in repair.remark
    assert path.read_bytes() == damaged


def test_a_training_starts_only_if_it_is_allowed(repository: VersionedRepository) -> None:
    before = repository.contents()
    flip_bit(repository.file("data/encoder/model.safetensors"))
    (repair,) = repository.repair()
    assert (repair.source, repair.remark) == (
        None,
        "the training of the stage 'encoder' restores it: add --train",
    )
    assert {repair.source for repair in repository.repair(train=True)} <= {
        "a new run of the stage 'encoder'",
        "working tree",
    }
    assert repository.contents() == before
