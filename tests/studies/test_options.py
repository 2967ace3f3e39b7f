"""The options of `python -m studies.paper`: numbers, defaults that depend on others, and a help that can be read."""

from pathlib import Path

import pytest

from studies.paper.options import PLAYGROUND, read_options


@pytest.mark.parametrize("name", ["images", "sets", "prompts", "objects", "styles"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_counts_below_one_are_refused(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options([f"--{name}={value}"])
    assert ended.value.code == 2
    message = f"error: argument --{name}: '{value}' is not a whole number of at least 1"
    assert message in capsys.readouterr().err


def test_seeds_below_zero_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--runs", "0", "-1"])
    assert "--runs: '-1' is not a whole number of at least 0" in capsys.readouterr().err


def test_another_world_does_not_take_the_playgrounds_name(tmp_path: Path) -> None:
    def name_of(*options: str) -> str:
        return str(read_options(options).name)

    (tmp_path / "large").mkdir()
    assert name_of() == PLAYGROUND
    assert name_of("--world", str(tmp_path / "large")) == "large"
    assert name_of("--world", str(tmp_path / "large"), "--name", "trial") == "trial"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--world", "nowhere", "'nowhere' is not a folder"),
        ("--name", "../x", "'../x' is not a name"),
        ("--name", "", "'' is"),
    ],
)
def test_worlds_that_do_not_exist_and_names_that_are_paths_are_refused(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_options([f"{option}={value}"])
    assert f"argument {option}: {message}" in capsys.readouterr().err


def test_what_is_finished_is_only_written_if_asked_for() -> None:
    def write_of(*options: str) -> str:
        return str(read_options(options).write)

    assert write_of() == "larger"
    assert write_of("--finished") == "none"
    assert write_of("--finished", "--write", "larger") == "larger"


def test_the_help_names_what_may_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and "{full" not in text and "range(" not in text
    for option in text.split("\n  --")[1:]:
        assert "default" in option or option.startswith("finished"), option
