"""Weights that cannot be used: missing, damaged, or intact and of another base model."""

from pathlib import Path

import pytest

from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.slots import slots
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
    with pytest.raises(MissingArtifact, match=r"is damaged .*: run `autolora repair --apply`"):
        load(tmp_path, path, check_hash=check_hash)


def test_flipped_bytes_are_noticed_unless_a_training_reads(tmp_path: Path, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(MissingArtifact, match=rf"sha256 is {hash_file(path)}, expected {path.stem}\): run"):
        load(tmp_path, path)
    assert load(tmp_path, path, check_hash=False) == len(slots(CONFIG))


def test_a_file_that_is_gone_can_be_repaired(tmp_path: Path, path: Path) -> None:
    path.unlink()
    with pytest.raises(MissingArtifact, match=r"does not exist: run `autolora repair --apply`.*verify`"):
        load(tmp_path, path)
