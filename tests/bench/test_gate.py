"""The measurement of the gate: shares with intervals, and a table of kinds."""

import datetime

from autolora.metrics.summary import DECISIVE
from autolora.releases.checks import Check, Decision, Verdict
from bench.gate import Kind, headlines, to_markdown

FAILED = Check(name="score changes", value=1, rule="0", passed=False)


def kind(*verdicts: Verdict, reason: str = "") -> Kind:
    return Kind(
        tuple(
            Decision(
                day=datetime.date(2026, 1, 5), index="a" * 64, former=None, verdict=verdict,
                checks=(FAILED,) if verdict == "refused" else (),
            )
            for verdict in verdicts
        ),
        reason,
    )  # fmt: skip


POISONED = {"a": kind("refused", "refused", reason="none"), "b": kind("refused", "promoted", reason="small")}
HEALTHY = {"c": kind("promoted", "promoted", "promoted")}


def test_nights_and_kinds_become_shares_with_intervals() -> None:
    rows = {row.name: row for row in headlines(POISONED, HEALTHY)}
    promoted, missed, refused = (
        rows[f"operation.{name}"] for name in ("false_promotions", "missed_poisons", "false_refusals")
    )
    assert (promoted.value, promoted.n) == (0.25, 4) and (missed.value, missed.n) == (0.5, 2)
    assert (refused.value, refused.n, refused.low) == (0, 3, 0) and 0.5 < (refused.high or 0) < 1
    assert all(row.better == "lower" and row.goal == 0 for row in rows.values())
    assert promoted.name in DECISIVE


def test_the_table_names_checks_and_why_a_poison_passes() -> None:
    lines = to_markdown("poison", POISONED).splitlines()
    assert lines[2:] == ["| a | 2 of 2 | score changes |  |", "| b | 1 of 2 | score changes | small |"]
