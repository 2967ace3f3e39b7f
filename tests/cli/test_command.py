"""What all commands share: wrong arguments, and a closed pipe."""

import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autolora.cli import app
from autolora.cli.command import command
from autolora.errors import MissingArtifact
from tests.support.synthetic_repo import make_adapter, write_repository

ROOT = Path(__file__).parents[2]
ADAPTER = make_adapter("mosaic", 0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_closed_pipe_ends_command_with_sigpipe(tmp_path: Path, options: list[str]) -> None:
    write_repository(tmp_path, [ADAPTER])
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "autolora", "show", ADAPTER.listing.id, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", " "], "the prompt is empty"),
        (["search", "caf\udcff"], "the prompt is not valid UTF-8"),
        (["generate", "caf\udcff"], "the prompt is not valid UTF-8"),
        (["generate", ""], "the prompt is empty"),
        (["generate", "a cat", "-o", "README.md/cat.png"], "not a folder that can be written"),
        (["generate", "a cat", "--adapter", "x/y", "-k", "2"], "give either adapters, or -k and --where"),
        (["search", "a cat", "--max-mb", "inf"], "should be less than or equal to"),
        (["generate", "a cat", "-k", "0", "--rev", "v1"], "-k 0 searches no index, so --rev has no effect"),
        (
            ["generate", "a cat", "-k", "0", "--where", "nsfw"],
            "-k 0 searches no index, so --where has no effect",
        ),
        (["search", "a cat", "-k", "0"], "neither a number from 1 nor auto"),
        (["search", "a cat", "-k", "some"], "neither a number from 1 nor auto"),
        (["generate", "a cat", "-o", "cat.jpg"], "a file that ends in .png"),
        (["show", "cat.png", "--captions"], "is for adapters, not for images"),
    ],
)
def test_wrong_argument_is_a_usage_error(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2 and message in result.output


def test_warnings_of_the_hub_client_are_printed_once() -> None:
    script = (
        "from autolora.cli.command import command\n"
        "from huggingface_hub.utils import logging\n"
        "command(lambda: logging.get_logger('huggingface_hub.hf_api').warning('nothing to do'))()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "nothing to do\n"


def test_errors_and_warnings_control_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def fail() -> None:
        logging.getLogger("hub").warning("named \x1b[31m%s", "evil")
        raise MissingArtifact("no \x1b]0;title\x07 file\nof that name")

    handlers = logging.getLogger().handlers[:]
    logging.getLogger().handlers = []
    try:
        with pytest.raises(typer.Exit):
            fail()
    finally:
        logging.getLogger().handlers = handlers
    assert (
        capsys.readouterr().err
        == "WARNING hub: named �[31mevil\nMissingArtifact: no �]0;title� file\nof that name\n"
    )
