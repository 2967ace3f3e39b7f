"""The same file on several hubs: one adapter at the strictest that any of them says, and all of it shown."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import diff
from autolora.catalog.failed_downloads import Setback, note
from autolora.catalog.sources import Origins, strictest
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.params import BudgetParams
from autolora.records import Listing, Permissions
from autolora.report.lookup import facts, lookup, maturity, permits, says
from tests.support.synthetic_repo import DAY, make, write_dataset, write_root
from tests.support.tiny_pool import RULES

LATER = DAY + datetime.timedelta(days=1)
ONE = make("mosaic", 0)
FIRST = replace(
    ONE.listing, permissions=Permissions(commercial=True, derivatives=True, credit=False), person=False
)
SECOND = replace(
    FIRST,
    hub="civitai",
    id="618692",
    file="ink.safetensors",
    license="civitai: commercial=None",
    permissions=Permissions(commercial=False, derivatives=None, credit=True),
    nsfw=True,
    nsfw_level="mature",
    person=True,
    minor=False,
    renderings=FIRST.renderings[:1],
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of two files, the first listed by two hubs."""
    write_root(tmp_path, [replace(ONE, listing=one) for one in (SECOND, FIRST)] + [make("neon", 1)])
    write_dataset(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "strict", "expected"),
    [
        ([True, False], False, False),
        ([True, None], False, None),
        ([True, True], False, True),
        ([False, None], False, False),
        ([False, None], True, None),
        ([None, True], True, True),
        ([False], True, False),
    ],
)
def test_the_strictest_word_holds(said: list[bool | None], strict: bool, expected: bool | None) -> None:
    assert strictest(said, strict) is expected


def test_one_file_on_two_hubs_is_one_row_at_the_strictest(root: Path) -> None:
    rows = {row["sha256"]: row for row in dataset.rows(root, "adapters")}
    assert len(rows) == 2
    row = rows[ONE.sha256]
    assert row["origins"] == ["civitai:618692", f"huggingface:{FIRST.id}"]
    assert (row["hub"], row["license"]) == ("civitai", SECOND.license)
    assert (row["commercial"], row["derivatives"], row["credit"]) == (False, None, True)
    assert (row["nsfw"], row["nsfw_level"], row["person"], row["minor"]) == (True, "mature", True, None)
    assert row["renderings"] == [picture.sha256 for picture in FIRST.renderings]


def test_a_hub_that_withdraws_it_says_nothing_any_more(root: Path) -> None:
    gone = replace(SECOND, status="withdrawn", withdrawn=LATER)
    write_root(root, [replace(ONE, listing=one) for one in (gone, FIRST)] + [make("neon", 1)])
    write_dataset(root)
    (row,) = (row for row in dataset.rows(root, "adapters") if row["sha256"] == ONE.sha256)
    assert (row["origins"], row["person"]) == ([f"huggingface:{FIRST.id}"], False)


def test_the_earliest_origin_names_it_and_one_of_the_same_day_by_precedence() -> None:
    assert Origins((FIRST, SECOND)).named == FIRST
    assert Origins((FIRST,)).digest == FIRST.digest != Origins((FIRST, SECOND)).digest


@pytest.mark.parametrize("name", [FIRST.id, "civitai:618692", ONE.sha256[:8], "618692/ink.safetensors"])
def test_any_of_its_names_finds_it_with_all_origins(root: Path, name: str) -> None:
    known = lookup(root, name, RULES)
    assert [row.hub for row in known.entries] == ["civitai", "huggingface"]
    assert known.verdict == "accepted" and known.origins.nsfw_level == "mature"
    words = says(known.entries[0])
    assert "civitai:618692/ink.safetensors: listed" in words and "commercial use not allowed" in words
    assert permits(known.origins.permissions) == (
        "commercial use not allowed, derivatives not said, naming the author required"
    )


def test_what_was_withdrawn_tells_what_is_left_and_why(root: Path) -> None:
    gone = replace(FIRST, hub="civitai", status="withdrawn", withdrawn=LATER, size=None, renderings=())
    write_root(root, [replace(ONE, listing=gone)])
    known = facts(lookup(root, FIRST.id, RULES))
    assert known["verdict"] == f"none: withdrawn, noticed on {LATER}"
    assert "took it down" in known["why"] and known["sha256"] == ONE.sha256
    assert known["split"] in ("train", "test")
    assert not {"size", "license", "maturity", "trigger words", "last changed"} & known.keys()
    with pytest.raises(MissingArtifact, match="no adapter"):
        lookup(root, "neon/none", RULES)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ((None, None, None), "waits for a night's budget: it takes 0.0000 GB and 6 captions; a night has no bounds"),
        ((3, None, 9), "waits for a night's budget: it takes 0.0000 GB and 6 captions; a night may bring 3 files, 9"),
        ((None, None, 5), "larger than any night's whole budget: it takes 0.0000 GB and 6 captions; a night may"),
        ((None, 1e-9, None), "larger than any night's whole budget"),
    ],
)  # fmt: skip
def test_what_is_queued_says_what_it_waits_for(
    root: Path, budget: tuple[int | None, float | None, int | None], words: str
) -> None:
    queued = make("chalk", 2)
    row = replace(queued.listing, status="queued", stale_since=LATER)
    write_root(root, [replace(queued, listing=row)])
    files, gb, captions = budget
    rules = replace(RULES, budget=BudgetParams(files=files, gb=gb, captions=captions))
    known = lookup(root, row.id, rules)
    assert known.verdict == f"none: queued, its hub could not be asked since {LATER}"
    assert known.why.startswith(words)
    file = f"{row.id}/{row.file}"
    setback = Setback(key=row.key, hub=row.hub, id=row.id, name=file, why="404", last=DAY)
    note(root, [setback], {row.key}, DAY)
    assert lookup(root, row.id, rules).why == (
        f"its hub did not give it on {DAY} (404); it is asked for again on {LATER}"
    )


def test_pictures_that_its_hub_did_not_give_are_told_apart_from_files_and_keys(root: Path) -> None:
    def vain(key: str, name: str, id: str = FIRST.id) -> Setback:
        return Setback(key=key, hub=FIRST.hub, id=id, name=name, why=f"{key} answered 404", last=DAY)

    assert "pictures not had" not in facts(lookup(root, FIRST.id, RULES))
    pictures = [vain(f"u{n}", f"https://hub/{n}.png") for n in range(4)]
    others = [vain("k", f"{FIRST.id}/new.safetensors"), vain("o", "https://hub/o.png", id="ann/other")]
    note(root, [*pictures, *others], (), DAY)
    told = facts(lookup(root, FIRST.id, RULES))
    assert told["pictures not had"] == f"4, asked for again on {LATER} (u0 answered 404)"
    assert told["keys set aside"] == "nothing" and "set aside" not in told


@pytest.mark.parametrize(
    ("level", "nsfw", "words"),
    [
        ("none", False, "none (safe for work)"),
        ("explicit", True, "explicit (not safe for work)"),
        (None, True, "not safe for work, no level said"),
        (None, False, "not said"),
    ],
)
def test_maturity_in_words(level: str | None, nsfw: bool, words: str) -> None:
    assert maturity(level, nsfw) == words


def test_a_night_tells_what_came_went_and_waits() -> None:
    def shot(*rows: Listing) -> diff.Snapshot:
        return diff.Snapshot(rows, {"index": str(len(rows))})

    base = make("chalk", 2).listing
    before = [base, replace(base, id="a/gone", sha256="1" * 64), replace(base, id="a/old", sha256="2" * 64)]
    after = [
        replace(base, stale_since=LATER, permissions=Permissions(commercial=False)),
        replace(before[1], status="withdrawn", withdrawn=LATER),
        replace(before[2], status="missing"),
        *(replace(base, id=f"a/new{n}", sha256=f"{n:064x}", status="queued") for n in range(25)),
    ]
    found = diff.compare(shot(*before), shot(*after))
    text = diff.to_markdown(found)
    for line in (
        "**0 added, 1 withdrawn, 1 described anew**",
        "- withdrawn `huggingface:a/gone/lora.safetensors`",
        "- taken down by its hub: `huggingface:a/gone/lora.safetensors`",
        "- not listed by its hub any more, but there: `huggingface:a/old/lora.safetensors`",
        "- queued for a later night: 5 more",
        f"- **stale: 1 entry of huggingface could not be asked about, since {LATER}**",
        f"- `huggingface:{base.id}/lora.safetensors`: permissions",
    ):
        assert line in text.splitlines()
    assert not diff.compare(shot(base), shot(base))
    tombstone = after[1]
    assert diff.withdrawn(before, after) == (tombstone,) and not diff.withdrawn(after, after)
    moved = [replace(row, hub="civitai") for row in before]
    text = diff.to_markdown(diff.compare(shot(*before, tombstone), shot(*moved, tombstone)))
    assert "- hub huggingface: nothing is left in the catalog of its 3 entries" in text.splitlines()
    assert diff.Snapshot.from_json(shot(*after).to_json()) == shot(*after)
