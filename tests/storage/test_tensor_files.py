"""Files of tensors: complete, or not there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autolora.storage.files import replacing
from autolora.storage.tensor_files import save_tensors


def test_tensors_and_metadata_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.safetensors"
    save_tensors(path, {"a": torch.arange(3)}, {"key": "value"})
    assert load_file(path)["a"].tolist() == [0, 1, 2]
    assert b'"key":"value"' in path.read_bytes() and path.stat().st_mode & 0o777 == 0o644


def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_text("old")
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_tensors(path, {"a": shared, "b": shared}, {})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_interrupted_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as temporary:
        temporary.write_text("part")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
