"""`autolora status`: how the last refresh ended, what is served, and what waits."""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_facts, to_json
from autolora.wording import counted, printable

if TYPE_CHECKING:
    from autolora.refresh.last_refresh import LastRefresh
    from autolora.releases.state import ReleaseState


def status(as_json: Json = False) -> None:
    """Print how the last refresh ended, which index is served and why no newer one, and what waits.

    The exit code is 1 if the last refresh failed, was killed or refused, or if there was no release for
    refresh.stale_days days.
    """
    from autolora.clock import now
    from autolora.refresh.last_refresh import failure_notice, read_last_refresh
    from autolora.refresh.record import read_refresh
    from autolora.releases.state import read_state
    from autolora.report.batches import describe_storage, storage_summary

    root, params = enter_repository()
    last, record = read_last_refresh(root), read_refresh(root)
    time = now()
    release = read_state(root, last, params.refresh.stale_days, time)
    state: dict[str, Any] = {
        "last_refresh": asdict(last) | {"problem": last.problem},
        "last_changes": record and {"day": record.day.isoformat(), "counts": record.counts},
        "index": _index(root, last),
        "release": release.to_json(time),
        "waiting": _waiting(root),
        "storage": storage_summary(root),
    }
    if as_json:
        print(to_json(state))
    else:
        facts = _facts(last, state, " ".join(failure_notice(root, last)[1:]), release)
        facts["batches"] = describe_storage(state["storage"])
        print_facts({label: printable(text) for label, text in facts.items() if text})
    if last.problem or release.stale:
        raise typer.Exit(1)


def _index(root: Path, last: "LastRefresh") -> dict[str, Any] | None:
    """Return digest, day and number of adapters of the released index; None if none is released."""
    from autolora.index.copies import is_copy
    from autolora.index.served import copy_path, open_index, served_digest
    from autolora.refresh.last_refresh import index_day

    digest = served_digest(root)
    if digest is None:
        return None
    adapters = len(open_index(root).rows) if is_copy(copy_path(root, digest)) else None
    return {"digest": digest, "day": index_day(root, last, digest), "adapters": adapters}


def _waiting(root: Path) -> dict[str, Any]:
    """Return the numbers of failed items and of new files that wait, and the day of the next attempt."""
    from autolora.catalog import failed_items
    from autolora.catalog.store import read_all_or_empty

    days = [item.retry_on.isoformat() for item in failed_items.read(root).values()]
    queued = sum(listing.status == "queued" for listing in read_all_or_empty(root))
    return {"failed_items": len(days), "next_attempt": min(days, default=None), "queued": queued}


def _facts(
    last: "LastRefresh", state: dict[str, Any], advice: str, release: "ReleaseState"
) -> dict[str, str]:
    """Return labels and texts; an empty text does not apply. advice: which index is served, and what to do."""
    from autolora.refresh.last_refresh import to_words
    from autolora.refresh.outcomes import LABELS
    from autolora.releases.state import gate_lines, history_lines

    changes, waiting = state["last_changes"] or {"day": "", "counts": {}}, state["waiting"]
    counts = ", ".join(f"{count} {LABELS[kind]}" for kind, count in changes["counts"].items())
    attempt = f", next attempt on {waiting['next_attempt']}" if waiting["failed_items"] else ""
    return {
        "no release": release.stale,
        "last refresh": last.problem or ("succeeded" if last.succeeded else "none is recorded here"),
        "what to do": advice,
        "gate": "\n".join(gate_lines(release)),
        "pinned": str(release.pin or ""),
        "decisions": "\n".join(history_lines(release)),
        "in a row": counted(last.failures, "failure") if last.problem else "",
        "last success": to_words(last.succeeded) if last.succeeded else "",
        "last changes": changes["day"] and f"{changes['day']}: {counts or 'no file'}",
        "running": f"since {to_words(last.started)}" if last.started else "no",
        "served index": _describe_index(state["index"]),
        "failed items": f"{waiting['failed_items']}{attempt}",
        "queued": f"{counted(waiting['queued'], 'file')} for a later night",
    }


def _describe_index(index: dict[str, Any] | None) -> str:
    from autolora.clock import today

    if index is None:
        return "none is released: searches read the working index"
    adapters = "its copy is missing" if index["adapters"] is None else counted(index["adapters"], "adapter")
    days = (today() - date.fromisoformat(index["day"])).days if index["day"] else None
    day = "an unknown day" if days is None else index["day"]
    if days is not None and days >= 0:  # the day of this run may be a simulated one
        day += f" ({counted(days, 'day')} ago)"
    return f"{index['digest'][:12]} of {day}, {adapters}"
