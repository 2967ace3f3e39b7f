"""`autolora versions`: the releases, what differs between two, and which one is served."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autolora.cli.command import enter_repository
from autolora.cli.flows import become_flow
from autolora.cli.options import Json
from autolora.cli.output import print_lines, print_table, to_json
from autolora.clock import today
from autolora.wording import counted

if TYPE_CHECKING:
    from autolora.releases.comparison import Comparison

MAX_NAMED = 20
"""adapters, or queries, that a difference names"""
Reason = Annotated[str, typer.Option(help="Why: it is kept with the decision.")]


def versions(as_json: Json = False) -> None:
    """List the releases and other commits whose index is at hand, newest first, and what holds each index here.

    The one that is served is marked, and whether it is pinned. --json: all commits that changed the index.
    """
    from autolora.index.served import readable_revisions, served_digest
    from autolora.integrity.index_sources import index_sources
    from autolora.releases.pin import read_pin
    from autolora.releases.tags import release_tags
    from autolora.stages import is_pipeline
    from autolora.storage.git import tags

    root, _ = enter_repository()
    released, pin, names = served_digest(root), read_pin(root), tags(root)
    revisions, releases = readable_revisions(root), release_tags(root)
    for revision in revisions:  # a tag may be at a later commit than the one that changed the index
        own = (tag.name for tag in releases if tag.index == revision.index)
        names[revision.commit.sha] = tuple(dict.fromkeys((*names.get(revision.commit.sha, ()), *own)))
    rows = [
        asdict(revision.commit)
        | {"index": revision.index, "rows": revision.rows, "at_hand": source}
        | {"tags": list(names[revision.commit.sha])}
        for revision, source in zip(revisions, index_sources(root, revisions), strict=True)
    ]
    if as_json:
        print(to_json({"served": released, "pin": pin and asdict(pin), "commits": rows}))
        return
    listed = [row for row in rows if row["at_hand"] or row["tags"]]
    if listed:
        _print_versions(listed, released)
    if len(rows) > len(listed):
        others = counted(len(rows) - len(listed), "commit")
        print_lines(f"not listed: {others} without a tag, whose index nothing here holds (--json)")
    if not rows and is_pipeline(root):
        print_lines("no commit contains an index yet: a refresh makes such commits (autolora refresh)")
    elif not rows:
        print_lines("this project has no versions: `autolora index` replaces the index of your own files")
    if released is None:
        print_lines("no index is released: searches read the working index")
    elif not rows:
        print(f"served: {released[:12]}")
    elif released not in {row["index"] for row in rows}:
        print_lines(f"served: {released[:12]}, which no commit contains")
    if pin:
        print_lines(f"{pin}: refreshes promote nothing until `autolora versions lift`")
    if not all(row["at_hand"] for row in listed):
        print_lines("an index that is not at hand can be served only if a DVC remote contains it")


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Release, or any git revision.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The later one.")] = "HEAD",
    as_json: Json = False,
) -> None:
    """Print what differs between two releases: adapters, recall, and the pinned queries that are answered otherwise."""
    from autolora.releases.comparison import compare_releases

    root, params = enter_repository()
    found = compare_releases(root, params, first, second)
    if as_json:
        print(to_json(asdict(found)))
        return
    print_lines(*_difference_lines(found))


def rollback(
    rev: Annotated[str, typer.Argument(metavar="RELEASE", help="Tag of a release, or any git revision.")],
    reason: Reason,
) -> None:
    """Serve the index of a release again, and pin it: refreshes go on, but promote nothing until the pin is lifted."""
    from autolora.releases.rollback import roll_back
    from autolora.storage.lock import exclusive_lock

    root, _ = enter_repository()
    with exclusive_lock(root):
        decision = roll_back(root, rev, reason, today())
    print(f"serving index {decision.index[:12]} of {rev}, pinned: `autolora versions lift` ends that")


def lift() -> None:
    """Lift the pin, and serve the newest index that has passed the gate."""
    from autolora.errors import MissingArtifact
    from autolora.releases.pin import PIN, read_pin
    from autolora.releases.rollback import lift as lift_and_serve
    from autolora.storage.lock import exclusive_lock

    root, _ = enter_repository()
    try:
        pin = read_pin(root)
    except MissingArtifact:  # a damaged one can be lifted
        pin = None
    if not (root / PIN).exists():
        print("nothing was pinned")
        return
    with exclusive_lock(root):
        decision = lift_and_serve(root, today())
    if decision and decision.is_promoted:
        print(f"the pin is lifted: serving index {decision.index[:12]}, the newest that has passed the gate")
    else:
        print("the pin is lifted: the next refresh promotes its index, with all that came meanwhile")
    if decision and decision.refusals:
        reasons = "; ".join(map(str, decision.refusals))
        print(f"the gate refuses index {decision.index[:12]}, the newest that had passed: {reasons}")
    if pin:
        print(f"    autolora versions diff {pin.release} HEAD")


def promote(
    reason: Reason,
    rev: Annotated[
        str | None,
        typer.Argument(metavar="BRANCH", help="Branch of a refused run; default the working index."),
    ] = None,
) -> None:
    """Serve an index that the gate refused, or that has not passed it, and release it with a reason."""
    become_flow("promote", f"--reason={reason}", *([rev] if rev else []))


def _print_versions(rows: Sequence[Mapping[str, Any]], released: str | None) -> None:
    """Print the table of `versions`."""
    cells = [
        (
            ", ".join(row["tags"]) or f"(of {row['date'][:10]})",
            row["sha"][:10],
            str(row["rows"]),
            row["index"][:12] + (" served" if row["index"] == released else ""),
            row["at_hand"] or "no",
        )
        for row in rows
    ]
    print_table(("release", "commit", "adapters", "index", "at hand"), cells)


def _difference_lines(found: "Comparison") -> list[str]:
    """Return the lines of `versions diff`."""
    before, after = found.adapters
    lines = [f"adapters: {before} -> {after}, {len(found.added)} added, {len(found.removed)} removed"]
    lines += _named("  + ", found.added) + _named("  - ", found.removed)
    lines += [] if found.is_same_encoder else ["encoder: another training"]
    old, new = (f"{recall.value:.3f}" if recall else "not measured" for recall in found.recall)
    lines += [f"recall of the first hit: {old} -> {new}"]
    lines += [f"pinned queries: {len(found.answers)} of {found.queries} are answered otherwise"]
    for answer in found.answers[:MAX_NAMED]:
        lines += [
            f"  {answer.query}",
            f"    - {', '.join(answer.before)}",
            f"    + {', '.join(answer.after)}",
        ]
    more = len(found.answers) - MAX_NAMED
    return [*lines, f"  and {counted(more, 'more query', 'more queries')}"] if more > 0 else lines


def _named(mark: str, names: Sequence[str]) -> list[str]:
    more = len(names) - MAX_NAMED
    return [f"{mark}{name}" for name in names[:MAX_NAMED]] + ([f"{mark}{more} more"] if more > 0 else [])
