"""The measurement at real widths, on a few blocks; the document contains the measured numbers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.params import load
from bench import sketch_figure, sketch_tables
from bench.costs import PROFILE
from bench.findings import Findings
from bench.sketching import SMALL, measure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Return the results of the small preset: real widths, four blocks."""
    cache = tmp_path_factory.mktemp("cache")
    findings = measure(SMALL, cache)
    assert not list(cache.iterdir())
    return findings


@pytest.mark.slow
def test_larger_sketches_have_smaller_errors(findings: Findings) -> None:
    errors = {name: row["error"]["mean"] for name, row in findings["shapes"].items()}
    assert errors["32x32"] < errors["8x8"] < 0.2


@pytest.mark.slow
def test_themes_and_copies_are_found(findings: Findings) -> None:
    assert findings["shapes"]["32x32"]["recall"]["shares"]["0.8"]["sketch"] == 1
    for statistic in ("32x32", "fingerprint", "slots"):
        rates = findings["near"][statistic]["thresholds"]["0.95"]
        assert rates["true positives"]["k"] == rates["true positives"]["n"]
        assert rates["false positives"]["k"] == 0


@pytest.mark.slow
def test_fused_sketches_are_sums_of_their_parts(findings: Findings) -> None:
    assert findings["fused"]["slots"] and findings["fused"]["millionths"] < 100


@pytest.mark.slow
def test_tables_and_figure_are_created(findings: Findings, tmp_path: Path) -> None:
    assert sketch_figure.draw(findings).startswith(b"\x89PNG")
    document = tmp_path / "sketch.md"
    document.write_text(f"Before\n\n{sketch_tables.BEGIN}\nreplaced\n{sketch_tables.END}\n\nAfter\n")
    sketch_tables.update(document, findings)
    sketch_tables.update(document, findings)
    text = document.read_text()
    assert "replaced" not in text and text.startswith("Before\n") and text.endswith("\nAfter\n")
    assert all(line in text for line in sketch_tables.measured_lines(findings))


@pytest.mark.slow
def test_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(SMALL, pool_spec=replace(SMALL.pool_spec, transformer={
        "num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 24,
    }))  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("bench.sketching.compute_exact", interrupt)
        with pytest.raises(KeyboardInterrupt):
            measure(tiny, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("bench.sketching.measure_adapter", interrupt)
        patch.setattr("bench.sketching.make_copies", interrupt)
        findings = measure(tiny, tmp_path)
    assert findings["pool"]["adapters"] == tiny.pool_spec.adapters


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_document_contains_the_measured_numbers() -> None:
    findings = json.loads((ROOT / "metrics/sketch.json").read_text())
    text = (ROOT / "docs/sketch.md").read_text()
    _, _, rest = text.partition(sketch_tables.BEGIN)
    assert rest.partition(sketch_tables.END)[0].strip() == "\n".join(sketch_tables.measured_lines(findings))


def test_profile_has_the_measured_values() -> None:
    findings, profile = json.loads((ROOT / "metrics/sketch.json").read_text()), load(PROFILE)
    assert findings["profile shape"] == f"{profile.pool.sketch_size}x{profile.pool.sketch_size}"
    assert findings["family_cosine"] == profile.dataset.family_cosine
