"""What became of the files of a refresh, and its report in Markdown."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from autolora.catalog.diff import Snapshot, compare, qualified_name
from autolora.catalog.failed_items import NOT_REQUESTED, FailedItem
from autolora.catalog.takedowns import Takedown
from autolora.index.caption_check import CaptionCheck
from autolora.lora.remedies import REMEDIES
from autolora.params import load
from autolora.records import Adapter, Listing
from autolora.refresh.outcomes import TURN, Outcome, outcomes
from autolora.refresh.summary import MAX_NAMED, caption_lines, problems, refresh_summary, summary_line
from tests.support.report_root import make_adapter as pool_row
from tests.support.synthetic_repo import DAY, make_adapter

HUBS = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml").hubs
LATER = DAY + datetime.timedelta(days=1)
BASE = make_adapter("chalk", 2).listing


def listing(number: int, **fields: object) -> Listing:
    return replace(BASE, id=f"a/{number}", sha256=f"{number:064x}", **fields)  # type: ignore[arg-type]


def row(of: Listing, verdict: str = "accepted", reason: str = "") -> Adapter:
    return replace(pool_row(of.key, of.sha256 or "", accepted=True), verdict=verdict, reason=reason)


def results(
    before: list[Listing], after: list[Listing], rows: list[Adapter], *failed: FailedItem
) -> dict[str, Outcome]:
    """Return id -> outcome."""
    later = Snapshot(tuple(after), {})
    changes = compare(Snapshot(tuple(before), {}), later)
    found = outcomes(
        changes, later, {item.key: item for item in rows}, {item.key: item for item in failed}, HUBS
    )
    return {outcome.name.split("/")[1]: outcome for outcome in found}


def test_new_files_are_accepted_refused_duplicates_or_waiting() -> None:
    new = [listing(1), listing(2), listing(3), listing(4, status="queued"), listing(5)]
    copy = replace(listing(1), id="a/6", first_seen=LATER)
    rows = [
        row(new[0]),
        row(new[1], "pickle", "the file is a Python pickle"),
        row(new[2], "near-duplicate", "the original is x"),
    ]
    found = results([], [*new, copy], rows)
    assert {id: outcome.kind for id, outcome in found.items()} == {
        "1": "accepted", "2": "refused", "3": "duplicate", "6": "duplicate", "4": "waiting", "5": "waiting",
    }  # fmt: skip
    assert list(found) == ["1", "2", "3", "6", "4", "5"]
    refused = found["2"]
    assert (refused.code, refused.reason) == ("pickle", "the file is a Python pickle")
    assert refused.remedy == REMEDIES["pickle"]
    assert found["3"].reason == "the original is x"
    assert f"the same bytes as {qualified_name(new[0])}" in found["6"].reason
    assert found["4"].reason == TURN
    assert found["5"].reason == "the pool has not read it yet"
    assert summary_line(found.values()) == (
        "6 new files: 1 accepted, 1 refused, 2 already in the pool, 2 waiting; 0 removed, 0 with changed metadata"
    )


def test_duplicate_is_found_by_the_downloaded_bytes_if_the_hub_reports_no_hash() -> None:
    first, second = (replace(BASE, id=f"a/{n}", sha256=None) for n in (1, 2))
    rows = [replace(pool_row(item.key, "f" * 64, accepted=True)) for item in (first, second)]
    found = results([first], [first, second], rows)
    assert {id: (outcome.kind, outcome.sha256) for id, outcome in found.items()} == {
        "2": ("duplicate", "f" * 64)
    }


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("timeout", f"the download or reading failed on {DAY} (timeout); next attempt on {LATER}"),
        (NOT_REQUESTED, f"{NOT_REQUESTED}; next attempt on {LATER}"),
    ],
)
def test_waiting_file_names_its_failed_download(reason: str, expected: str) -> None:
    queued = listing(1, status="queued")
    failed = FailedItem(
        stage="pool", key=queued.key, hub="h", id="a/1", name="a/1/x", reason=reason, last_attempt=DAY
    )
    assert results([], [queued], [], failed)["1"].reason == expected
    stale = replace(queued, stale_since=DAY)
    assert f"could not be scanned since {DAY}" in results([], [stale], [])["1"].reason


def test_removed_files_name_the_cause() -> None:
    before = [listing(number) for number in range(5)]
    after = [
        replace(before[0], status="withdrawn", withdrawn=LATER),
        replace(before[1], status="rejected"),
        replace(before[2], sha256="a" * 64, version="b" * 40),
        replace(before[4], status="queued"),
    ]
    found = [item for item in results(before, after, [row(after[2])]).values() if item.kind == "removed"]
    reasons = {outcome.name.split("/")[1]: outcome.reason for outcome in found}
    assert reasons["0"] == "withdrawn by its hub"
    assert reasons["1"].startswith("excluded by a rule")
    assert reasons["3"] == "the catalog does not list it any more"
    versions = compare(Snapshot((before[2],), {}), Snapshot((after[2],), {}))
    both = outcomes(versions, Snapshot((after[2],), {}), {after[2].key: row(after[2])}, {}, HUBS)
    assert [(item.kind, item.reason) for item in both] == [
        ("accepted", ""), ("removed", "replaced by another version")
    ]  # fmt: skip
    taken_down = Takedown(
        kind="weights", sha256=before[0].sha256, hub="h", id="i", file="f", reason="asked", date=DAY
    )
    later = Snapshot((after[0],), {}, (taken_down,))
    changes = compare(Snapshot((before[0],), {}), later)
    assert [item.reason for item in outcomes(changes, later, {}, {}, HUBS)] == ["taken down (asked)"]


def test_report_names_files_with_reason_and_remedy_and_counts_the_rest() -> None:
    new = [listing(number, status="queued") for number in range(MAX_NAMED + 5)]
    refused, gone = listing(90), listing(91)
    after = Snapshot((*new, refused, replace(gone, status="missing"), replace(BASE, stale_since=LATER)), {})
    changes = compare(Snapshot((gone, BASE), {"index": "1"}), after)
    rows = {refused.key: row(refused, "pickle", "the file is a Python pickle")}
    lines = refresh_summary(changes, outcomes(changes, after, rows, {}, HUBS)).splitlines()
    names = [f"[`{qualified_name(item)}`](https://huggingface.co/{item.id})" for item in (refused, new[0])]
    for line in (
        "**26 new files: 1 refused, 25 waiting; 0 removed, 0 with changed metadata**",
        f"- refused (pickle): {names[0]}: the file is a Python pickle. {REMEDIES['pickle']}",
        f"- waiting: {names[1]}: {TURN}",
        "- waiting: 5 more",
        f"- missing from its hub's list, but still available: `{qualified_name(gone)}`",
        f"- **stale: 1 listing of huggingface retained from an earlier crawl since {LATER}**",
        "| index | changed |",
    ):
        assert line in lines
    moved = tuple(replace(item, hub="civitai") for item in (gone, BASE))
    dropped = compare(Snapshot((gone, BASE), {}), Snapshot(moved, {}))
    assert problems(dropped) == ["hub huggingface: none of its 2 listings is left in the catalog"]


def test_report_names_takedowns_and_deferred_downloads() -> None:
    file = Takedown(
        kind="weights", sha256="a" * 64, hub="civitai", id="1", file="x.safetensors", reason="asked", date=DAY
    )
    image = replace(file, kind="rendering", sha256="b" * 64, file="https://hub/1.png")
    unlisted = replace(file, sha256="c" * 64, hub="", id="", file="")
    many = tuple(replace(file, id=str(number)) for number in range(23))
    empty = Snapshot((), {})
    lines = refresh_summary(compare(empty, Snapshot((), {}, (file, image, unlisted))), []).splitlines()
    assert [line for line in lines if "taken down" in line] == [
        "- taken down: `civitai:1/x.safetensors` (asked)",
        f"- taken down: `weights {'c' * 64}` (asked)",
        "- taken down: `https://hub/1.png` (asked)",
    ]
    assert "- taken down: 3 more" in refresh_summary(compare(empty, Snapshot((), {}, many)), []).splitlines()
    downloads = [
        FailedItem(
            stage="pool", key=f"{n}", hub="civitai", id=f"{n}", name=f"{n}/a.safetensors", reason="hash mismatch",
            last_attempt=DAY,
        )
        for n in range(MAX_NAMED + 2)
    ]  # fmt: skip
    text = refresh_summary(compare(empty, empty), [], downloads)
    assert (
        "- **deferred, download or reading failed: `civitai:0/a.safetensors`** (hash mismatch); "
        f"next attempt on {LATER}" in text
    )
    assert "- deferred: 2 more models" in text
    assert refresh_summary(compare(empty, empty), []).startswith("Nothing changed")


def test_a_file_that_left_and_waits_again_is_one_outcome() -> None:
    queued = listing(1, status="queued")
    (found,) = results([listing(1)], [queued], []).values()
    assert (found.kind, found.reason) == ("removed", TURN)


@pytest.mark.parametrize("hostile", [
    "`![x](https://evil.example/p.png) [sign in again](https://evil.example)",
    "``\\[a](https://evil.example) <img src=https://evil.example> <https://evil.example>",
    "x\n\n# [a]: https://evil.example\n\n[a]",
])  # fmt: skip
def test_texts_of_hubs_are_no_markdown(hostile: str) -> None:
    file = listing(90, file=f"{hostile}.safetensors")
    gone, taken = listing(91, file=hostile), Takedown(
        kind="weights", sha256="a" * 64, hub="civitai", id="1", file=hostile, reason=hostile, date=DAY
    )  # fmt: skip
    after = Snapshot((file, replace(gone, status="missing")), {}, (taken,))
    changes = compare(Snapshot((gone,), {}), after)
    rows = {file.key: row(file, "zero-effect", f"{hostile} changes nothing")}
    failed = FailedItem(
        stage="pool", key="1", hub="civitai", id="1", name=hostile, reason=hostile, last_attempt=DAY
    )
    text = refresh_summary(changes, outcomes(changes, after, rows, {}, HUBS), [failed])
    check = CaptionCheck(name=hostile, agreement=0.1, expected=0.9, agrees=False, is_searched=False)
    text += "\n" + "\n".join(caption_lines({}, {"c": check}))
    tokens = [child for token in MarkdownIt().parse(text) for child in [token, *(token.children or ())]]
    assert {"image", "html_inline", "html_block", "heading_open"}.isdisjoint(token.type for token in tokens)
    links = [str(token.attrs["href"]) for token in tokens if token.type == "link_open"]
    assert links == ["https://huggingface.co/a/90"]
    assert sum("evil.example" in token.content for token in tokens if token.type == "code_inline") == 4
