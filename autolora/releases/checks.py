"""The checks of the gate, and their history: data/gate.jsonl, one line per decision, which git keeps."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from autolora.errors import MismatchError
from autolora.storage.files import Row, append_rows, read_rows

GATE = Path("data", "gate.jsonl")
NIGHTS = 30
"""number of earlier decisions that a rate is compared with"""
SHOWN_NIGHTS = 10
"""of the history of a rate that a message shows"""
ALL_HUBS = "all hubs"

Severity = Literal["refuse", "warn"]
Verdict = Literal["promoted", "refused", "pinned", "promoted by hand", "rolled back", "taken down"]
SERVED = ("promoted", "promoted by hand", "rolled back")
"""verdicts after which the index was served"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One row of the gate: what was measured, what was required, and whether it was met."""

    name: str
    """e.g. `score changes`; of a rate, `files refused`"""
    value: float
    rule: str
    """what was required, in words; empty if `detail` is a sentence that says all"""
    passed: bool
    severity: Severity = "refuse"
    """what follows if it is not met"""
    detail: str = ""
    """which adapters did not meet it, or why; what to look at"""
    hub: str = ""
    """whose newcomers a rate is of, or ALL_HUBS; empty for an exact check"""
    trials: int | None = None
    """of a rate: the number of cases of which `value` are events"""

    @property
    def refuses(self) -> bool:
        """Whether the promotion is refused because of this check."""
        return not self.passed and self.severity == "refuse"

    def __str__(self) -> str:
        of = f" of {self.trials}" if self.trials is not None else ""
        where = f" ({self.hub})" if self.hub else ""
        if not self.rule:
            return self.detail
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.name}{where} is {self.value:g}{of}, but must be {self.rule}{detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the gate decided on an index, and why: one line of data/gate.jsonl."""

    day: datetime.date
    index: str
    """content digest of the index that was checked"""
    former: str | None
    """that of the index which was served then; None for the first release"""
    verdict: Verdict
    checks: tuple[Check, ...]
    reason: str = ""
    """of an operator, or of a pin; empty if the checks decided alone"""

    @property
    def is_promoted(self) -> bool:
        """Whether the index was served from then on."""
        return self.verdict in SERVED

    @property
    def refusals(self) -> list[Check]:
        """The checks because of which the promotion is refused."""
        return [check for check in self.checks if check.refuses]

    @property
    def warnings(self) -> list[Check]:
        """The checks that were not met, and that refuse nothing."""
        return [check for check in self.checks if not (check.passed or check.refuses)]

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self) | {"day": self.day.isoformat()}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the decision of a JSON form. Raises KeyError, TypeError or ValueError if the form is not valid."""
        checks = tuple(Check(**check) for check in row["checks"])
        values: dict[str, Any] = {**row, "day": datetime.date.fromisoformat(row["day"]), "checks": checks}
        return cls(**values)


def read_decisions(root: Path) -> list[Decision]:
    """Return all decisions, the oldest first. Raises MismatchError if the file is not valid."""
    try:
        return [Decision.from_row(row) for row in read_rows(root / GATE)]
    except (KeyError, TypeError, ValueError) as error:
        raise MismatchError(
            f"{GATE} is not a list of decisions ({error!r}): restore it (`git checkout {GATE}`)"
        ) from error


def record(root: Path, decision: Decision) -> None:
    """Append a decision, unless it is the last one already."""
    if decision not in read_decisions(root)[-1:]:
        append_rows(root / GATE, [decision.to_row()])


def nights(decisions: Sequence[Decision], name: str, hub: str) -> list[tuple[int, int]]:
    """Return (events, trials) of a rate on the last nights whose index was promoted and that had trials."""
    promoted = (decision for decision in decisions if decision.is_promoted)
    counts = (_count(decision, name, hub) for decision in promoted)
    return [count for count in counts if count[1]][-NIGHTS:]


def past_nights(decisions: Sequence[Decision], decision: Decision, check: Check) -> list[tuple[int, int]]:
    """Return (events, trials) of a rate on the last nights before a decision; empty for an exact check."""
    before = decisions[:-1] if decision in decisions[-1:] else decisions
    return nights(before, check.name, check.hub)[-SHOWN_NIGHTS:] if check.hub else []


def explain(decisions: Sequence[Decision], decision: Decision, check: Check) -> str:
    """Return a check of a decision as a phrase: value, rule, offenders, and what the nights before were like."""
    past = ", ".join(f"{events} of {trials}" for events, trials in past_nights(decisions, decision, check))
    return f"{check} (on the nights before: {past})" if past else str(check)


def _count(decision: Decision, name: str, hub: str) -> tuple[int, int]:
    """Return (events, trials) of a rate on one night: as stated, or the sum over all hubs."""
    checks = [
        check
        for check in decision.checks
        if check.name == name and check.trials and (check.hub == hub or hub == ALL_HUBS != check.hub)
    ]
    stated = [check for check in checks if check.hub == hub] or checks
    return sum(int(check.value) for check in stated), sum(check.trials or 0 for check in stated)
