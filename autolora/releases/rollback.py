"""Going back to a release, which stays served until its pin is lifted."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from autolora.errors import MismatchError
from autolora.index.served import open_index, release
from autolora.releases.checks import Decision, record
from autolora.releases.gate import judge_former
from autolora.releases.pin import Pin, write_pin


def roll_back(root: Path, rev: str, reason: str, today: date) -> Decision:
    """Serve the index of a release, or of any git revision, and pin it; return the gate's decision.

    The pin is written first: a refresh after a kill in between promotes nothing. Raises MismatchError if the gate
    refuses that index, MissingArtifact if neither this machine nor a DVC remote has it.
    """
    index = open_index(root, rev)
    decision = judge_former(root, index, f"rolled back to {rev}: {reason}", today)
    record(root, decision if decision.refusals else replace(decision, verdict="rolled back"))
    if decision.refusals:
        raise MismatchError(
            f"the gate refuses the index of '{rev}': {'; '.join(map(str, decision.refusals))}; choose another release "
            "(`autolora versions`)"
        )
    write_pin(root, Pin(release=rev, day=today.isoformat(), reason=reason))
    release(root, index.digest)
    return decision
