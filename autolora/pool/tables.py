"""The pool's tables while the stage `pool` runs: read once, appended to in memory and on disk, written at the end."""

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from autolora.pool.store import TABLES, table_path
from autolora.records import Adapter
from autolora.storage.files import (
    Row,
    append_rows,
    read_lines,
    remove_leftovers,
    write_atomic,
    write_rows,
)
from autolora.storage.hashes import canonical_json, hash_value

KEYS = {name: "sha256" if name == "near_duplicates" else "key" for name in TABLES}
"""table -> name of the field that identifies a row"""


INEXACT = frozenset({"norm", "reason", "active", "row_hash"})
"""fields that the row hash leaves out: floating-point results, which differ between processors (the `reason` of a
near-duplicate states its cosine), and the fields that `write` adds"""


class PoolTables:
    """The rows of all tables, inactive ones included; thread-safe.

    Inactive rows stay, so that a file that the catalog lists again is neither downloaded nor read again. The lines of
    rows that do not change are kept as they are, so that a run costs little more than its new rows.
    """

    def __init__(self, root: Path) -> None:
        """Read the tables; of several rows with one key the last is used."""
        self.root = root
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self._lines: dict[str, dict[str, bytes]] = {name: {} for name in TABLES}
        self._adapters: dict[str, Adapter] = {}
        self._versions = dict.fromkeys(TABLES, 0)
        for name in TABLES:
            for line, row in read_lines(table_path(root, name)):
                self._lines[name][self._add(name, row)] = line

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Records of LoRA files by Listing.key."""
        return self._adapters

    @property
    def renderings(self) -> Mapping[str, Row]:
        """Rows of stored images (PooledRendering) by ListedRendering.key."""
        return self._rows["renderings"]

    @property
    def refused(self) -> Mapping[str, Row]:
        """Rows of refused images, with code and reason, by ListedRendering.key."""
        return self._rows["refused"]

    @property
    def near_duplicates(self) -> Mapping[str, Row]:
        """Rows of compared adapters by sha256."""
        return self._rows["near_duplicates"]

    def version(self, name: str) -> int:
        """Return a number that grows if rows are appended to a table."""
        return self._versions[name]

    def append(self, name: str, rows: Sequence[Row]) -> None:
        """Append rows to a table on disk, then in memory."""
        if rows:
            with self._lock:
                append_rows(table_path(self.root, name), rows)
                self._versions[name] += 1
                for row in rows:
                    self._lines[name].pop(self._add(name, row), None)

    def write(
        self, adapters: Mapping[str, Adapter], images: Collection[str], near_duplicates: Sequence[Row]
    ) -> dict[str, str]:
        """Write all tables, sorted by key, and return the row hashes that the digest covers, by table and key.

        adapters: the active records by key, with their final verdicts. images: keys of active images.
        near_duplicates: the rows of that table.
        """
        changed = {key: row.to_row() for key, row in adapters.items() if row is not self._adapters.get(key)}
        hashes = self._write(
            "adapters", {**self._rows["adapters"], **changed}, adapters.keys(), changed.keys()
        )
        for name in ("renderings", "refused"):
            hashes |= self._write(name, self._rows[name], images, ())
        write_rows(table_path(self.root, "near_duplicates"), near_duplicates)
        return hashes

    def _write(
        self, name: str, rows: Mapping[str, Row], active: Collection[str], changed: Collection[str]
    ) -> dict[str, str]:
        """Write a table and return the hashes of its active rows."""
        lines, hashes = [], {}
        for key, row in sorted(rows.items()):
            line = None if key in changed else self._lines[name].get(key)
            if line is None or row.get("active") != (key in active) or "row_hash" not in row:
                row = row | {"active": key in active, "row_hash": _hash(row)}
                line = canonical_json(row).encode()
            lines.append(line + b"\n")
            if row["active"]:
                hashes[f"{name}:{key}"] = row["row_hash"]
        remove_leftovers(table_path(self.root, name))
        write_atomic(table_path(self.root, name), b"".join(lines))
        return hashes

    def _add(self, name: str, row: Row) -> str:
        """Store a row and return its key."""
        key: str = row[KEYS[name]]
        self._rows[name][key] = row
        if name == "adapters":
            self._adapters[key] = Adapter.from_row(row)
        return key


def _hash(row: Row) -> str:
    """Return the hash of a row without the INEXACT fields."""
    return hash_value({name: value for name, value in row.items() if name not in INEXACT})
