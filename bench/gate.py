"""What the gate of releases lets pass and what it stops: `python -m bench.gate`.

Operators with three synthetic hubs and 13 nights of history (tests/support/nights.py) live through one more night: a
poisoned one (tests/support/poisons.py), or a healthy one that looks unusual (tests/support/healthy.py). The limits were
chosen on operators 1 to 3; the shipped numbers are of operators 100 to 104.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from autolora.errors import exit_on_error
from autolora.metrics.summary import Headline, update
from autolora.releases.checks import Decision
from bench.timing import today
from tests.support.healthy import HEALTHY
from tests.support.nights import Nights, live
from tests.support.poisons import POISONS

COMMAND = "python -m bench.gate"
Night = Callable[[Nights], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """The nights of one kind."""

    decisions: tuple[Decision, ...]
    reason: str = ""
    """why the gate may promote a poison"""

    @property
    def refused(self) -> int:
        """The number of nights that were refused."""
        return sum(decision.verdict == "refused" for decision in self.decisions)

    @property
    def checks(self) -> str:
        """The checks because of which nights were refused, the most frequent first."""
        names = Counter(name for item in self.decisions for name in {check.name for check in item.refusals})
        return ", ".join(name for name, _ in names.most_common(3))


def main() -> None:
    """Measure, print two tables in Markdown, and write the rows of metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--first", type=int, default=100, help="seed of the first operator")
    parser.add_argument("--operators", type=int, default=5, help="other than the defaults write no metrics")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        beds = [live(Path(folder, str(n)), options.first + n) for n in range(options.operators)]
        poisoned = {item.name: Kind(decide(beds, item.name, item.night), item.missed) for item in POISONS}
        healthy = {name: Kind(decide(beds, name, night)) for name, night in HEALTHY.items()}
    print(to_markdown("poison", poisoned), to_markdown("healthy night", healthy), sep="\n\n")
    if (options.first, options.operators) == (parser.get_default("first"), parser.get_default("operators")):
        update(Path(), COMMAND, today(), headlines(poisoned, healthy))


def decide(beds: Sequence[Nights], name: str, night: Night) -> tuple[Decision, ...]:
    """Return the decision on a night of each operator, who is as before afterwards."""
    decisions = []
    for number, bed in enumerate(beds):
        with tempfile.TemporaryDirectory() as folder:
            copy = bed.copied(Path(folder, "root"), f"{number} {name}")
            night(copy)
            decisions.append(copy.judge())
    return tuple(decisions)


def headlines(poisoned: Mapping[str, Kind], healthy: Mapping[str, Kind]) -> list[Headline]:
    """Return the rows of metrics/details.json: shares of nights, and of kinds of which a night was missed."""
    nights, good = (sum(len(kind.decisions) for kind in kinds.values()) for kinds in (poisoned, healthy))
    refused, wrongly = (sum(kind.refused for kind in kinds.values()) for kinds in (poisoned, healthy))
    missed = sum(kind.refused < len(kind.decisions) for kind in poisoned.values())
    return [
        share("false_promotions", nights - refused, nights),
        share("missed_poisons", missed, len(poisoned)),
        share("false_refusals", wrongly, good),
    ]


def share(name: str, events: int, n: int) -> Headline:
    """Return a share with its exact 95 % interval (Clopper-Pearson)."""
    interval = stats.binomtest(events, n).proportion_ci(0.95)
    return Headline(
        name=f"operation.{name}", value=events / n, low=float(interval.low), high=float(interval.high), n=n,
        better="lower", goal=0.0,
    )  # fmt: skip


def to_markdown(title: str, kinds: Mapping[str, Kind]) -> str:
    """Return a table: kind, number of nights that were refused, by which checks, and why others pass."""
    lines = [f"| {title} | refused | by | missed because |", "|---|---|---|---|"]
    for name, kind in kinds.items():
        reason = kind.reason if kind.refused < len(kind.decisions) else ""
        lines.append(f"| {name} | {kind.refused} of {len(kind.decisions)} | {kind.checks} | {reason} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
