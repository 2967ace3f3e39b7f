"""The loader of params.yaml: which files and values it rejects, and how it names them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.errors import ParamsError
from autolora.params import load
from autolora.params_reader import RENAMED

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def changed(tmp_path: Path, section: str, key: str, value: Any) -> Path:
    """Return a copy of params.yaml with one value changed, or removed if it is `...`."""
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
        ("concepts", "caption", "long", r"concepts.caption is 'long'; allowed: 'named', 'neutral'"),
        (
            "concepts",
            "noise_levels",
            [],
            r"concepts.noise_levels is \(\) but must be a list of numbers above 0",
        ),
        (
            "concepts",
            "noise_levels",
            [0.5, 0],
            r"concepts.noise_levels is .* but must be a list of numbers above 0",
        ),
        ("concepts", "image_size", 40, r"concepts.image_size is 40 but must be a multiple of 16 px"),
        ("concepts", "max_share", 1.5, r"concepts.max_share is 1.5 but must be between 0 and 1"),
        ("generation", "method", "sum", r"generation.method is 'sum'; allowed: 'direct', 'gated', 'mean', "),
        ("generation", "rules", {"c": 1}, r"unknown key 'generation.rules.c'; allowed here: velocity_factor"),
        ("experiments", "further_methods", ["sum"], r"further_methods\[0\] is 'sum'; allowed: 'direct'"),
        ("generation", "width", 0, r"generation.width is 0 but must be at least 1"),
        ("judges", "question", "Well?", r"judges.question is 'Well\?' but must be a question with \{text\}"),
        ("judges", "engine", "hand", r"judges.engine is 'hand'; allowed: 'transformers', 'vllm'"),
        ("experiments", "pairs", -6, r"experiments.pairs is -6 but must be at least 1"),
        ("generation", "width", 100, r"generation.width is 100 but must be a multiple of 16 px"),
        ("encoder", "preset", "good", r"encoder.preset is 'good'; allowed: 'paper', 'released', 'best'"),
        ("encoder", "overrides", None, r"encoder.overrides must be a mapping, not None"),
        (
            "encoder",
            "overrides",
            {"depth": 2},
            r"unknown key 'encoder.overrides.depth'; allowed here: .*layers",
        ),
        ("encoder", "overrides", {"heads": "4"}, r"encoder.overrides.heads must be of type int, not '4'"),
        (
            "encoder",
            "overrides",
            {"model": "transformer", "hybrid": False, "concepts": True},
            r"encoder.overrides.concepts is True but must be false for the model 'transformer'",
        ),
        (
            "encoder",
            "overrides",
            {"slots": "fused", "concepts": True},
            r"encoder.overrides.concepts is True but must be false for the slots 'fused', since gradients",
        ),
        ("encoder", "overrides", {"heads": 0}, r"encoder.overrides.heads is 0 but must be at least 1"),
        (
            "encoder",
            "overrides",
            {"probe": "all"},
            r"encoder.overrides.probe is 'all'; allowed: 'sketch', 'full'",
        ),
        (
            "fusion",
            "overrides",
            {"learning_rate": 0},
            r"fusion.overrides.learning_rate is 0.0 but must be above 0",
        ),
        (
            "fusion",
            "overrides",
            {"gates": "full"},
            r"unknown key 'fusion.overrides.gates'; allowed here: .*gate",
        ),
        (
            "encoder",
            "centre",
            None,
            r"'encoder.centre' was renamed: set 'encoder.overrides.text_map'",
        ),
        ("encoder", "slots", "fused", r"'encoder.slots' was renamed: set 'encoder.overrides.slots' instead"),
        ("fusion", "spread", 1.0, r"'fusion.spread' was renamed: set 'fusion.overrides.init_std' instead"),
        ("crawl", "sweep_days", 1, r"'crawl.sweep_days' was renamed: set 'crawl.full_scan_every_days'"),
        ("crawl", "licences", [], r"'crawl.licences' was renamed: set 'crawl.licenses' instead"),
    ],
)
def test_error_names_the_key_and_the_allowed_values(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        load(changed(tmp_path, section, key, value))


def test_integer_is_accepted_as_float(tmp_path: Path) -> None:
    assert load(changed(tmp_path, "hubs", "timeout_s", 7)).hubs.timeout_s == 7.0


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("", "must be a mapping"), ("- 1", "must be a mapping")],
)
def test_invalid_yaml_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=message):
        load(path)


def test_missing_file_is_an_error_that_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the root"):
        load(tmp_path / "params.yaml")


def test_every_renamed_key_has_a_successor() -> None:
    params = load(SHIPPED)
    for old, new in RENAMED.items():
        section, _, name = new.partition(".")
        owner = getattr(params, section)
        if name.startswith("overrides."):
            owner, name = owner.variant, name.removeprefix("overrides.")
        assert hasattr(owner, name), f"{old} -> {new}"
        assert not hasattr(getattr(params, section), old.partition(".")[2]), old


def test_tilde_is_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert load(changed(tmp_path, "models", "pipeline", "~/flux")).models.pipeline == "/home/ann/flux"
    assert (
        load(changed(tmp_path, "hubs", "folder", {"path": "~/loras"})).hubs.folder.path == "/home/ann/loras"
    )
    assert load(changed(tmp_path, "dataset", "salt", "a~/b")).dataset.salt == "a~/b"
