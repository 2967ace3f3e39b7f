"""The numbers in plain words, and only those that were measured on this pool."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.evaluation import store as evaluation
from autolora.experiments import store as experiments
from autolora.report.measured import percent, read_measured
from autolora.storage.files import write_atomic
from autolora.storage.incremental import write_digest


def row(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 24, "clusters": 6}


def texts(root: Path) -> list[str]:
    """Return each number as one text with plain spaces."""
    return [
        f"{number.share} {number.label}. {number.note}".replace("\N{NO-BREAK SPACE}", " ")
        for number in read_measured(root).numbers
    ]


def test_nothing_measured_gives_no_number(tmp_path: Path) -> None:
    assert read_measured(tmp_path).numbers == ()


@pytest.mark.parametrize("level", ["theme", "adapter"])
def test_retrieval_is_a_sentence_with_interval_chance_and_sample(level: str, tmp_path: Path) -> None:
    methods = {
        name: {"R@1": row(value)} for name, value in (("search", 0.9), ("weights", 0.7), ("random", 0.15))
    }
    report = {"levels": {level: {"methods": methods}}, "queried_adapters": 6, "inputs": {}}
    write_atomic(evaluation.report_path(tmp_path), json.dumps(report))
    search, weights = texts(tmp_path)
    assert search.startswith("90 % of searches show")
    assert ("requested theme" in search) == (level == "theme")
    assert "first. 95 % interval 80 % to 100 %, chance 15 %. 24 searches about 6" in search
    assert weights.startswith("70 %") and "weights alone" in weights


def test_fusion_names_all_methods(tmp_path: Path) -> None:
    shown = {method: {"both shown": row(value)} for method, value in (("base", 0.0), ("selected", 0.8))}
    report = {"scenarios": {"pair": {"methods": shown}}, "inputs": {}}
    write_atomic(experiments.report_path(tmp_path), json.dumps(report))
    (text,) = texts(tmp_path)
    assert text.startswith(
        "80 % of images show both requested themes, summed from the relevant ones of two given"
    )
    assert "0 % without adapters." in text and "chosen from the whole pool are measured apart" in text


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (0.026, "2.6 %"), (0.1, "10 %"), (1, "100 %")])
def test_percentages_have_a_decimal_if_they_are_small(share: float, text: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == text


def test_numbers_of_another_index_are_left_out(tmp_path: Path) -> None:
    report = {"unmeasured": "no query", "inputs": {"index": write_digest(tmp_path, "index", {}, 1)}}
    write_atomic(evaluation.report_path(tmp_path), json.dumps(report))
    assert read_measured(tmp_path).unmeasured == "no query"
    write_digest(tmp_path, "index", {"another": "0" * 64}, 1)
    changed = read_measured(tmp_path)
    assert not changed.unmeasured and "run `dvc repro evaluation`" in changed.left_out[0]
