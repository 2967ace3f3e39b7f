"""The record of the last refresh."""

from pathlib import Path

import pytest

from autolora.errors import MismatchError
from autolora.refresh.outcomes import Outcome
from autolora.refresh.record import MAX_RECORDED, RefreshRecord, read_refresh, write_refresh
from tests.support.synthetic_repo import DAY


def test_record_names_the_first_files_of_each_kind_and_counts_all(tmp_path: Path) -> None:
    assert read_refresh(tmp_path) is None
    rows = [Outcome(kind="accepted", name=f"h:{n}", sha256="a" * 64) for n in range(MAX_RECORDED + 3)]
    rows.append(Outcome(kind="refused", name="h:bad", sha256=None, code="pickle", reason="r", remedy="s"))
    write_refresh(tmp_path, RefreshRecord.of(DAY, "d" * 64, 7, rows, ["a hub is stale"]))
    record = read_refresh(tmp_path)
    assert record is not None
    assert record.counts == {"accepted": MAX_RECORDED + 3, "refused": 1}
    assert len(record.outcomes) == MAX_RECORDED + 1 and record.outcomes[-1] == rows[-1]
    assert (record.day, record.adapters, record.problems) == (DAY, 7, ("a hub is stale",))


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"day": "2026-01-01"}'])
def test_damaged_record_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/refresh.json").write_text(text)
    with pytest.raises(
        MismatchError, match=r"data/refresh\.json is not the record of a refresh.*git checkout"
    ):
        read_refresh(tmp_path)
