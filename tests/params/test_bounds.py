"""Bounds of params, and params that contradict each other."""

from pathlib import Path
from typing import Any

import pytest

from autolora.errors import ParamsError
from autolora.params import load
from tests.params.changed_params import changed


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("hubs", "requests_per_s", 0, r"hubs.requests_per_s is 0.* but must be above 0"),
        ("hubs", "max_mb_per_s", 0, r"hubs.max_mb_per_s is 0.* but must be above 0, or null"),
        ("crawl", "hubs", [], r"crawl.hubs is \[\] but must be a list of at least one hub"),
        ("crawl", "hubs", ["folder"] * 2, r"crawl.hubs is .* but must be a list without repetitions"),
        ("dataset", "validation_share", 0.9, r"dataset.validation_share is 0.9 but must be below 1 together"),
        ("dataset", "family_cosine", 1.0, r"dataset.family_cosine is 1.0 but must be at most pool.near_dup"),
        ("dataset", "test_share", 1.5, r"dataset.test_share is 1.5 but must be above 0 and below 1"),
        (
            "retrieval",
            "max_selected",
            101,
            r"max_selected is 101 but must be between 1 and 100, both allowed",
        ),
        (
            "fusion",
            "overrides",
            {"max_active": 5},
            r"fusion.overrides.max_active is 5 but must be between 2 and 4, both allowed",
        ),
        ("generation", "width", 0, r"generation.width is 0 but must be at least 1"),
        ("experiments", "pairs", -6, r"experiments.pairs is -6 but must be at least 1"),
        ("generation", "width", 100, r"generation.width is 100 but must be a multiple of 16 px"),
        (
            "encoder",
            "overrides",
            {"model": "transformer"},
            r"encoder.overrides.hybrid is True but must be false for the model 'transformer'",
        ),
        ("crawl", "newest", 0, r"crawl.newest is 0 but must be at least 1, or null"),
        ("vllm", "urls", [], r"vllm.urls is \[\] but must be a list of at least one URL"),
        ("encoder", "overrides", {"heads": 0}, r"encoder.overrides.heads is 0 but must be at least 1"),
        (
            "fusion",
            "overrides",
            {"learning_rate": 0},
            r"fusion.overrides.learning_rate is 0.0 but must be above 0",
        ),
    ],
)
def test_error_names_the_key_and_the_range(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        load(changed(tmp_path, section, key, value))
