from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.errors import ParamsError
from autolora.params import load

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def changed(tmp_path: Path, section: str, key: str, value: Any) -> Path:
    """Return a copy of the shipped params with one value changed, or removed where it is `...`."""
    content = yaml.safe_load(SHIPPED.read_text())
    if value is ...:
        del content[section][key]
    else:
        content[section][key] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("encoder", "stepps", 5, r"unknown key 'encoder.stepps'; allowed here: .*steps"),
        ("encoder", "steps", ..., r"missing key 'encoder.steps'"),
        ("encoder", "steps", "many", r"encoder.steps must be of type int, not 'many'"),
        ("encoder", "steps", True, r"encoder.steps must be of type int, not True"),
        ("encoder", "dropout", "x", r"encoder.dropout must be of type float"),
        ("models", "dtype", "float8", r"models.dtype is 'float8'; allowed: 'float32', 'bfloat16', 'float16'"),
        ("crawl", "filters", "lora", r"crawl.filters must be a list"),
        ("crawl", "filters", [1], r"crawl.filters\[0\] must be of type str"),
        ("hubs", "requests_per_s", 0, r"hubs.requests_per_s is 0.* but must be above 0"),
        ("hubs", "max_mb_per_s", 0, r"hubs.max_mb_per_s is 0.* but must be above 0, or null"),
        ("captions", "instructions", 3, r"captions.instructions must be a mapping"),
        ("dataset", "train_until", "soon", r"dataset.train_until must be a date in quotes"),
        ("dataset", "test_share", 1.5, r"dataset.test_share is 1.5 but must be between 0 and 1"),
        ("generation", "width", 0, r"generation.width is 0 but must be at least 1"),
        ("judges", "question", "Well?", r"judges.question is 'Well\?' but must be a question with \{text\}"),
        ("judges", "engine", "hand", r"judges.engine is 'hand'; allowed: 'transformers', 'vllm'"),
        ("experiments", "pairs", -6, r"experiments.pairs is -6 but must be at least 1"),
        ("generation", "width", 100, r"generation.width is 100 but must be a multiple of 16 px"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, section: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load(changed(tmp_path, section, key, value))


def test_an_integer_is_a_float_too(tmp_path: Path) -> None:
    assert load(changed(tmp_path, "hubs", "timeout_s", 7)).hubs.timeout_s == 7.0


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("", "must be a mapping"), ("- 1", "must be a mapping")]
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=message):
        load(path)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the root"):
        load(tmp_path / "params.yaml")
