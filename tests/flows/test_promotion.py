"""The promotion of an index: what the gate's verdict decides."""

from pathlib import Path

import pytest

from autolora.clock import today
from autolora.index.served import former_digest, served_path
from autolora.index.store import SCHEMA
from autolora.refresh.last_refresh import read_last_refresh
from autolora.releases.checks import Check, Decision, Verdict, read_decisions
from autolora.storage.files import write_atomic
from autolora.storage.incremental import write_digest
from flows import promotion


@pytest.mark.parametrize("verdict", ["promoted", "refused"])
def test_an_index_is_served_if_it_is_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    write_digest(tmp_path, "index", {}, SCHEMA, content=(index := "b" * 64))
    check = Check(name="adapters lost", value=3, rule="at most 2", passed=verdict == "promoted")
    decision = Decision(day=today(), index=index, former=None, verdict=verdict, checks=(check,))
    monkeypatch.setattr(promotion, "ROOT", tmp_path)
    monkeypatch.setattr(promotion, "params", lambda: None)
    monkeypatch.setattr(promotion, "judge", lambda *_: decision)
    monkeypatch.setattr(
        promotion, "release", lambda root, digest: write_atomic(served_path(root), f"{digest}\n")
    )
    assert promotion.decide([]) == decision
    assert (
        former_digest(tmp_path)
        == read_last_refresh(tmp_path).index
        == (index if verdict == "promoted" else None)
    )
    assert read_decisions(tmp_path) == [decision]
