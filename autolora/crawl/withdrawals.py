"""What becomes of entries that a look at their hub did not show: kept, missing, or a tombstone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from autolora.crawl.scan import Completed, Walk
from autolora.errors import HubError
from autolora.hubs import Hub, Model, Standing, objection
from autolora.params import CrawlParams
from autolora.records import Listing

MAX_ASKED = 500
"""models whose own pages are asked for in one look"""
BELIEVED_SHARE = 0.5
"""a list that lacks more than this share of a hub's models, which are all there, is taken for one cut short"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Entries that were not listed anew."""

    rows: tuple[Listing, ...]
    problems: tuple[str, ...]


def bury(row: Listing, today: date) -> Listing:
    """Return an entry's tombstone: what it was, and nothing of what it said."""
    return Listing(
        hub=row.hub,
        id=row.id,
        version=row.version,
        file=row.file,
        url="",
        size=None,
        sha256=row.sha256,
        license=None,
        base_model=None,
        nsfw=False,
        trigger_words=(),
        renderings=(),
        updated=row.updated,
        first_seen=row.first_seen,
        status="withdrawn",
        withdrawn=row.withdrawn or today,
    )


def age(row: Listing, today: date) -> Listing:
    """Return an entry whose hub could not be asked about it; a tombstone stays what it is."""
    return row if row.status == "withdrawn" else replace(row, stale_since=row.stale_since or today)


def _fresh(row: Listing) -> Listing:
    return row if row.stale_since is None else replace(row, stale_since=None)


def settle(
    old: Iterable[Listing], walked: Walk, found: Completed, rules: CrawlParams, today: date
) -> tuple[list[Listing], list[Listing]]:
    """Return what a walk tells of entries that it did not list anew, and the entries that it did not show at all."""
    places = {(row.id, row.file) for row in found.listings}
    settled, unseen = [], []
    for row in old:
        if (row.id, row.file) in places:
            continue
        model = walked.models.get(row.id)
        if row.status == "withdrawn":
            settled.append(row)
        elif row.id in found.failed or (not model and row.id in walked.unreadable):
            settled.append(age(row, today))
        elif model and model.withdrawn:
            settled.append(bury(row, today))
        elif model is None or not _is_left_out(row, model, rules):
            unseen.append(
                row
            )  # not in the list, or the model's files lack it: either may have been cut short
    return settled, unseen


def _is_left_out(row: Listing, model: Model, rules: CrawlParams) -> bool:
    """Tell whether the rules leave out an entry's file ("": any of a model whose list names no files)."""
    drafts = [draft for draft in model.drafts if draft.file in ("", row.file)]
    return bool(drafts) and all(objection(draft, rules) for draft in drafts)


def pass_over(unseen: Iterable[Listing], whole: bool, today: date) -> Settled:
    """Keep entries that a look had no need to see; where it broke off, it had no way to, and they are stale."""
    return Settled(rows=tuple(_fresh(row) if whole else age(row, today) for row in unseen), problems=())


def search(hub: Hub, unseen: Sequence[Listing], known: int, again: bool, today: date) -> Settled:
    """Ask the own pages of models that a whole list lacks, or lacks a file of, what became of them.

    known: models of this hub in the catalog. again: the whole list was read on an earlier day before.
    Taken down, or absent twice: a tombstone at once. There: missing, and a tombstone the second time in a row,
    unless so much is missing that the list must be wrong. No answer: stale.
    """
    ids = list(dict.fromkeys(row.id for row in unseen))
    standings, problems = _ask_all(hub, ids[:MAX_ASKED])
    if len(ids) > MAX_ASKED:
        problems.append(f"{len(ids) - MAX_ASKED} more models are not in the list and were not asked about")
    there = sum(standing is Standing.THERE for standing in standings.values())
    believed = len(ids) - len(standings) + there <= BELIEVED_SHARE * known
    if not believed:
        problems.append(
            f"the list lacks {len(ids)} of {known} models, and of {len(standings)} asked {there} are there: "
            "it is taken for one cut short, and they stay"
        )
    rows = []
    for row in unseen:
        standing = standings.get(row.id)
        gone = standing in (Standing.ABSENT, Standing.WITHDRAWN)
        if gone or (standing is Standing.THERE and row.status == "missing" and again and believed):
            rows.append(bury(row, today))
        elif standing is None:
            rows.append(age(row, today))
        else:
            status = row.status if row.status == "queued" else "missing"
            rows.append(replace(row, status=status, stale_since=None))
    return Settled(rows=tuple(rows), problems=tuple(problems))


def _ask_all(hub: Hub, ids: Sequence[str]) -> tuple[dict[str, Standing], list[str]]:
    """Return how models stand, and what went wrong; absent ones are asked again when all others have been."""
    standings: dict[str, Standing] = {}
    problems = []
    waiting = list(ids)
    for _ in range(2):
        for id in waiting:
            try:
                standings[id] = hub.standing(id)
            except HubError as error:
                standings.pop(id, None)
                problems.append(str(error))
        waiting = [id for id in waiting if standings.get(id) is Standing.ABSENT]
    return standings, problems
