"""The differences of two snapshots, failed downloads by model, and the Markdown report."""

import datetime
from dataclasses import replace
from pathlib import Path

from autolora.catalog import diff, takedowns
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.records import Listing, Permissions
from tests.support.synthetic_repo import DAY, make_adapter

LATER = DAY + datetime.timedelta(days=1)


def snapshot(*listings: Listing) -> diff.Snapshot:
    """Return a snapshot whose digest of the index is the number of listings."""
    return diff.Snapshot(listings, {"index": str(len(listings))})


def failed_file(name: str, id: str = "77", reason: str = "hash mismatch") -> FailedItem:
    """Return a failed download of a file."""
    return FailedItem(
        stage="pool", key=f"{id}/{name}", hub="civitai", id=id, name=f"{id}/{name}.safetensors", reason=reason,
        last_attempt=DAY,
    )  # fmt: skip


def failed_image(id: str, number: int, last_attempt: datetime.date = DAY) -> FailedItem:
    """Return a failed download of an image."""
    url = f"https://hub/{id}/{number}.png"
    reason = f"hub civitai: {url}: 404"
    return FailedItem(
        stage="pool", key=url, hub="civitai", id=id, name=url, reason=reason, last_attempt=last_attempt
    )


def test_report_lists_added_removed_and_waiting_listings() -> None:
    base = make_adapter("chalk", 2).listing
    before = [base, replace(base, id="a/gone", sha256="1" * 64), replace(base, id="a/old", sha256="2" * 64)]
    after = [
        replace(base, stale_since=LATER, permissions=Permissions(commercial=False)),
        replace(before[1], status="withdrawn", withdrawn=LATER),
        replace(before[2], status="missing"),
        *(
            replace(base, id=f"a/new{number}", sha256=f"{number:064x}", status="queued")
            for number in range(25)
        ),
    ]
    text = diff.to_markdown(diff.compare(snapshot(*before), snapshot(*after)))
    for line in (
        "**0 added, 1 removed, 1 with changed metadata**",
        "- removed `huggingface:a/gone/lora.safetensors`",
        "- withdrawn by its hub: `huggingface:a/gone/lora.safetensors`",
        "- missing from its hub's list, but still available: `huggingface:a/old/lora.safetensors`",
        "- queued for a later day: 5 more",
        f"- **stale: 1 listing of huggingface retained from an earlier crawl since {LATER}**",
        f"- `huggingface:{base.id}/lora.safetensors`: permissions",
    ):
        assert line in text.splitlines()
    assert not diff.compare(snapshot(base), snapshot(base))
    tombstone = after[1]
    assert diff.newly_withdrawn(before, after) == (tombstone,) and not diff.newly_withdrawn(after, after)
    moved = [replace(listing, hub="civitai") for listing in before]
    text = diff.to_markdown(diff.compare(snapshot(*before, tombstone), snapshot(*moved, tombstone)))
    assert "- hub huggingface: none of its 3 listings is left in the catalog" in text.splitlines()
    assert diff.Snapshot.from_json(snapshot(*after).to_json()) == snapshot(*after)


def test_report_names_takedowns_since_the_baseline_and_not_as_withdrawn_by_the_hub(tmp_path: Path) -> None:
    listing = make_adapter("chalk", 2).listing
    former = Takedown(
        kind="weights", sha256="a" * 64, hub="civitai", id="1", file="x.safetensors", reason="old", date=DAY
    )
    image = replace(former, kind="rendering", sha256="b" * 64, file="https://hub/1.png", reason="asked")
    file = replace(
        former, sha256=listing.sha256, hub=listing.hub, id=listing.id, file=listing.file, reason="asked"
    )
    unlisted = replace(file, sha256="c" * 64, hub="", id="", file="")
    takedowns.write(tmp_path, Takedowns((former,)))
    diff.keep_baseline(tmp_path)
    takedowns.write(tmp_path, Takedowns((former, image, file, unlisted)))
    before = replace(diff.keep_baseline(tmp_path), listings=(listing,))
    after = replace(diff.snapshot(tmp_path), listings=(replace(listing, status="withdrawn", withdrawn=DAY),))
    lines = diff.to_markdown(diff.compare(before, after)).splitlines()
    assert [line for line in lines if "taken down" in line] == [
        f"- taken down: `{diff.qualified_name(listing)}` (asked)",
        f"- taken down: `weights {'c' * 64}` (asked)",
        "- taken down: `https://hub/1.png` (asked)",
    ]
    assert "1 removed" in lines[0] and not any("withdrawn by its hub" in line for line in lines)
    assert not diff.compare(after, after)
    assert diff.Snapshot.from_json(after.to_json()) == after
    many = replace(after, takedowns=tuple(replace(file, id=str(number)) for number in range(23)))
    assert "- taken down: 3 more" in diff.to_markdown(diff.compare(before, many)).splitlines()


def test_report_lists_deferred_downloads_with_their_reasons() -> None:
    downloads = [failed_file("a", id=f"{number}") for number in range(diff.MAX_NAMED + 2)]
    text = diff.to_markdown(diff.compare(diff.Snapshot((), {}), diff.Snapshot((), {})), downloads)
    assert (
        f"- **deferred, download failed: `civitai:0/a.safetensors`** (hash mismatch); next attempt on {LATER}"
        in text
    )
    assert "- deferred: 2 more models" in text


def test_failed_downloads_are_grouped_by_model_with_files_before_images() -> None:
    images = [*(failed_image("5", number) for number in range(4)), failed_image("78", 0)]
    images.append(failed_image("77", 0, last_attempt=DAY - datetime.timedelta(days=1)))
    files = [failed_file("b"), failed_file("a"), failed_file("c", id="78", reason="w" * 300)]
    first, second, third = diff.group_by_model([*images, *files])
    assert (first.name, first.others) == ("civitai:77/a.safetensors", " and 1 more file and 1 image")
    assert (first.reason, first.retry_on) == ("hash mismatch", DAY)
    assert (second.name, second.others) == ("civitai:78/c.safetensors", " and 1 image")
    assert second.reason == "w" * 199 + "…"
    assert (third.name, third.others) == ("civitai:5", ": 4 images")
    assert third.reason == "https://hub/5/0.png: 404"
