"""`autolora versions promote`: an operator serves and releases an index that the gate refused, with a reason."""

import argparse
from dataclasses import replace

from autolora.clock import now, today
from autolora.errors import MismatchError
from autolora.index.served import former_digest, open_index, release
from autolora.index.store import content_digest
from autolora.refresh.last_refresh import record_release
from autolora.releases.checks import Decision, read_decisions, record
from autolora.releases.gate import judge, judge_former
from autolora.releases.pin import read_pin
from autolora.releases.tags import PREFIX, free_name
from autolora.report import page
from autolora.storage.git import list_tags
from autolora.storage.lock import exclusive_lock
from flows import dvc, git, promotion
from flows.stage import ROOT, params, run


def promote_working(reason: str, lock_fd: int) -> str | None:
    """Serve the working index, then commit, push and tag; return the name of the tag, if one was made."""
    digest = content_digest(ROOT)
    if digest == former_digest(ROOT):
        raise MismatchError(f"index {digest[:12]} is served already: there is nothing to promote")
    _promote(digest, _decision(digest, reason))
    page.assemble(ROOT)
    summary = f"Promoted by hand: {reason}"
    promotion.commit(summary)
    return promotion.push(summary, lock_fd)


def promote_revision(rev: str, reason: str) -> str | None:
    """Serve the index of a revision, and tag its commit; return the name of the tag, if one was made."""
    index = open_index(ROOT, rev)
    _promote(index.digest, replace(judge_former(ROOT, index, reason, today()), verdict="promoted by hand"))
    if not params().refresh.commit:
        return None
    name = free_name(PREFIX, today(), list_tags(ROOT, PREFIX))
    git.tag(name, f"{name}\n\nindex: {index.digest}\npromoted by hand from {rev}: {reason}", rev)
    git.push()
    return name


def _promote(digest: str, decision: Decision) -> None:
    record(ROOT, decision)
    release(ROOT, digest)
    record_release(ROOT, now())


def _decision(digest: str, reason: str) -> Decision:
    """Return the last decision on the working index with the operator's; a new one if there is none."""
    made = [decision for decision in read_decisions(ROOT) if decision.index == digest][-1:]
    decision = made[0] if made else judge(ROOT, digest, params(), (), today())
    return replace(decision, day=today(), verdict="promoted by hand", reason=reason)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="autolora versions promote", description="Serve an index that the gate refused."
    )
    parser.add_argument(
        "rev", nargs="?", metavar="BRANCH", help="branch of a refused run; default the working index"
    )
    parser.add_argument("--reason", required=True, help="why: kept with the decision")
    arguments = parser.parse_args()

    def promote() -> None:
        """Serve and release an index with a reason."""
        with exclusive_lock(ROOT) as lock_fd:
            if pin := read_pin(ROOT):
                raise MismatchError(f"{pin}: lift the pin first (`autolora versions lift`)")
            dvc.repair_files()
            git.remove_stale_locks()
            if arguments.rev:
                name = promote_revision(arguments.rev, arguments.reason)
            else:
                name = promote_working(arguments.reason, lock_fd)
        print(
            f"[promote] serving index {(former_digest(ROOT) or '')[:12]}{f', tagged {name}' if name else ''}"
        )

    run(promote, guard=False, parse=False)
