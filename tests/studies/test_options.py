"""The options of the studies on fusion: numbers, defaults that depend on others, and a help that can be read."""

from pathlib import Path

import pytest

from studies.gates import options as gates
from studies.gates.cells import CELLS
from studies.options import PLAYGROUND
from studies.paper import options as paper

COMMANDS = pytest.mark.parametrize("command", [paper, gates], ids=["paper", "gates"])


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((paper, name) for name in ("images", "sets", "prompts", "objects", "styles")),
        *((gates, name) for name in ("pairs", "choice-pairs", "images")),
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_counts_below_one_are_refused(
    command: object, name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.read_options([f"--{name}={value}"])  # type: ignore[attr-defined]
    assert ended.value.code == 2
    message = f"error: argument --{name}: '{value}' is not a whole number of at least 1"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("command", "name"), [(paper, "runs"), (gates, "seeds")])
def test_seeds_below_zero_are_refused(command: object, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.read_options([f"--{name}", "0", "-1"])  # type: ignore[attr-defined]
    assert f"--{name}: '-1' is not a whole number of at least 0" in capsys.readouterr().err


@COMMANDS
def test_another_world_does_not_take_the_playgrounds_name(command: object, tmp_path: Path) -> None:
    def name_of(*options: str) -> str:
        return str(command.read_options(options).name)  # type: ignore[attr-defined]

    (tmp_path / "large").mkdir()
    assert name_of() == PLAYGROUND
    assert name_of("--world", str(tmp_path / "large")) == "large"
    assert name_of("--world", str(tmp_path / "large"), "--name", "trial") == "trial"


@COMMANDS
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--world", "nowhere", "'nowhere' is not a folder"),
        ("--name", "../x", "'../x' is not a name"),
        ("--name", "", "'' is"),
    ],
)
def test_worlds_that_do_not_exist_and_names_that_are_paths_are_refused(
    command: object, option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.read_options([f"{option}={value}"])  # type: ignore[attr-defined]
    assert f"argument {option}: {message}" in capsys.readouterr().err


@COMMANDS
def test_what_is_finished_is_only_written_if_asked_for(command: object) -> None:
    def write_of(*options: str) -> str:
        return str(command.read_options(options).write)  # type: ignore[attr-defined]

    assert write_of() == "larger"
    assert write_of("--finished") == "none"
    assert write_of("--finished", "--write", "larger") == "larger"


@COMMANDS
def test_the_help_names_what_may_be_chosen(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.read_options(["--help"])  # type: ignore[attr-defined]
    text = capsys.readouterr().out
    assert ended.value.code == 0 and "{full" not in text and "range(" not in text
    for option in text.split("\n  --")[1:]:
        assert "default" in option or option.startswith("finished"), option
    if command is gates:
        assert all(f'  "{name}"\n' in text for name in CELLS)
        assert "right unnamed wrong many uneven colliding" in text
