"""Output of the flow `evaluation`."""

from pathlib import Path
from typing import Any

import pytest

from autolora.evaluation.store import report_path
from autolora.metrics.numbers import to_json
from autolora.params import load
from autolora.storage.files import write_atomic
from bench.processes import PROJECT
from flows import evaluation


@pytest.mark.parametrize("unmeasured", [{}, {"unmeasured": "There is no query."}], ids=["queries", "none"])
def test_output_says_why_nothing_was_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unmeasured: dict[str, Any],
) -> None:
    def evaluate(root: Path, *arguments: Any) -> str:
        write_atomic(report_path(root), to_json({"queries": 0} | unmeasured))
        return "digest"

    monkeypatch.setattr(evaluation, "ROOT", tmp_path)
    monkeypatch.setattr(evaluation.stage, "evaluate", evaluate)
    monkeypatch.setattr(evaluation.models, "load_text_encoder", lambda params: None)
    monkeypatch.setattr(evaluation, "params", lambda: load(PROJECT / "params.yaml"))
    evaluation.evaluation.fn()
    *said, record = capsys.readouterr().out.splitlines()
    assert said == (["[evaluation] There is no query."] if unmeasured else [])
    assert record.startswith("stage=evaluation ") and record.endswith(" outcome=done")
