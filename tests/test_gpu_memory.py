"""A GPU whose memory does not suffice: what holds it, and what to lower."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from autolora.errors import OutOfMemory
from autolora.gpu_memory import LOWER, naming_what_to_lower


def raise_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(2e9), int(80e9)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: int(40e9))
    with pytest.raises(OutOfMemory) as caught, naming_what_to_lower("fusion"):
        raise_out_of_memory()
    assert str(caught.value).startswith(
        "fusion needs more GPU memory than there is (40.0 GB of 80.0 are held by this process, 38.0 by others): stop "
        "what else uses the card, such as `autolora vllm` once all captions are written, or lower fusion.image_size"
    )


def test_another_user_and_no_card() -> None:
    message = r"index needs .*no GPU answers any more.*set models.device: cpu"
    with pytest.raises(OutOfMemory, match=message), naming_what_to_lower("index"):
        raise_out_of_memory()


@pytest.mark.parametrize("error", [RuntimeError("other"), MemoryError()])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)), naming_what_to_lower("fusion"):
        raise error


def test_what_is_to_be_lowered_is_in_the_params() -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    for text in LOWER.values():
        for name in (word.strip("(),:") for word in text.split() if "." in word):
            section, key, *_ = name.split(".")
            assert key in content[section], name


def test_no_import_of_torch() -> None:
    code = "import sys, autolora.gpu_memory; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
