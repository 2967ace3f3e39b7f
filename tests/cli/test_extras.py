"""What the core installation does, and what each command says that needs an extra."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autolora.cli import COMMANDS
from autolora.errors import MissingLibrary
from autolora.extras import LIBRARIES, Extra
from autolora.index import stage
from autolora.index.served import open_index, release
from autolora.integrity.dvc_records import run_dvc
from autolora.params import load
from tests.support.synthetic_repo import BOUNDS, no_text_encoder

pytestmark = pytest.mark.slow

RUN = """
import json, os, shlex, sys
for library in sys.argv[1].split():
    sys.modules[library] = None
from typer.testing import CliRunner
from autolora.cli import app
for line in sys.stdin.read().splitlines():
    os.chdir(sys.argv[3 if line.split()[0] == "index" else 2])
    result = CliRunner().invoke(app, shlex.split(line))
    print(json.dumps([line, [result.exit_code, result.stdout, result.stderr]]))
"""
CORE = {
    "search 'a neon drawing'": "author1/neon",
    "search 'a neon drawing' -k 2": "author1/neon",
    "search 'a neon drawing' --may-sell --json": "captions: reading them needs lance",
    "search 'a neon drawing' --reasons": "captions: reading them needs lance",
    "versions lift": "nothing was pinned",
    "status": "served index",
    "versions": "no commit",
}
"""command that needs no extra -> a part of what it prints"""
NEEDED: dict[str, tuple[str, Extra]] = {
    "search --image image.png": ("a search by an image", "pipeline"),
    "generate cat -k 1": ("`autolora generate`", "pipeline"),
    "serve": ("`autolora serve`", "serve"),
    "show author1/neon": ("`autolora show`", "pipeline"),
    "inspect .": ("`autolora inspect`", "weights"),
    "export image.png -o x.safetensors": ("`autolora export`", "weights"),
    "index . --encoder x": ("`autolora index`", "pipeline"),
    "plan": ("`autolora plan`", "pipeline"),
    "refresh": ("`autolora refresh`", "pipeline"),
    "takedown": ("`autolora takedown`", "pipeline"),
    "prune": ("`autolora prune`", "pipeline"),
    "evaluate --prompts params.yaml": ("`autolora evaluate`", "pipeline"),
    "vllm": ("`autolora vllm`", "pipeline"),
    "publish x": ("`autolora publish`", "pipeline"),
}
"""command -> what, as it says, needs a library, and the extra that it names"""


@pytest.fixture(scope="module")
def project(searchable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with stages and a released index; beside it is an empty folder, own."""
    root = tmp_path_factory.mktemp("core") / "root"
    shutil.copytree(searchable, root)
    models = load(root / "params.yaml").models
    stage.open_sync(root, BOUNDS, no_text_encoder).save_tokenizer(models)
    shutil.rmtree(root / "cache", ignore_errors=True)
    release(root, open_index(root).digest)
    for folder in ("flows", "../own"):
        (root / folder).mkdir()
    (root / "image.png").touch()
    return root


@pytest.fixture(scope="module")
def results(project: Path) -> dict[str, tuple[int, str, str]]:
    """Return command -> exit status, output and errors, of a process without the libraries of all extras."""
    folders = (str(project), str(project.parent / "own"))
    process = [sys.executable, "-c", RUN, " ".join(sorted(LIBRARIES)), *folders]
    commands = "\n".join([*CORE, *NEEDED])
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(process, input=commands, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("command", CORE)
def test_the_core_suffices(results: dict[str, tuple[int, str, str]], command: str) -> None:
    status, output, errors = results[command]
    assert status == 0, errors
    assert CORE[command] in output


@pytest.mark.parametrize("command", NEEDED)
def test_a_command_names_the_extra_that_it_needs(
    results: dict[str, tuple[int, str, str]], command: str
) -> None:
    status, _, errors = results[command]
    needed, extra = NEEDED[command]
    message = (
        rf"MissingLibrary: {needed} needs \w+, which is not installed here: pip install 'autolora\[{extra}\]'"
    )
    assert status == 1
    assert re.fullmatch(message, errors.splitlines()[-1]), errors


def test_every_command_is_tried() -> None:
    commands = {function.__name__ for functions in COMMANDS.values() for function in functions}
    commands -= {"verify"}  # it reads what DVC has, and here that is nothing
    commands -= {"doctor"}  # names what is not installed (tests/doctor)
    tried = [shlex.split(command) for command in (*CORE, *NEEDED)]
    assert commands <= {words[0] for words in tried} | {" ".join(words[:2]) for words in tried}


def test_what_runs_dvc_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc", None)
    with pytest.raises(MissingLibrary, match=r"`dvc status` needs dvc, .*autolora\[pipeline\]"):
        run_dvc(tmp_path, "status")


def test_an_index_without_a_copy_needs_lance(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    (project / "cache/index").rename(project / "cache/elsewhere")
    try:
        with pytest.raises(MissingLibrary, match=r"has no copy in cache/index, .*autolora\[pipeline\]"):
            open_index(project)
    finally:
        (project / "cache/elsewhere").rename(project / "cache/index")
