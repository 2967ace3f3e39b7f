"""`autolora versions` and `autolora release`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_table, to_json


def versions(as_json: Json = False) -> None:
    """List the commits that changed the index and that --rev can read, newest first, and what holds each index here.

    The one that is served is marked.
    """
    from autolora.index.served import readable_revisions, served_digest
    from autolora.integrity.index_sources import index_sources
    from autolora.stages import is_pipeline

    root, _ = enter_repository()
    released = served_digest(root)
    revisions = readable_revisions(root)
    rows = [
        asdict(revision.commit) | {"index": revision.index, "rows": revision.rows, "at_hand": source}
        for revision, source in zip(revisions, index_sources(root, revisions), strict=True)
    ]
    if as_json:
        print(to_json({"served": released, "commits": rows}))
        return
    if rows:
        print_table(_versions_table(rows, released))
    elif is_pipeline(root):
        print("no commit contains an index yet: a refresh makes such commits (autolora refresh)")
    else:
        print("this project has no versions: `autolora index` replaces the index of your own files")
    if released is None:
        print("no index is released: searches read the working index")
    elif not rows:
        print(f"served: {released[:12]}")
    elif released not in {row["index"] for row in rows}:
        print(f"served: {released[:12]}, which no commit contains")
    if not all(row["at_hand"] for row in rows):
        print("an index that is not at hand can be released only if a DVC remote contains it")


def _versions_table(rows: Sequence[Mapping[str, Any]], released: str | None) -> Table:
    """Return the table of `versions`."""
    table = Table(
        "commit", "date", "adapters", "index", "at hand", "subject", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.columns[3].no_wrap = True
    for row in rows:
        mark = " served" if row["index"] == released else ""
        cells = (
            row["sha"][:10],
            row["date"][:10],
            str(row["rows"]),
            row["index"][:12] + mark,
            row["at_hand"] or "no",
        )
        table.add_row(*cells, escape(row["subject"]))
    return table


def release(
    rev: Annotated[
        str | None, typer.Option("--rev", help="Git commit or tag of the index; default the working index.")
    ] = None,
) -> None:
    """Make searches use the working index, or the index of a revision (a rollback)."""
    from autolora.index import served as index_served
    from autolora.index.store import content_digest

    root, _ = enter_repository()
    digest = index_served.open_index(root, rev=rev).digest if rev is not None else content_digest(root)
    index_served.release(root, digest)
    print(f"serving index {digest}")
