"""Options of the whole command line: its version, its help, and outputs in folders that do not exist."""

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.params.limits import MAX_SEED


def test_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"autolora {version('autolora')}\n")


@pytest.mark.parametrize("command", [[], ["search"], ["inspect"]])
def test_h_is_help(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0 and short.stdout == long.stdout


def test_the_terminal_alone_breaks_the_lines_of_a_help() -> None:
    for command in app.registered_commands:
        paragraphs = (command.callback.__doc__ or "").split("\n\n") if command.callback else [""]
        assert all(paragraph and "\n" not in paragraph for paragraph in paragraphs)
    text = CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "80"}).stdout
    assert "or none. With --like they are those of the image." in text
    assert "9223372036854775807" not in text and "images/PROMPT" not in text


@pytest.mark.parametrize("seed", ["-1", str(MAX_SEED + 1), "x"])
def test_a_seed_out_of_range_is_a_usage_error(seed: str) -> None:
    result = CliRunner().invoke(app, ["generate", "a cat", "--seed", seed], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and f"'{seed}' is not a whole number from 0 to {MAX_SEED}" in result.output


def test_values_of_repeated_options_have_names() -> None:
    text = CliRunner().invoke(app, ["search", "--help"], env={"COLUMNS": "200"}).stdout
    assert "list[" not in text and "LICENSE" in text


@pytest.mark.parametrize(("content", "is_too_short"), [(b"", True), (b"notes", True), (b"x" * 100, False)])
def test_a_file_without_a_header_is_no_incomplete_upload(
    tmp_path: Path, content: bytes, is_too_short: bool
) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_bytes(content)
    result = CliRunner().invoke(
        app, ["inspect", str(path), "--pipeline", "flux.1-dev"], env={"COLUMNS": "400"}
    )
    assert result.exit_code == 1 and "upload is incomplete" not in result.output
    assert ("too short for a safetensors header" in result.output) == is_too_short


def test_a_wrong_day_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["search", "cat", "--since", "foo"], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and "'foo' is not a day (YYYY-MM-DD)" in result.output
    assert "Value error" not in result.output
