"""The strict reader of params.yaml: which keys and types it rejects, and how it names them."""

from pathlib import Path
from typing import Any

import pytest

from autolora.errors import ParamsError
from autolora.params import load
from tests.params.changed_params import changed


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("fusion", "stepps", 5, r"unknown key 'fusion.stepps'; allowed here: .*steps"),
        ("fusion", "seed", 0, r"unknown key 'fusion.seed'; allowed here: .*steps"),
        ("pool", "max_image_mb", 20, r"unknown key 'pool.max_image_mb'; allowed here: max_rank, sketch_size"),
        ("fusion", "steps", ..., r"missing key 'fusion.steps'"),
        ("fusion", "steps", "many", r"fusion.steps must be of type int, not 'many'"),
        ("fusion", "steps", True, r"fusion.steps must be of type int, not True"),
        ("hubs", "timeout_s", "x", r"hubs.timeout_s must be of type float, not 'x'$"),
        ("hubs", "timeout_s", "1e-9", r"not '1e-9', which YAML reads as a text: write 1\.0e-09$"),
        ("hubs", "timeout_s", "1.5e6", r"write 1500000\.0$"),
        ("hubs", "timeout_s", "nan", r"must be of type float, not 'nan'$"),
        ("hubs", "timeout_s", float("nan"), r"hubs.timeout_s is nan but must be a finite number"),
        ("hubs", "timeout_s", 10**400, r"hubs.timeout_s is a number that is too large"),
        (
            "models",
            "dtype",
            "float8",
            r"models.dtype is 'float8' .*; allowed: 'float32', 'bfloat16', 'float16'",
        ),
        ("captions", "engine", "foo", r"captions.engine is 'foo'; allowed: 'transformers', 'vllm', or null"),
        ("crawl", "filters", "lora", r"crawl.filters must be a list"),
        ("crawl", "filters", [1], r"crawl.filters\[0\] must be of type str"),
        ("captions", "instructions", 3, r"captions.instructions must be a mapping"),
        ("dataset", "train_until", "soon", r"dataset.train_until must be a date in quotes"),
        (
            "generation",
            "method",
            "sum",
            r"generation.method is 'sum'; allowed: 'direct', 'gated'",
        ),
        ("generation", "method", None, r"generation.method is null; allowed: 'direct'"),
        (
            "generation",
            "method",
            "gatted",
            r"method is 'gatted' \(did you mean 'gated'.*\); allowed: 'direct'",
        ),
        ("hubs", "folder", {"c": 1}, r"unknown key 'hubs.folder.c'; allowed here: path"),
        ("crawl", "hubs", ["folder", "sum"], r"crawl.hubs\[1\] is 'sum'; allowed: 'civitai'"),
        ("encoder", "language", ..., r"missing key 'encoder.language'; needed here: .*language_revision"),
        ("encoder", "language", None, r"encoder.language must be of type str, not null"),
        ("encoder", "preset", "good", r"encoder.preset is 'good'; allowed: 'paper', 'best'"),
        ("encoder", "overrides", None, r"encoder.overrides must be a mapping, not null"),
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
            {"probe": "image"},
            r"encoder.overrides.probe is 'image'; allowed: 'sketch', 'full'",
        ),
        (
            "fusion",
            "overrides",
            {"gates": "full"},
            r"unknown key 'fusion.overrides.gates'; allowed here: .*gate",
        ),
    ],
)
def test_error_names_the_key_and_what_is_allowed(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        load(changed(tmp_path, section, key, value))


def test_integer_is_accepted_as_float(tmp_path: Path) -> None:
    assert load(changed(tmp_path, "hubs", "timeout_s", 7)).hubs.timeout_s == 7.0


def test_tilde_is_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert load(changed(tmp_path, "models", "pipeline", "~/flux")).models.pipeline == "/home/ann/flux"
    assert (
        load(changed(tmp_path, "hubs", "folder", {"path": "~/loras"})).hubs.folder.path == "/home/ann/loras"
    )
    assert load(changed(tmp_path, "models", "device", "a~/b")).models.device == "a~/b"
