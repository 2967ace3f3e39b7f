"""Why the served index is not newer, and for how long that has been so."""

import datetime
from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from autolora.index.store import SCHEMA
from autolora.refresh.last_refresh import (
    read_last_refresh,
    record_failure,
    record_release,
    record_start,
    record_success,
)
from autolora.releases.checks import SHOWN_NIGHTS, Check, Decision, Verdict, record
from autolora.releases.pin import Pin, lift_pin, write_pin
from autolora.releases.state import ReleaseState, attention, gate_lines, history_lines, notice, read_state
from autolora.report.page import assemble
from autolora.storage.files import write_atomic
from autolora.storage.incremental import write_digest
from tests.support.report_root import write_pool

NIGHT = datetime.datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
STALE_DAYS = 7
REASON = "PromotionRefused: the gate refused index bbb: files refused (civitai) is 17 of 20"


def night(number: int) -> datetime.datetime:
    return NIGHT + timedelta(days=number)


def rate(events: int, trials: int, passed: bool = True) -> Check:
    return Check(
        name="files refused", hub="civitai", value=events, trials=trials, rule="at most 6", passed=passed,
        detail="" if passed else "a, b",
    )  # fmt: skip


def decide(root: Path, number: int, index: str, verdict: Verdict, *checks: Check) -> None:
    """Record a decision on a night, after which the working index is this one."""
    write_digest(root, "index", {}, SCHEMA, content=index * 64)
    row = Decision(
        day=night(number).date(),
        index=index * 64,
        former=None,
        verdict=verdict,
        checks=checks or (rate(0, 5),),
    )
    record(root, row)


def end(root: Path, number: int, reason: str = "", is_refused: bool = False) -> None:
    """Record the end of a refresh on a night."""
    record_start(root, night(number))
    if reason:
        record_failure(root, night(number), reason, is_refused)
    else:
        record_success(root, night(number))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository that serves the release of the first night."""
    record_start(tmp_path, NIGHT)
    write_atomic(tmp_path / "cache/served", "a" * 64 + "\n")
    decide(tmp_path, 0, "a", "promoted")
    record_release(tmp_path, NIGHT)
    record_success(tmp_path, NIGHT)
    return tmp_path


def state(root: Path, number: int, stale_days: int | None = STALE_DAYS) -> ReleaseState:
    return read_state(root, read_last_refresh(root), stale_days, night(number) + timedelta(hours=5))


def refuse(root: Path, number: int) -> None:
    decide(root, number, "b", "refused", rate(17, 20, passed=False))
    end(root, number, REASON, is_refused=True)


def test_a_release_of_last_night_needs_no_attention(root: Path) -> None:
    found = state(root, 0)
    assert not found.stale and not notice(root, found, read_last_refresh(root)) and not attention(found)
    assert gate_lines(found) == ["promoted on 2026-11-20, 1 of 1 check met"]
    assert found.to_json(night(1))["age_h"] == 24


def test_a_refusal_shows_value_rule_offenders_and_the_nights_before(root: Path) -> None:
    for number in (1, 2):
        decide(root, number, "a", "promoted", rate(number, 9))
    refuse(root, 3)
    found = state(root, 3)
    line = (
        "files refused (civitai) is 17 of 20, but must be at most 6: a, b "
        "(on the nights before: 0 of 5, 1 of 9, 2 of 9)"
    )
    problem, why, served, remedy = notice(root, found, read_last_refresh(root))
    assert problem == "The gate refused the new index of the refresh of 2026-11-23, 02:00 UTC."
    assert (why, served) == (line, "The index of 2026-11-20 is served.") and "versions promote" in remedy
    assert gate_lines(found) == ["refused on 2026-11-23, 0 of 1 check met", line]
    gate = found.to_json(night(3))["gate"]
    (unmet,) = gate["unmet"]
    assert (gate["verdict"], gate["is_kept_back"]) == ("refused", True)
    assert (unmet["value"], unmet["rule"], unmet["nights"][-1]) == (17, "at most 6", (2, 9))


def test_the_history_is_that_of_the_last_nights(root: Path) -> None:
    for number in range(1, 30):
        decide(root, number, "a", "promoted", rate(number, 99))
    refuse(root, 30)
    (line,) = gate_lines(state(root, 30))[1:]
    assert line.count(" of 99") + line.count(" of 5") == SHOWN_NIGHTS and "29 of 99)" in line


def test_a_promotion_by_hand_ends_a_refusal(root: Path) -> None:
    refuse(root, 1)
    write_atomic(root / "cache/served", "b" * 64 + "\n")
    decide(root, 1, "b", "promoted by hand", rate(17, 20, passed=False))
    record_release(root, night(1))
    last = read_last_refresh(root)
    assert last.problem is None and last.failures == 0
    assert not notice(root, state(root, 1), last) and not state(root, 1).is_kept_back
    assert history_lines(state(root, 1)) == [
        "2026-11-21 promoted by hand: files refused",
        "2026-11-21 refused: files refused",
        "2026-11-20 promoted",
    ]


def test_a_refusal_whose_cause_was_corrected_without_a_new_index_is_over(root: Path) -> None:
    refuse(root, 1)
    write_digest(root, "index", {}, SCHEMA, content="a" * 64)
    end(root, 2)
    found = state(root, 2)
    assert not found.is_kept_back and not gate_lines(found)


def stale_reasons(root: Path) -> Mapping[str, str]:
    """Return why there is no release after nine days, by what has happened since."""
    found = {"nothing ran": state(root, 9).stale}
    end(root, 8)
    found["nothing new"] = state(root, 9).stale
    end(root, 9, "crawl: HubError: hub civitai is down")
    found["failed"] = state(root, 9).stale
    for number in (4, 9):
        refuse(root, number)
    found["refused"] = state(root, 9).stale
    write_pin(root, Pin(release="release/x", day="2026-11-21", reason="too many cats"))
    found["pinned"] = state(root, 9).stale
    lift_pin(root)
    return found


def test_no_release_for_days_is_said_with_the_reason(root: Path) -> None:
    begin = "No release for 9 days, since 2026-11-20: "
    assert stale_reasons(root) == {
        "nothing ran": f"{begin}no refresh has ended since (does the worker run?).",
        "nothing new": f"{begin}the refreshes succeed, the last one on 2026-11-28, and find nothing new.",
        "failed": f"{begin}1 refresh failed since the last success.",
        "refused": f"{begin}the gate has refused 2 refreshes since 2026-11-24.",
        "pinned": f"{begin}release/x is pinned since 2026-11-21 (too many cats).",
    }


@pytest.mark.parametrize(("number", "stale_days"), [(6, STALE_DAYS), (99, None)])
def test_below_the_limit_or_without_one_nothing_is_stale(
    root: Path, number: int, stale_days: int | None
) -> None:
    assert not state(root, number, stale_days).stale


def test_a_clone_that_serves_nothing_is_not_stale(root: Path) -> None:
    (root / "cache/served").unlink()
    assert not state(root, 99).stale


def test_a_pin_and_a_warning_need_attention(root: Path) -> None:
    write_pin(root, Pin(release="release/x", day="2026-11-21", reason="too many cats"))
    warning = Check(
        name="near-duplicates",
        hub="civitai",
        value=3,
        trials=4,
        rule="at most 2",
        passed=False,
        severity="warn",
    )
    decide(root, 1, "b", "pinned", warning)
    pin, line = attention(state(root, 1))
    assert pin.endswith(
        "until `autolora versions lift`: release/x is pinned since 2026-11-21 (too many cats)"
    )
    assert (
        line
        == "warning of the gate on 2026-11-21: near-duplicates (civitai) is 3 of 4, but must be at most 2"
    )


def test_the_report_begins_with_a_refusal_and_its_checks(root: Path) -> None:
    write_pool(root)
    refuse(root, 1)
    page = assemble(root).read_text()
    banner = page[page.index('class="problem"') : page.index('id="refresh"')]
    assert "The gate refused the new index" in banner and "17 of 20, but must be at most 6" in banner
    assert "on the nights before: 0 of 5" in banner and "<code>autolora versions promote" in banner
