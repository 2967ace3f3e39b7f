"""The measurement at true sizes, on a few blocks; and the document says what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.params import load
from bench import curve
from bench.costs import PROFILE
from bench.findings import Findings
from bench.sketching import SMALL, measure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """The small preset: true widths, four blocks."""
    cache = tmp_path_factory.mktemp("cache")
    found = measure(SMALL, cache)
    assert not list(cache.iterdir())
    return found


def test_larger_sketches_err_less(findings: Findings) -> None:
    errors = {name: row["error"]["mean"] for name, row in findings["shapes"].items()}
    assert errors["32x32"] < errors["8x8"] < 0.2


def test_themes_and_copies_are_found(findings: Findings) -> None:
    assert findings["shapes"]["32x32"]["recall"]["shares"]["0.8"]["sketch"] == 1
    for statistic in ("32x32", "fingerprint", "slots"):
        at = findings["near"][statistic]["thresholds"]["0.95"]
        assert at["found"]["k"] == at["found"]["n"] and at["alarms"]["k"] == 0


def test_fused_sketches_are_sums(findings: Findings) -> None:
    assert findings["fused"]["slots"] and findings["fused"]["millionths"] < 100


def test_tables_and_picture_are_made(findings: Findings, tmp_path: Path) -> None:
    assert curve.draw(findings).startswith(b"\x89PNG")
    document = tmp_path / "sketch.md"
    document.write_text(f"Before\n\n{curve.BEGIN}\nreplaced\n{curve.END}\n\nAfter\n")
    curve.update(document, findings)
    curve.update(document, findings)
    text = document.read_text()
    assert "replaced" not in text and text.startswith("Before\n") and text.endswith("\nAfter\n")
    assert all(line in text for line in curve.write_lines(findings))


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(SMALL, world=replace(SMALL.world, transformer={
        "num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 24,
    }))  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("bench.sketching.compute_exact", interrupt)
        with pytest.raises(KeyboardInterrupt):
            measure(tiny, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("bench.sketching.take_one", interrupt)
        patch.setattr("bench.sketching.copy_one", interrupt)
        found = measure(tiny, tmp_path)
    assert found["world"]["adapters"] == tiny.world.adapters


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_document_says_what_was_measured() -> None:
    findings = json.loads((ROOT / "metrics/sketch.json").read_text())
    text = (ROOT / "docs/sketch.md").read_text()
    _, _, rest = text.partition(curve.BEGIN)
    assert rest.partition(curve.END)[0].strip() == "\n".join(curve.write_lines(findings))


def test_the_profile_has_the_measured_values() -> None:
    findings, profile = json.loads((ROOT / "metrics/sketch.json").read_text()), load(PROFILE)
    assert findings["chosen"] == f"{profile.pool.sketch_size}x{profile.pool.sketch_size}"
    assert findings["family_cosine"] == profile.dataset.family_cosine
