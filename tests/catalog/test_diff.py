"""The differences of two snapshots."""

import datetime
from dataclasses import replace
from pathlib import Path

from autolora.catalog import diff, takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.records import Listing, Permissions
from tests.support.synthetic_repo import DAY, make_adapter

LATER = DAY + datetime.timedelta(days=1)


def snapshot(*listings: Listing) -> diff.Snapshot:
    """Return a snapshot whose digest of the index is the number of listings."""
    return diff.Snapshot(listings, {"index": str(len(listings))})


def test_changes_are_added_removed_and_waiting_listings() -> None:
    base = make_adapter("chalk", 2).listing
    before = [base, replace(base, id="a/gone", sha256="1" * 64), replace(base, id="a/old", sha256="2" * 64)]
    after = [
        replace(base, stale_since=LATER, permissions=Permissions(commercial=False)),
        replace(before[1], status="withdrawn", withdrawn=LATER),
        replace(before[2], status="missing"),
        replace(base, id="a/queued", sha256="3" * 64, status="queued"),
    ]
    changes = diff.compare(snapshot(*before), snapshot(*after))
    assert (changes.added, changes.removed) == ((), (before[1],))
    assert changes.changed == ((after[0], ("permissions",)),)
    assert changes.withdrawn == (after[1],)
    assert (changes.missing, changes.queued, changes.stale) == ((after[2],), (after[3],), (after[0],))
    assert not diff.compare(snapshot(base), snapshot(base))
    tombstone = after[1]
    assert diff.newly_withdrawn(before, after) == (tombstone,) and not diff.newly_withdrawn(after, after)
    moved = [replace(listing, hub="civitai") for listing in before]
    changes = diff.compare(snapshot(*before, tombstone), snapshot(*moved, tombstone))
    assert changes.dropped_hubs == {"huggingface": 3}
    assert diff.Snapshot.from_json(snapshot(*after).to_json()) == snapshot(*after)


def test_added_are_copies_and_new_versions_too() -> None:
    base = make_adapter("chalk", 2).listing
    copy, version = replace(base, id="a/copy"), replace(base, version="b" * 40, sha256="4" * 64)
    assert diff.compare(snapshot(base), snapshot(base, copy)).added == (copy,)
    changes = diff.compare(snapshot(base), snapshot(version))
    assert (changes.added, changes.removed) == ((version,), (base,))


def test_takedowns_since_the_baseline_are_not_withdrawals(tmp_path: Path) -> None:
    listing = make_adapter("chalk", 2).listing
    former = Takedown(
        kind="weights", sha256="a" * 64, hub="civitai", id="1", file="x.safetensors", reason="old", date=DAY
    )
    image = replace(former, kind="rendering", sha256="b" * 64, file="https://hub/1.png", reason="asked")
    file = replace(
        former, sha256=listing.sha256, hub=listing.hub, id=listing.id, file=listing.file, reason="asked"
    )
    takedowns.write(tmp_path, Takedowns((former,)))
    diff.keep_baseline(tmp_path)
    takedowns.write(tmp_path, Takedowns((former, image, file)))
    before = replace(diff.keep_baseline(tmp_path), listings=(listing,))
    after = replace(diff.snapshot(tmp_path), listings=(replace(listing, status="withdrawn", withdrawn=DAY),))
    changes = diff.compare(before, after)
    assert (changes.taken_down, changes.removed, changes.withdrawn) == ((file, image), (listing,), ())
    assert not diff.compare(after, after)
    assert diff.Snapshot.from_json(after.to_json()) == after
