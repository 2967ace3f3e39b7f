"""`autolora versions` and `autolora release`."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_table, to_json


def versions(as_json: Json = False) -> None:
    """List the commits that changed the index and that --rev can read, newest first; mark the one that is served."""
    from autolora.index.served import readable_revisions, served_digest

    root, _ = enter_repository()
    released = served_digest(root)
    rows = [
        asdict(revision.commit) | {"index": revision.index, "rows": revision.rows}
        for revision in readable_revisions(root)
    ]
    if as_json:
        print(to_json({"served": released, "commits": rows}))
        return
    table = Table("commit", "date", "adapters", "index", "subject")
    for row in rows:
        mark = " (served)" if row["index"] == released else ""
        table.add_row(
            row["sha"][:10],
            row["date"][:10],
            str(row["rows"]),
            row["index"][:12] + mark,
            escape(row["subject"]),
        )
    print_table(table)
    if released is None:
        print("no index is released: searches read the working index")
    elif released not in {row["index"] for row in rows}:
        print(f"served: {released[:12]}, which no commit contains")


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
