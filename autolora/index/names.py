"""Adapters by the names that people give."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Self

import pyarrow as pa

from autolora.catalog.names import path_in_hub
from autolora.errors import MissingArtifact
from autolora.records import MIN_PREFIX_DIGITS
from autolora.storage.files import Row
from autolora.storage.suggestions import did_you_mean

EXPECTED = f"a sha256 ({MIN_PREFIX_DIGITS} digits or more) or an id on a hub"


class AdapterNames:
    """Finds adapters by the beginning of a sha256, or by [hub:]id[/file], without comparing a name with every row."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """rows: fields sha256 (empty if it is unknown), hub, id and file of each adapter."""
        self._labels = [f"{row['sha256'][:8]} ({row['file']})" for row in rows]
        self._files = [row["file"] for row in rows]
        self._by_sha256 = sorted((row["sha256"], position) for position, row in enumerate(rows))
        self._ids: list[tuple[str, str]] = []
        self._by_id: defaultdict[str, list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            hub, name, file = row["hub"], row["id"], row["file"]
            self._ids.append((hub, name))
            path = path_in_hub(hub, name, file)
            for form in {name, path, f"{hub}:{name}", f"{hub}:{path}"}:
                self._by_id[form].append(position)

    @classmethod
    def of_index(cls, columns: pa.Table) -> Self:
        """Return the names of the adapters of an index. columns: of the index, without the vectors."""
        return cls(columns.select(["sha256", "hub", "id", "file"]).to_pylist())

    def find_all(self, name: str) -> list[int]:
        """Return the positions of the adapters with a name, in the order of the rows."""
        return sorted({*self._by_id.get(name, ()), *self._with_prefix(name.lower())})

    def find_all_by_last_part(self, name: str) -> list[int]:
        """Return the positions of the adapters whose file or last part of the id is `name`.

        The suffix of a file may be left out. The case of letters does not count.
        """
        wanted = name.casefold()
        return [position for position, forms in enumerate(self._last_parts()) if wanted in forms]

    def find_one(self, name: str) -> int:
        """Return the position of the adapter with a name, or of the one whose last part it is.

        Raises MissingArtifact if none or several have it.
        """
        matches = self.find_all(name) or self.find_all_by_last_part(name)
        if len(matches) == 1:
            return matches[0]
        if not name.strip() or name.startswith(":"):
            raise MissingArtifact(f"the name of an adapter is empty in '{name}': give {EXPECTED}")
        if not matches:
            raise MissingArtifact(
                f"the index that is searched contains no adapter '{name}'{self.suggest(name)}: give {EXPECTED}; "
                "`autolora show` says why an adapter is not in the index"
            )
        files = ", ".join(self._labels[position] for position in matches)
        raise MissingArtifact(f"several adapters are called '{name}': give the sha256 of one of {files}")

    def suggest(self, name: str) -> str:
        """Return ` (did you mean …?)` with the ids on a hub that resemble a wrong name; empty if none does.

        A name with a hub, `hub:id`, is compared with names of that form, and one without an author with last parts too.
        Ids that are numbers are left out: nobody recognizes one, and a similar number is another model.
        """
        words = [(hub, id) for hub, id in self._ids if not id.isdecimal()]
        if ":" in name:
            return did_you_mean(name, (f"{hub}:{id}" for hub, id in words))
        return did_you_mean(name, (id for _, id in words)) or did_you_mean(
            name, (id.rpartition("/")[2] for _, id in words)
        )

    def _last_parts(self) -> Iterator[set[str]]:
        for (_, name), file in zip(self._ids, self._files, strict=True):
            path = PurePosixPath(file.casefold())
            yield {name.casefold().rpartition("/")[2], path.name, path.stem}

    def _with_prefix(self, prefix: str) -> list[int]:
        """Return the positions of the adapters whose sha256 begins with a prefix; none for a short one."""
        if len(prefix) < MIN_PREFIX_DIGITS:
            return []
        first = bisect_left(self._by_sha256, prefix, key=itemgetter(0))
        last = bisect_left(self._by_sha256, f"{prefix}g", key=itemgetter(0))  # g follows the hex digits
        return [position for _, position in self._by_sha256[first:last]]
