"""Adapters of an index by the names that people give."""

from collections.abc import Sequence

import pyarrow as pa

from autolora.errors import MissingArtifact
from autolora.records import MIN_PREFIX_DIGITS
from autolora.storage.files import Row

EXPECTED = f"a sha256 ({MIN_PREFIX_DIGITS} digits or more) or an id on a hub"


def named_rows(columns: pa.Table) -> list[Row]:
    """Return the columns of an index from which adapters have their names, for `find_all`."""
    rows: list[Row] = columns.select(["sha256", "hub", "id", "file"]).to_pylist()
    return rows


def find_all(rows: Sequence[Row], name: str) -> list[int]:
    """Return the positions of the adapters with a name: the beginning of a sha256, or [hub:]id[/file]."""
    return [
        position
        for position, row in enumerate(rows)
        if (len(name) >= MIN_PREFIX_DIGITS and row["sha256"].startswith(name.lower()))
        or name.removeprefix(f"{row['hub']}:") in (row["id"], f"{row['id']}/{row['file']}")
    ]


def find_one(rows: Sequence[Row], name: str) -> int:
    """Return the position of the adapter with a name. Raises MissingArtifact if none or several have it."""
    matches = find_all(rows, name)
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise MissingArtifact(
            f"the index that is searched contains no adapter '{name}': give {EXPECTED}; `autolora show` says why an "
            "adapter is not in the index"
        )
    files = ", ".join(f"{rows[position]['sha256'][:8]} ({rows[position]['file']})" for position in matches)
    raise MissingArtifact(f"several adapters are called '{name}': give the sha256 of one of {files}")
