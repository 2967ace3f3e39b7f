"""Decisions are kept as rows, and count as history if their index was served."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autolora.errors import AutoLoraError
from autolora.index.copies import NO_TEXT_MAP, Index, Rows
from autolora.releases.checks import (
    ALL_HUBS,
    GATE,
    NIGHTS,
    Check,
    Decision,
    nights,
    read_decisions,
    record,
)
from autolora.releases.exact import NO_CAPTIONS, spot_rows

DAY = datetime.date(2026, 1, 5)
EXACT = Check(name="adapters listed twice", value=0, rule="0", passed=True)


def rate(hub: str, events: int, trials: int, **fields: object) -> Check:
    values = {"passed": True, **fields}
    return Check(name="files refused", hub=hub, value=events, trials=trials, rule="at most 3", **values)  # type: ignore[arg-type]


def decision(*checks: Check, verdict: str = "promoted") -> Decision:
    return Decision(day=DAY, index="a" * 64, former=None, verdict=verdict, checks=checks)  # type: ignore[arg-type]


def test_a_decision_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    made = replace(decision(EXACT, rate("civitai", 1, 4, detail="x")), former="b" * 64, reason="why")
    record(tmp_path, made)
    assert read_decisions(tmp_path) == [made]


def test_the_same_decision_is_recorded_once_in_a_row(tmp_path: Path) -> None:
    first, second = decision(EXACT), decision(verdict="refused")
    for made in (first, first, second, first):
        record(tmp_path, made)
    assert read_decisions(tmp_path) == [first, second, first]


@pytest.mark.parametrize("damage", ["{}\n", '{"day": "soon"}\n', "[]\n", "\x00\n"])
def test_damaged_history_is_an_error_that_says_what_to_do(tmp_path: Path, damage: str) -> None:
    record(tmp_path, decision(EXACT))
    with (tmp_path / GATE).open("a") as file:
        file.write(damage)
    with pytest.raises(AutoLoraError, match="git checkout"):
        read_decisions(tmp_path)


def test_a_line_that_a_kill_left_incomplete_is_replaced(tmp_path: Path) -> None:
    record(tmp_path, decision(EXACT))
    with (tmp_path / GATE).open("a") as file:
        file.write('{"day": "2026-01-')
    record(tmp_path, decision(verdict="refused"))
    assert [made.verdict for made in read_decisions(tmp_path)] == ["promoted", "refused"]


def test_history_is_of_served_indexes_and_of_nights_with_trials() -> None:
    past = [
        decision(rate("civitai", 1, 4)),
        decision(rate("civitai", 9, 9), verdict="refused"),
        decision(rate("civitai", 8, 8), verdict="pinned"),
        decision(rate("civitai", 2, 5), verdict="promoted by hand"),
        decision(rate("huggingface", 3, 3)),
        decision(EXACT),
    ]
    assert nights(past, "files refused", "civitai") == [(1, 4), (2, 5)]
    assert nights(past * NIGHTS, "files refused", "civitai") == [(1, 4), (2, 5)] * (NIGHTS // 2)


def test_the_history_of_all_hubs_is_their_sum() -> None:
    stated = decision(rate("civitai", 1, 4), rate("huggingface", 2, 3), rate(ALL_HUBS, 3, 7))
    one_hub = decision(rate("civitai", 0, 6))
    assert nights([stated, one_hub], "files refused", ALL_HUBS) == [(3, 7), (0, 6)]


def test_a_check_in_words() -> None:
    failed = rate("civitai", 4, 5, passed=False, detail="a/b")
    assert str(failed) == "files refused (civitai) is 4 of 5, but must be at most 3: a/b"
    warned = replace(failed, severity="warn")
    made = decision(failed, warned, EXACT)
    assert made.refusals == [failed] and made.warnings == [warned]


def test_newcomers_that_win_queries_are_read_again_first_and_none_without_captions_and_texts() -> None:
    blank = {"id": "0/1", "file": "", "trigger_words": [], "description": [], "captions_digest": NO_CAPTIONS}
    rows = [blank | {"sha256": sha256, "captions_digest": sha256} for sha256 in "abcd"] + [
        blank | {"sha256": "e"}
    ]
    index, former = (
        Index("", np.ones((len(some), 2), np.float32), Rows(pa.Table.from_pylist(some)), "", "", NO_TEXT_MAP)
        for some in (rows, rows[:1])
    )
    assert spot_rows(former, index, ["c", "c", "d", "a", "e"]) == [2, 0, 3, 1]
