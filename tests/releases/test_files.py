"""Pin, queries, tags and the comparison of two releases."""

import datetime
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact, ParamsError
from autolora.releases.comparison import compare_releases
from autolora.releases.pin import PIN, Pin, lift_pin, read_pin, write_pin
from autolora.releases.queries import QUERIES_FILE, read_queries
from autolora.releases.tags import PREFIX, free_name, release_tags
from autolora.storage.files import write_atomic
from tests.support.nights import QUERIES, Delivery, Nights

DAY = datetime.date(2026, 1, 5)
PINNED = Pin(release="release/2026-01-05", day="2026-01-06", reason="wrong cats")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        cwd=root,
        check=True,
        capture_output=True,
    )


def tag(bed: Nights, name: str) -> None:
    """Commit the digests and tag them."""
    git(bed.root, "add", "-f", "digests")
    git(bed.root, "commit", "-qm", name)
    git(bed.root, "tag", "-am", name, name)


def test_a_pin_is_read_as_written_until_it_is_lifted(tmp_path: Path) -> None:
    assert read_pin(tmp_path) is None and not lift_pin(tmp_path)
    write_pin(tmp_path, PINNED)
    assert read_pin(tmp_path) == PINNED and "wrong cats" in str(PINNED)
    assert lift_pin(tmp_path) and read_pin(tmp_path) is None


@pytest.mark.parametrize("damage", ["{}", "[1]", "{", '{"release": "x", "day": "y"}'])
def test_a_damaged_pin_is_an_error_and_no_pin(tmp_path: Path, damage: str) -> None:
    write_pin(tmp_path, PINNED)
    (tmp_path / PIN).write_text(damage)
    with pytest.raises(MissingArtifact):
        read_pin(tmp_path)


def test_queries_are_lines_without_comments_and_repetitions(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"profiles/queries\.txt.* is missing"):
        read_queries(tmp_path)
    write_atomic(tmp_path / QUERIES_FILE, "# theirs\n a cat \n\na dog\na cat\n")
    assert read_queries(tmp_path) == ["a cat", "a dog"]


def test_the_next_name_of_a_day_is_free() -> None:
    taken: list[str] = []
    for expected in ("release/2026-01-05", "release/2026-01-05-2", "release/2026-01-05-3"):
        assert free_name(PREFIX, DAY, taken) == expected
        taken.append(expected)


def test_releases_are_listed_the_newest_first_and_compared(bed: Nights) -> None:
    assert release_tags(bed.root) == []
    git(bed.root, "init", "-q")
    tag(bed, "release/2026-01-03")
    gone = bed.accepted[0]
    bed.deliver(Delivery(size=12, withdrawn=0, refused=0, copied=0))
    bed.withdraw(gone)
    bed.write()
    bed.run_stages()
    digest = bed.judge().index
    tag(bed, "release/2026-01-04")
    git(bed.root, "tag", "-am", "no release", "other/x")

    found = release_tags(bed.root)
    assert [item.name for item in found] == ["release/2026-01-04", "release/2026-01-03"]
    assert found[0].index == digest and found[0].adapters == len(bed.accepted)

    result = compare_releases(bed.root, bed.params, "release/2026-01-03", "release/2026-01-04")
    new = {f"{item.listing.hub}:{item.listing.id}/{item.listing.file}" for item in bed.newcomers}
    assert set(result.added) == new and len(result.removed) == 1 and gone.listing.id in result.removed[0]
    assert result.adapters == (found[1].adapters, found[0].adapters) and result.is_same_encoder
    assert result.queries == len(QUERIES) and 0 < len(result.answers) < len(QUERIES)
    assert all(answer.before != answer.after for answer in result.answers)
    assert result.recall == (None, None)
    same = compare_releases(bed.root, bed.params, "release/2026-01-04", "release/2026-01-04")
    assert same == replace(result, adapters=(found[0].adapters,) * 2, added=(), removed=(), answers=())


def test_a_tag_over_a_digest_of_another_layout_is_no_release(bed: Nights) -> None:
    git(bed.root, "init", "-q")
    path = bed.root / "digests/index.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "content"})
    )
    tag(bed, "release/2026-01-03")
    assert release_tags(bed.root) == []
