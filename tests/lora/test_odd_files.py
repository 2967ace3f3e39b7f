"""Odd and hostile files are accepted or refused as they should be, each by the truth of how it was made."""

import json
from pathlib import Path

import pytest

from tests.lora.odd_files import COUNTED, KINDS, MISSES, draw, judge, main, table

ROOT = Path(__file__).parents[2]
UNSEEN = 1000
"""seeds that nothing but `make soak` runs: the reader was developed on the first of each kind"""


@pytest.mark.long(full=len(KINDS) + UNSEEN, sample=len(KINDS))
def test_verdict_is_the_truth(tmp_path: Path, seed: int) -> None:
    odd = draw(tmp_path, seed)
    said = judge(odd)
    assert said.miss is None, f"{odd.kind}: {said}"


def test_what_is_written_down_adds_up(tmp_path: Path) -> None:
    main(["--first", "7", "--count", "12", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["first"], found["count"], found["totals"]["files"]) == (7, 12, 12)
    assert list(found["kinds"]) == list(KINDS[7:19])
    for row in (found["totals"], *found["kinds"].values()):
        assert row["files"] == sum(row[name] for name in COUNTED[1:])
    assert not any(found["totals"][name] for name in MISSES)
    assert all(sum(row["verdicts"].values()) == row["files"] for row in found["kinds"].values())


def test_the_documentation_shows_the_results() -> None:
    found = json.loads((ROOT / "metrics/odd_files.json").read_text())
    text = (ROOT / "docs/howto/reading.md").read_text(encoding="utf-8")
    assert list(found["kinds"]) == list(KINDS)
    assert table(found["kinds"]) in text
    for name in COUNTED[1:]:
        assert f"{found['totals'][name]} {name}" in text
