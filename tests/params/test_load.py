"""Files that are not a params.yaml."""

from pathlib import Path

import pytest

from autolora.errors import ParamsError
from autolora.params import load
from tests.params.changed_params import SHIPPED


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("", "must be a mapping"), ("- 1", "must be a mapping")],
)
def test_invalid_yaml_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=message):
        load(path)


def test_a_path_may_be_a_text() -> None:
    assert load(str(SHIPPED)) == load(SHIPPED)


def test_missing_file_is_an_error_that_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the root"):
        load(tmp_path / "params.yaml")
