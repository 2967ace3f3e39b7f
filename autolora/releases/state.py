"""Whether the served index is up to date, and what keeps a newer one from being served."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from autolora.errors import AutoLoraError
from autolora.index.served import former_digest
from autolora.index.store import content_digest
from autolora.refresh.last_refresh import LastRefresh, failure_notice, index_time
from autolora.releases.checks import Decision, explain, past_nights, read_decisions
from autolora.releases.pin import Pin, read_pin
from autolora.wording import counted

SECONDS_PER_HOUR = 3600
SHOWN_DECISIONS = 7
"""that `autolora status` prints"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseState:
    """Which index is served, and why no newer one is."""

    index: str | None
    """content digest of the served one"""
    released: datetime | None
    """when it was released; None if neither the record nor a commit says so"""
    pin: Pin | None
    decisions: Sequence[Decision]
    is_kept_back: bool
    """whether the last decision keeps the working index from being served"""
    stale: str = ""
    """a sentence if there was no release for too long, with the reason"""

    @property
    def decision(self) -> Decision | None:
        """The last decision of the gate."""
        return self.decisions[-1] if self.decisions else None

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "index": self.index,
            "released": self.released and self.released.isoformat(timespec="seconds"),
            "age_h": self.released and round((now - self.released).total_seconds() / SECONDS_PER_HOUR, 1),
            "stale": self.stale or None,
            "pin": self.pin and asdict(self.pin),
            "gate": self.decision and _gate_json(self.decisions, self.decision, self.is_kept_back),
        }


def read_state(root: Path, last: LastRefresh, stale_days: float | None, now: datetime) -> ReleaseState:
    """Return the state of a repository. stale_days: days without a release that are too many; None: never."""
    digest, decisions = former_digest(root), read_decisions(root)
    time = index_time(root, last, digest) if digest else None
    state = ReleaseState(
        index=digest,
        released=datetime.fromisoformat(time) if time else None,
        pin=read_pin(root),
        decisions=decisions,
        is_kept_back=_is_kept_back(root, digest, decisions),
    )
    day = _last_release(state)
    if digest is None or day is None or stale_days is None or (now.date() - day).days < stale_days:
        return state
    days = counted((now.date() - day).days, "day")
    return replace(state, stale=f"No release for {days}, since {day}: {_reason(state, last, day)}.")


def notice(root: Path, state: ReleaseState, last: LastRefresh) -> list[str]:
    """Return what an operator must know first: a failed or refused refresh, then staleness; empty if all is well."""
    lines = failure_notice(root, last)
    if last.is_refused and state.decision:
        lines[1:1] = [explain(state.decisions, state.decision, check) for check in state.decision.refusals]
    return [*lines, *([state.stale] if state.stale else [])]


def attention(state: ReleaseState) -> list[str]:
    """Return what an operator may want to know: the pin, and the checks of the last decision that only warn."""
    pinned = [f"refreshes promote nothing until `autolora versions lift`: {state.pin}"] if state.pin else []
    if not state.decision:
        return pinned
    warnings = [explain(state.decisions, state.decision, check) for check in state.decision.warnings]
    return pinned + [f"warning of the gate on {state.decision.day}: {line}" for line in warnings]


def gate_lines(state: ReleaseState) -> list[str]:
    """Return the last decision of the gate, and one line per check that was not met; empty if none still counts."""
    decision = state.decision
    if decision is None or not (state.is_kept_back or decision.is_promoted):
        return []
    unmet = [*decision.refusals, *decision.warnings]
    passed = len(decision.checks) - len(unmet)
    head = f"{decision.verdict} on {decision.day}, {passed} of {counted(len(decision.checks), 'check')} met"
    return [head, *(explain(state.decisions, decision, check) for check in unmet)]


def history_lines(state: ReleaseState) -> list[str]:
    """Return one line for each of the last decisions, the newest first: day, verdict, and why."""
    lines = []
    for decision in reversed(state.decisions[-SHOWN_DECISIONS:]):
        checks = dict.fromkeys(check.name for check in decision.refusals)
        why = decision.reason or ", ".join(checks)
        lines.append(f"{decision.day} {decision.verdict}{f': {why}' if why else ''}")
    return lines


def _gate_json(decisions: Sequence[Decision], decision: Decision, is_kept_back: bool) -> dict[str, Any]:
    """Return the last decision with the checks that were not met, each with the nights before."""
    return {
        "day": decision.day.isoformat(),
        "verdict": decision.verdict,
        "index": decision.index,
        "is_kept_back": is_kept_back,
        "reason": decision.reason,
        "checks": len(decision.checks),
        "unmet": [
            asdict(check) | {"nights": past_nights(decisions, decision, check)}
            for check in (*decision.refusals, *decision.warnings)
        ],
    }


def _is_kept_back(root: Path, digest: str | None, decisions: Sequence[Decision]) -> bool:
    try:
        is_served = content_digest(root) == digest
    except (AutoLoraError, ValueError, KeyError):  # no index yet, or it is being replaced
        return False
    return not is_served and any(not decision.is_promoted for decision in decisions[-1:])


def _last_release(state: ReleaseState) -> date | None:
    """Return the day of the last release, by a refresh or by hand."""
    days = [decision.day for decision in state.decisions if decision.is_promoted]
    return days[-1] if days else state.released and state.released.date()


def _reason(state: ReleaseState, last: LastRefresh, released: date) -> str:
    """Return why there was no release since a day."""
    if state.pin:
        return str(state.pin)
    later = [row.day for row in state.decisions if row.day >= released and row.verdict == "refused"]
    if state.is_kept_back and later:
        return f"the gate has refused {counted(len(later), 'refresh', 'refreshes')} since {later[0]}"
    if last.problem:
        return f"{counted(last.failures, 'refresh', 'refreshes')} failed since the last success"
    if not last.succeeded or last.succeeded[:10] <= released.isoformat():
        return "no refresh has ended since (does the worker run?)"
    return f"the refreshes succeed, the last one on {last.succeeded[:10]}, and find nothing new"
