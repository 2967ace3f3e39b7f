"""Tables: rows selected by the values of a column."""

from pathlib import Path

import pyarrow as pa
import pytest

from autolora.errors import MissingArtifact
from autolora.storage.tables import read_where, sync_table

COLUMNS = {"id": pa.string(), "image": pa.string()}
ROWS = {"b": {"image": "x"}, "a": {"image": "it's"}, "c": {"image": "x"}}


@pytest.mark.parametrize(
    ("name", "values", "ids"),
    [
        ("image", ["x"], ["b", "c"]),
        ("image", ["it's", "x"], ["a", "b", "c"]),
        ("id", ["c", "other"], ["c"]),
        ("id", [], []),
    ],
)
def test_rows_with_one_of_the_values_are_read(
    tmp_path: Path, name: str, values: list[str], ids: list[str]
) -> None:
    sync_table(tmp_path, "captions", COLUMNS, ROWS)
    rows = read_where(tmp_path, "captions", ["id", "image"], name, values)
    assert rows == [{"id": id, **ROWS[id]} for id in ids]


def test_missing_table_or_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="does not contain the table"):
        read_where(tmp_path, "captions", ["id"], "id", ["a"])
    sync_table(tmp_path, "captions", COLUMNS, ROWS)
    with pytest.raises(MissingArtifact, match="cannot read table"):
        read_where(tmp_path, "captions", ["id"], "text", ["a"])
