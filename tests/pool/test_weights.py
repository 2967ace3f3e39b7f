"""Weights that cannot be used: missing, damaged, or intact and of another base model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.slots import hidden_size, slots
from autolora.pool.ingest import read_adapter
from autolora.pool.recipe import ReadRecipe
from autolora.pool.store import weights_path
from autolora.pool.weights import load_lora
from autolora.storage.hashes import hash_file
from tests.support.small_root import bounds
from tests.support.tiny_flux import CONFIG, random_lora, save_peft


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of an adapter in a pool."""
    file = save_peft(random_lora(0), tmp_path / "new.safetensors")
    path = weights_path(tmp_path, hash_file(file))
    path.parent.mkdir(parents=True)
    return file.rename(path)


def load(root: Path, path: Path, *, check_hash: bool = True, **config: int) -> int:
    """Return the number of slots that an adapter changes."""
    return len(load_lora(root, path.stem, slots({**CONFIG, **config}), bounds(), check_hash=check_hash))


def test_an_intact_file_of_another_base_model_is_not_called_damaged(tmp_path: Path, path: Path) -> None:
    assert load(tmp_path, path) == len(slots(CONFIG))
    for config in ({"attention_head_dim": 32}, {"num_single_layers": 1}):
        with pytest.raises(MismatchError, match=r"is intact, but does not fit the base model.* `dvc repro`"):
            load(tmp_path, path, **config)


@pytest.mark.parametrize("check_hash", [True, False])
def test_a_damaged_file_can_be_repaired(tmp_path: Path, path: Path, check_hash: bool) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MissingArtifact, match=r"is damaged .*: run `autolora verify`"):
        load(tmp_path, path, check_hash=check_hash)


def test_flipped_bytes_are_noticed_unless_a_training_reads(tmp_path: Path, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(MissingArtifact, match=rf"sha256 is {hash_file(path)}, expected {path.stem}\): run"):
        load(tmp_path, path)
    assert load(tmp_path, path, check_hash=False) == len(slots(CONFIG))


def test_a_file_that_is_gone_can_be_repaired(tmp_path: Path, path: Path) -> None:
    path.unlink()
    with pytest.raises(MissingArtifact, match=r"does not exist: run `autolora verify`"):
        load(tmp_path, path)


def test_a_lokr_that_is_not_low_rank_is_searched_but_not_drawn(tmp_path: Path) -> None:
    prefix, width = "transformer.transformer_blocks.0.attn.to_q", hidden_size(CONFIG)
    tensors = {f"{prefix}.lokr_w1": torch.eye(2), f"{prefix}.lokr_w2": torch.eye(width // 2)}
    file, limits = tmp_path / "new.safetensors", replace(bounds(), max_rank=width - 1)
    save_file(tensors, file)
    row, sketched = read_adapter(file, "hub", hash_file(file), ReadRecipe(slots=slots(CONFIG), bounds=limits))
    warnings = ("scale-assumed", "full-rank")
    assert (row.verdict, row.rank_max, row.num_slots, row.warnings) == ("accepted", width, 1, warnings)
    assert sketched is not None and sketched.norm == pytest.approx(width**0.5, rel=0.3)
    path = weights_path(tmp_path, hash_file(file))
    path.parent.mkdir(parents=True)
    file.rename(path)
    with pytest.raises(MismatchError, match=r"can be searched, but not drawn.* leave this adapter out"):
        load_lora(tmp_path, path.stem, slots(CONFIG), limits)
