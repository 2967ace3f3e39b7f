"""Unusual and hostile files get the verdict that follows from how they were created."""

import json
from pathlib import Path

import pytest

from tests.lora.odd_files import COUNTED, ERRORS, KINDS, draw, judge, main, table

ROOT = Path(__file__).parents[2]
UNSEEN = 1000
"""number of seeds that only `make soak` runs: the reader was developed with the first seed of each kind"""


@pytest.mark.long(full=len(KINDS) + UNSEEN, sample=len(KINDS))
def test_verdict_is_as_expected(tmp_path: Path, seed: int) -> None:
    file = draw(tmp_path, seed)
    judgment = judge(file)
    assert judgment.error is None, f"{file.kind}: {judgment}"


def test_written_counts_add_up(tmp_path: Path) -> None:
    main(["--first", "7", "--count", "12", "--json", str(tmp_path / "results.json")])
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["first"], results["count"], results["totals"]["files"]) == (7, 12, 12)
    assert list(results["kinds"]) == list(KINDS[7:19])
    for row in (results["totals"], *results["kinds"].values()):
        assert row["files"] == sum(row[name] for name in COUNTED[1:])
    assert not any(results["totals"][name] for name in ERRORS)
    assert all(sum(row["verdicts"].values()) == row["files"] for row in results["kinds"].values())


def test_documentation_shows_the_results() -> None:
    results = json.loads((ROOT / "metrics/odd_files.json").read_text())
    text = (ROOT / "docs/howto/reading.md").read_text(encoding="utf-8")
    assert list(results["kinds"]) == list(KINDS)
    assert table(results["kinds"]) in text
    for name in COUNTED[1:]:
        assert f"{results['totals'][name]} {name}" in text
