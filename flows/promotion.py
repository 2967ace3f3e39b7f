"""The promotion of an index: the gate decides, the release is committed, pushed, verified and tagged.

What is missing after a kill or a failed push is made by the next refresh: a release without a tag is tagged as soon as
its commit is the newest and the remote has its objects. A refused run stays in the working tree, from which the next
refresh continues, and is kept as a branch.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from autolora.catalog.diff import BASELINE
from autolora.clock import now, today
from autolora.index.served import former_digest, release
from autolora.index.store import content_digest
from autolora.integrity.dvc_records import LOADER
from autolora.refresh.last_refresh import record_release
from autolora.refresh.outcomes import Outcome
from autolora.releases.checks import Decision, explain, read_decisions, record
from autolora.releases.gate import judge
from autolora.releases.pin import read_pin
from autolora.releases.tags import INDEX, PREFIX, REFUSED, free_name, release_tags
from autolora.stages import AFTER_RELEASE
from autolora.storage.git import branches, list_tags, read_revisions
from flows import dvc, git
from flows.stage import ROOT, PromotionRefused, params, print_and_log


def decide(outcomes: Sequence[Outcome]) -> Decision | None:
    """Return what the gate decides on the working index, and keep it in data/gate.jsonl; None if it is served already.

    A promoted index is served from here on.
    """
    digest = content_digest(ROOT)
    if digest == former_digest(ROOT):
        record_release(ROOT, now())  # a refresh that was killed may have served it and not recorded that
        return None
    decision = judge(ROOT, digest, params(), outcomes, today())
    record(ROOT, decision)
    if decision.verdict == "promoted":
        release(ROOT, digest)
        record_release(ROOT, now())
    return decision


def describe(decision: Decision | None) -> str:
    """Return the decision as Markdown."""
    if decision is None:
        return "Gate: nothing to promote, the index is as it was."
    passed = sum(check.passed for check in decision.checks)
    lines = [
        f"**Gate: {decision.verdict}.** {passed} of {len(decision.checks)} checks are met. {decision.reason}".rstrip()
    ]
    known = read_decisions(ROOT)
    lines += [f"- refused: {explain(known, decision, check)}" for check in decision.refusals]
    lines += [f"- warning: {explain(known, decision, check)}" for check in decision.warnings]
    return "\n".join(lines)


def refused_error(decision: Decision, branch: str | None) -> PromotionRefused:
    """Return the error of a refused refresh: why, what is served, and what to do."""
    reasons = "; ".join(map(str, decision.refusals))
    kept = f" The run is kept as branch {branch}." if branch else ""
    is_candidate = {check.name for check in decision.refusals} == {"trainings"}
    advice = (
        "Go back to the former training (docs/howto/versions.md), or serve the new one"
        if is_candidate
        else "Correct the cause and refresh again, or promote it as it is"
    )
    return PromotionRefused(
        f"the gate refused index {decision.index[:12]}: {reasons}. The index before is served on.{kept} {advice}: "
        "`autolora versions promote --reason WHY`"
    )


def keep_refused(summary: str) -> str | None:
    """Keep the state of a refused run as a branch, and return its name; None without refresh.commit.

    A state that a branch of refused runs already has gets no other one.
    """
    if not params().refresh.commit:
        return None
    kept = branches(ROOT, REFUSED)
    digests = read_revisions(ROOT, [*kept.values()], INDEX)
    current = (ROOT / INDEX).read_text()
    for name, commit in kept.items():
        if digests.get(commit) == current:
            return name
    name = free_name(REFUSED, today(), kept)
    git.commit_to_branch(name, f"Refused refresh {today()}\n\n{summary}")
    return name


def commit(summary: str) -> None:
    """Commit what has changed, if refresh.commit is true; the next report starts from here."""
    if params().refresh.commit:
        git.commit(f"Refresh {today()}\n\n{summary}")
    (ROOT / BASELINE).unlink(missing_ok=True)


def push(summary: str, lock_fd: int) -> str | None:
    """Push the outputs, tag the served index if no tag has it, push the tag; return the name of a new tag.

    The tag comes last, so that whoever has it finds all objects of the release in the remote.
    """
    pushed = dvc.push(lock_fd)
    if not params().refresh.commit:
        print_and_log("[refresh] no release is tagged, since refresh.commit is false")
        return None
    name = _untagged_release()
    if name and pushed is not None:
        dvc.verify_remote()
    if name:
        git.tag(name, f"{name}\n\n{_tag_text()}\n\n{summary}")
        print_and_log(f"[refresh] tagged {name}")
    git.push()
    return name


def _untagged_release() -> str | None:
    """Return the name of the tag that the served index lacks; None if it has one, or is not that of the last commit.

    The first release of all is tagged when the later stages have finished: `dvc pull` of a tag without any output of
    theirs fails.
    """
    served = former_digest(ROOT)
    if (
        read_pin(ROOT)
        or served != content_digest(ROOT)
        or served in {tag.index for tag in release_tags(ROOT)}
    ):
        return None
    if len(read_decisions(ROOT)) == 1 and not _locked_stages().keys() >= set(AFTER_RELEASE):
        print_and_log(f"[refresh] the first release is tagged after {' and '.join(AFTER_RELEASE)}")
        return None
    return free_name(PREFIX, today(), list_tags(ROOT, PREFIX))


def _tag_text() -> str:
    """Return what a tag says of its release: index, and the training lock that the gates were trained by."""
    deps = _locked_stages().get("fusion", {}).get("deps", ())
    gates = next((dep["md5"] for dep in deps if dep["path"] == "data/training.jsonl"), "none yet")
    return f"index: {content_digest(ROOT)}\ntraining lock of the gates (md5): {gates}"


def _locked_stages() -> dict[str, Any]:
    """Return stage -> what dvc.lock says of its last finished run."""
    stages: dict[str, Any] = yaml.load((ROOT / "dvc.lock").read_text(), LOADER)["stages"]
    return stages
