"""Sketch packs: one file per batch and recipe."""

import datetime
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from autolora.errors import MissingArtifact
from autolora.lora.sketch import Sketch
from autolora.pool import batches, sketch_packs
from autolora.storage.incremental import write_digest

TODAY = datetime.date(2026, 1, 5)
OLD, NEW = "0" * 16, "1" * 16


def put(root: Path, *names: str, seed: int = 0) -> list[str]:
    """Write weights and random sketches of adapters, and return their sha256."""
    generator = torch.Generator().manual_seed(seed)
    adapters = [name * 64 for name in names]
    for sha256 in adapters:
        path = batches.file_path(root, "weights", sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sha256)
        values = torch.randn(3, 4, 4, generator=generator)
        sketch_packs.save_sketch(root, sha256, Sketch(values, torch.tensor([True, False, True])))
    return adapters


def close(root: Path, adapters: list[str], recipe: str = OLD) -> list[str]:
    batches.close(root, {"weights": adapters, "renderings": []}, TODAY)
    return sketch_packs.close_packs(root, adapters, recipe)


def test_a_pack_returns_what_the_open_sketches_returned(tmp_path: Path) -> None:
    adapters = put(tmp_path, *"cab")
    before = [sketch_packs.load_sketch(tmp_path, sha256) for sha256 in adapters]
    prints = sketch_packs.load_fingerprints(tmp_path, adapters)
    assert close(tmp_path, adapters) == [f"2026-01-05-{OLD}.safetensors"]
    assert not (batches.open_folder(tmp_path) / "sketches").exists()
    for sha256, sketch in zip(adapters, before, strict=True):
        stored = sketch_packs.load_sketch(tmp_path, sha256)
        assert torch.equal(stored.values, sketch.values) and torch.equal(stored.present, sketch.present)
    assert np.array_equal(sketch_packs.load_fingerprints(tmp_path, adapters), prints)


def test_a_pack_is_a_valid_safetensors_file_with_its_adapters_in_order(tmp_path: Path) -> None:
    close(tmp_path, put(tmp_path, *"ba"))
    path = sketch_packs.packs_folder(tmp_path) / f"2026-01-05-{OLD}.safetensors"
    assert sketch_packs.read_adapters(path) == ("a" * 64, "b" * 64)
    with safe_open(path, framework="pt") as pack:
        assert pack.get_slice("values").get_shape() == [2, 3, 4, 4]
        assert pack.get_tensor("present").tolist() == [[True, False, True]] * 2


def test_another_recipe_makes_another_pack_of_the_same_batch(tmp_path: Path) -> None:
    adapters = put(tmp_path, *"ab")
    close(tmp_path, adapters)
    old = sketch_packs.load_sketch(tmp_path, adapters[0]).values
    put(tmp_path, *"ab", seed=1)
    assert close(tmp_path, adapters, NEW) == [f"2026-01-05-{NEW}.safetensors"]
    assert torch.equal(sketch_packs.load_sketch(tmp_path, adapters[0], OLD).values, old)
    write_digest(tmp_path, "pool", {}, 1, recipe=NEW)
    assert not torch.equal(sketch_packs.load_sketch(tmp_path, adapters[0]).values, old)


def test_a_pack_is_never_rewritten(tmp_path: Path) -> None:
    adapters = put(tmp_path, *"ab")
    batches.close(tmp_path, {"weights": adapters, "renderings": []}, TODAY)
    sketch_packs.close_packs(tmp_path, adapters[:1], OLD)
    put(tmp_path, "b")
    assert sketch_packs.close_packs(tmp_path, adapters, OLD) == [f"2026-01-05-{OLD}-2.safetensors"]
    assert sketch_packs.find_sketches(tmp_path, OLD).keys() == set(adapters)


def test_a_sketch_that_a_pack_contains_is_not_packed_again(tmp_path: Path) -> None:
    adapters = put(tmp_path, "a")
    close(tmp_path, adapters)
    put(tmp_path, "a")
    assert close(tmp_path, adapters) == []


def test_packs_that_are_written_within_one_tick_of_the_clock_are_noticed(tmp_path: Path) -> None:
    """A folder's time stamp is then the same before and after."""

    def load_all() -> list[torch.Tensor]:
        os.utime(sketch_packs.packs_folder(tmp_path), ns=(1, 1))
        return [sketch_packs.load_sketch(tmp_path, sha256).values for sha256 in adapters]

    adapters = put(tmp_path, "a")
    close(tmp_path, adapters)
    load_all()
    adapters += put(tmp_path, "b")
    close(tmp_path, adapters)
    before = load_all()
    pack, replaced = (
        sketch_packs.packs_folder(tmp_path) / name for name in sketch_packs.pack_names(tmp_path)
    )
    other = put(tmp_path, "c", seed=1)
    replaced.rename(tmp_path / "former")
    sketch_packs.write_pack(replaced, {other[0]: sketch_packs.open_path(tmp_path, other[0])})
    sketch_packs.open_path(tmp_path, other[0]).unlink()
    adapters = [adapters[0], *other]
    assert torch.equal(load_all()[0], before[0]) and pack.exists()
    assert sketch_packs.find_sketches(tmp_path).keys() == set(adapters)


def test_a_missing_sketch_and_a_damaged_pack_say_what_to_do(tmp_path: Path) -> None:
    adapters = put(tmp_path, "a")
    close(tmp_path, adapters)
    with pytest.raises(
        MissingArtifact, match=f"the sketch of {'b' * 64} is missing or damaged; `autolora verify`"
    ):
        sketch_packs.load_sketch(tmp_path, "b" * 64)
    path = sketch_packs.packs_folder(tmp_path) / f"2026-01-05-{OLD}.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MissingArtifact, match="damaged"):
        sketch_packs.load_sketch(tmp_path, adapters[0])
    with pytest.raises(MissingArtifact, match="damaged"):
        sketch_packs.load_fingerprints(tmp_path, adapters)


def test_a_file_without_the_form_of_a_name_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the name of a sketch pack"):
        sketch_packs.recipe_of("2026-01-05.safetensors")
