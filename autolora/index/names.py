"""Adapters of an index by the names that people give."""

import pyarrow as pa

from autolora.errors import MissingArtifact
from autolora.records import MIN_PREFIX_DIGITS


def find_by_name(columns: pa.Table, name: str) -> int:
    """Return the position of the adapter with a name: the beginning of its sha256, or [hub:]id[/file].

    columns: of an index. Raises MissingArtifact if no adapter has that name, or several have it.
    """
    rows = columns.select(["sha256", "hub", "id", "file"]).to_pylist()
    matches = [
        position
        for position, row in enumerate(rows)
        if (len(name) >= MIN_PREFIX_DIGITS and row["sha256"].startswith(name.lower()))
        or name.removeprefix(f"{row['hub']}:") in (row["id"], f"{row['id']}/{row['file']}")
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise MissingArtifact(
            f"the index that is searched contains no adapter '{name}': give its sha256 ({MIN_PREFIX_DIGITS} digits or "
            "more) or its id on a hub; `autolora show` says why an adapter is not in the index"
        )
    files = ", ".join(f"{rows[position]['sha256'][:8]} ({rows[position]['file']})" for position in matches)
    raise MissingArtifact(f"several adapters are called '{name}': give the sha256 of one of {files}")
