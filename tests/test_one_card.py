"""The path of docs/howto/flux.md on cards of 24, 48 and 80 GB; only the query of the card's memory is replaced."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from autolora import gpu_memory
from autolora.cli import app
from autolora.doctor import Setting
from autolora.doctor.machine import card
from autolora.gpu_memory import drawing_lack
from autolora.model_sizes import size_of
from autolora.params import load
from autolora.params.models import MEMORY, Memory
from autolora.planning.plan import drawing_needs, make_setting
from autolora.vlm import server

ROOT = Path(__file__).parents[1]
PROFILE = load(ROOT / "profiles/flux.1-dev.yaml")
FLUX = drawing_needs(make_setting(PROFILE, None, 1))
QWEN = 16.6e9
"""bytes of Qwen2.5-VL-7B"""


@pytest.mark.parametrize(("size", "share", "memory"), [(24, 0.9, "8bit"), (48, 0.5, None), (80, 0.3, None)])
def test_what_a_card_gets(
    size: int, share: float, memory: Memory | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.share_of_card("a model", QWEN, size * 1e9) == share
    monkeypatch.setattr("autolora.doctor.machine.card_bytes", lambda: size * 1e9)
    found = [str(trouble) for trouble in card(Setting(tmp_path, PROFILE, {}))]
    assert len(found) == (memory is not None)
    assert not found or f"the card has {size}.0: set models.memory: {memory} in params.yaml" in found[0]
    fitting = replace(PROFILE, models=replace(PROFILE.models, memory=memory))
    monkeypatch.setattr("autolora.models.find_spec", lambda name: name)
    assert not list(card(Setting(tmp_path, fitting, {})))
    monkeypatch.setattr("autolora.models.find_spec", lambda name: None)
    remedies = [trouble.remedy for trouble in card(Setting(tmp_path, fitting, {}))]
    assert len(remedies) == (memory is not None) and all("pip install bitsandbytes" in it for it in remedies)


def test_the_order_of_proposals_and_a_card_for_which_there_is_none() -> None:
    assert tuple(FLUX) == MEMORY
    assert [drawing_lack(FLUX, None, size) for size in (37e9, 1e9)] == [
        None,
        (
            "an image (`autolora generate`, the page) needs 36.7 GB of GPU memory with models.memory: null, and the "
            "card has 1.0",
            "draw on a larger card; the index and searches do not need it",
        ),
    ]
    for size, expected in ((30e9, "offload"), (16e9, "4bit"), (8e9, "sequential")):
        lack = drawing_lack(FLUX, None, size)
        assert lack and f"models.memory: {expected} " in lack[1]


def test_what_a_plan_computes_for_flux() -> None:
    counted = {None: 36.7e9, "offload": 25.7e9, "8bit": 21.1e9, "4bit": 14.4e9, "sequential": 2.9e9}
    assert counted == pytest.approx(dict(FLUX), abs=0.06e9)
    assert size_of(PROFILE.models.vlm, PROFILE.models.vlm_revision)[0] == pytest.approx(QWEN, abs=0.05e9)


def answer_as_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Put a program of this name first on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_memory_of_a_card_is_that_of_the_smallest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory.card_bytes() is None
    answer_as_nvidia_smi(tmp_path, monkeypatch, "echo 81559; echo 24564")
    assert gpu_memory.card_bytes() == 24564 * 2**20
    answer_as_nvidia_smi(tmp_path, monkeypatch, "echo failed; exit 9")
    assert gpu_memory.card_bytes() is None


@pytest.mark.parametrize(
    ("size", "options", "shares", "message"),
    [
        (24, [], ["0.31"], "reserving 7.4 of the card's 24.0 GB (31%)"),
        (24, ["--gpu-memory-utilization", "0.5"], ["0.5"], ""),
        (24, ["--gpu-memory-utilization=0.5"], [], ""),
        (3, [], [], "set models.vlm to a smaller or quantized model"),
        (None, [], [], "nvidia-smi does not say how much memory the card has"),
    ],
)
def test_vllm_reserves_what_its_model_needs(
    size: int | None,
    options: list[str],
    shares: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []

    def become(path: str, words: list[str], environment: Any) -> None:
        commands.append(words)
        raise SystemExit(0)

    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["models"]["vlm"] = str(ROOT / values["models"]["vlm"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    answer_as_nvidia_smi(
        tmp_path, monkeypatch, "exit 9" if size is None else f"echo {size * 1e9 / 2**20:.0f}"
    )
    monkeypatch.setattr(server, "is_installed", lambda *_: True)
    monkeypatch.setattr("os.execve", become)
    result = CliRunner().invoke(app, ["vllm", "--", *options])
    given = [
        words[i + 1] for words in commands for i, word in enumerate(words) if word == server.SHARE_OPTION
    ]
    assert given == shares and message in re.sub(r"\s+", " ", result.output)
    assert bool(commands) == (result.exit_code == 0)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_new_project_takes_the_gpu_that_is_there_and_says_so(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("loras", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("autolora.local.indexing.index_folder", None)  # ends after params.yaml is written
    result = CliRunner().invoke(app, ["index", "../loras"])
    assert load(tmp_path / "project/params.yaml").models.device == device
    assert f"models run on {device}, because this machine has" in re.sub(r"\s+", " ", result.output)
