"""How programs without the command line's own handling of errors end."""

import pickle
from pathlib import Path

import pytest

from autolora.errors import (
    AutoLoraError,
    DownloadsFailed,
    MissingArtifact,
    RefusedFile,
    exit_on_error,
)

BENCHES = sorted(
    path
    for pattern in ("*.py", "*/__main__.py")
    for top in ("bench", "studies")
    for path in (Path(__file__).parents[1] / top).glob(pattern)
    if "main()\n" in path.read_text(encoding="utf-8").partition('if __name__ == "__main__":')[2]
)


def test_a_program_ends_with_the_message_in_place_of_a_traceback() -> None:
    with pytest.raises(SystemExit) as ended, exit_on_error():
        raise MissingArtifact("data/dataset is missing: run `dvc repro`")
    assert ended.value.code == "MissingArtifact: data/dataset is missing: run `dvc repro`"


@pytest.mark.parametrize(
    "error",
    [
        MissingArtifact("data/dataset is missing"),
        RefusedFile("dora", "a DoRA"),
        DownloadsFailed({"a": "404", "b": "damaged"}, {"b"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_equal_in_another_process(error: AutoLoraError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
    assert {name: str(value) for name, value in vars(again).items()} == {
        name: str(value) for name, value in vars(error).items()
    }


def test_another_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_error():
        raise ZeroDivisionError


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_measurement_without_its_data_ends_in_one_line(path: Path) -> None:
    assert "    with exit_on_error():\n        main()\n" in path.read_text(encoding="utf-8")
