"""Going back to a release, which stays served until its pin is lifted, and lifting the pin."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.served import former_digest, open_index, open_released, release
from autolora.releases.checks import Decision, read_decisions, record
from autolora.releases.gate import judge_former
from autolora.releases.pin import Pin, lift_pin, write_pin

PASSED = ("promoted", "promoted by hand", "pinned")
"""verdicts on an index that the gate or an operator has passed, which a rollback may have replaced"""


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


def lift(root: Path, today: date) -> Decision | None:
    """Lift the pin and serve the newest index that has passed; return the decision.

    None if it is served already, or if nothing has it any more.
    """
    lift_pin(root)
    newest = next((made.index for made in reversed(read_decisions(root)) if made.verdict in PASSED), None)
    if newest is None or newest == former_digest(root):
        return None
    try:
        index = open_released(root, newest)
    except MissingArtifact:
        return None
    decision = judge_former(root, index, "the pin was lifted", today)
    record(root, decision)
    if not decision.refusals:
        release(root, newest)
    return decision
