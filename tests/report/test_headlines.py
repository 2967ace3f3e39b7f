"""The headline numbers in plain words, and only those that were measured on this pool."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.evaluation.store import report_path
from autolora.report.headlines import headlines, percent
from autolora.report.measured import Measured, read_measured
from autolora.storage.incremental import write_digest


def row(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 24, "clusters": 6}


def measured(**parts: Any) -> Measured:
    return Measured(**{"evaluation": None, "experiments": None, "reliability": (), "left_out": ()} | parts)


def texts(found: Measured) -> list[str]:
    """Return each headline as one text with plain spaces."""
    return [
        f"{tile.number} {tile.label}. {tile.note}".replace("\N{NO-BREAK SPACE}", " ")
        for tile in headlines(found)
    ]


def test_nothing_measured_gives_no_number() -> None:
    assert headlines(measured()) == []


@pytest.mark.parametrize("level", ["theme", "adapter"])
def test_retrieval_is_a_sentence_with_interval_chance_and_sample(level: str) -> None:
    methods = {
        name: {"R@1": row(value)} for name, value in (("hybrid", 0.9), ("encoder", 0.7), ("random", 0.15))
    }
    both, weights = texts(
        measured(evaluation={"levels": {level: {"methods": methods}}, "queried_adapters": 6})
    )
    assert both.startswith("90 % of searches show")
    assert ("requested theme" in both) == (level == "theme")
    assert (
        "first, by weights and captions. 95 % interval 80 % to 100 %, chance 15 %. 24 searches about 6"
        in both
    )
    assert weights.startswith("70 %") and "weights alone" in weights


def test_reliability_is_a_sentence() -> None:
    bins = ((0.02, 0.04, 60), (0.9, 0.95, 40))
    (reliability,) = texts(measured(reliability=bins))
    assert reliability.startswith("95 % of the hits that are stated to fit with 90 % are right.")
    assert "stated to fit with 2.0 %, 4.0 % are." in reliability
    assert "differ by 3 percentage points on average; 100 hits of captions" in reliability
    assert reliability.endswith("A search with a sentence encoder states another relevance, by parts.")


def test_fusion_names_all_methods() -> None:
    shown = {method: {"both shown": row(value)} for method, value in (("base", 0.0), ("selected", 0.8))}
    (text,) = texts(measured(experiments={"scenarios": {"pair": {"methods": shown}}}))
    assert text.startswith(
        "80 % of images show both requested themes, summed from the relevant ones of two given"
    )
    assert "0 % without adapters." in text and "chosen from the whole pool are measured apart" in text


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (0.026, "2.6 %"), (0.1, "10 %"), (1, "100 %")])
def test_percentages_have_a_decimal_if_they_are_small(share: float, text: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == text


def test_reliability_counts_only_with_the_evaluation_that_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "metrics" / "plots").mkdir(parents=True)
    (tmp_path / "metrics" / "plots" / "reliability.csv").write_text(
        "stated,right,hits\n0.02,0.04,60\n0.9,0.95,40\n"
    )
    assert read_measured(tmp_path).reliability == ()
    report_path(tmp_path).parent.mkdir(parents=True)
    report_path(tmp_path).write_text(
        json.dumps({"inputs": {"index": write_digest(tmp_path, "index", {}, 1)}})
    )
    assert read_measured(tmp_path).reliability == ((0.02, 0.04, 60), (0.9, 0.95, 40))
    write_digest(tmp_path, "index", {"another": "0" * 64}, 1)
    changed = read_measured(tmp_path)
    assert changed.reliability == () and "run `dvc repro evaluation`" in changed.left_out[0]
