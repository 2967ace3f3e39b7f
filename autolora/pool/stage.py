"""Taking stock of the pool: what the catalog wants of it, what is missing, and the digest of what is there."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path

from autolora.catalog import failed_downloads
from autolora.catalog.failed_downloads import Setback
from autolora.catalog.sources import Origins, Shown, shown
from autolora.catalog.store import catalog
from autolora.errors import HubError, NotGiven
from autolora.hubs.http.partial import keep_parts
from autolora.pool import store as pool
from autolora.pool.near_duplicates import NEAR, alike, alike_rows, compare, gather, is_read, settle
from autolora.pool.recipe import Terms
from autolora.records import ACCEPTED, Adapter
from autolora.storage.files import Row, canonical_json, hash_value, room, write_atomic, write_rows
from autolora.storage.incremental import pending, write_digest

SCHEMA = 2
"""version of the row layout"""
NAMED_IN_ERRORS = 10
NOT_ASKED = "not asked for, since too many before it in a row could not be had"


class Stock:
    """The pool held against the catalog, which is read once."""

    def __init__(self, root: Path, terms: Terms) -> None:
        """Read the catalog; raises MissingArtifact where there is none."""
        self._root, self._terms = root, terms
        self._listings = catalog(root)
        self._files = gather(self._listings)
        self._had, self._setbacks = _had(root), failed_downloads.read(root)

    def hubs(self) -> list[str]:
        """Return the names of the hubs that the catalog's files come from."""
        return sorted({listing.hub for listing in self._listings})

    def missing_adapters(self) -> list[Origins]:
        """Return the files that the pool has not read on these terms yet, in the order of `_turn`."""
        wanted = {(key, self._terms.recipe): origins for key, origins in self._files.items()}
        return [
            wanted[key] for key in sorted(pending(wanted, _done_adapters(self._root)).add, key=self._turn)
        ]

    def missing_renderings(self) -> list[Shown]:
        """Return the pictures of accepted adapters that the pool lacks, in the order of `_turn`."""
        wanted = self._pictures(self.rows())
        missing = pending(wanted, _done_renderings(self._root)).add
        return [wanted[key] for key in sorted(missing, key=lambda key: self._turn((key,)))]

    def _turn(self, key: tuple[str, ...]) -> tuple[object, ...]:
        """Return a place in the order of what is asked for: what was asked for in vain comes last, so that it cannot
        keep a hub from being asked for the rest."""
        before = self._setbacks.get(key[0])
        return before.nights if before else 0, *key

    def compare_newcomers(self) -> int:
        """Find out which adapters that are new are like another, and return how many were new."""
        with room(pool.folder(self._root)):
            return compare(self._root, _sketched(self._readings()), self._terms)

    def rows(self) -> dict[str, Adapter]:
        """Return the rows of the catalog's files that were read on these terms, by Listing.key, sorted;
        near-duplicates are told from originals."""
        return settle(self._readings(), self._files, alike(self._root, self._terms))

    def finish(self, today: date, failures: Sequence[BaseException] = ()) -> None:
        """Keep rows and files of exactly what the catalog wants, and write the digest.

        failures: what stopped downloads. Where something is missing, all that is there is kept: raises what was not
        NotGiven among them, or notes the setbacks and raises HubError that names them.
        """
        rows = self.rows()
        files, pictures = self.missing_adapters(), self.missing_renderings()
        with room(pool.folder(self._root)):
            keep_parts(pool.incoming(self._root), _urls(files, pictures))
            self._note_setbacks(files, pictures, failures, today)
            kept = _sweep(self._root, self._wanted_files(rows))
            tables = self._write_tables(rows)
            _write_note(self._root, kept | {"refused": [row["key"] for row in tables["refused"]]})
            _write_digest(self._root, tables)

    def _note_setbacks(
        self,
        files: Sequence[Origins],
        pictures: Sequence[Shown],
        failures: Sequence[BaseException],
        today: date,
    ) -> None:
        """Note what is missing. Raises the failure that is no hub's, else HubError where something is missing."""
        reasons: dict[str, str] = {}
        for failure in failures:
            if not isinstance(failure, NotGiven):
                raise failure
            reasons |= failure.reasons
        named = [(one.named, one.named.key, f"{one.named.id}/{one.named.file}") for one in files]
        named += [(one.named[0], one.key, one.named[1].url) for one in pictures]
        found = [
            Setback(
                key=key, hub=row.hub, id=row.id, name=name, why=reasons.get(key, NOT_ASKED),
                had=key in self._had, nights=int(key in reasons), last=today,
            )
            for row, key, name in named
        ]  # fmt: skip
        failed_downloads.note(self._root, found, self._files.keys() | shown(self._listings).keys(), today)
        if found:
            raise _set_back(found)

    def _readings(self) -> dict[str, Adapter]:
        """Return the rows as they were read."""
        rows, recipe = pool.adapters(self._root), self._terms.recipe
        return {key: rows[key] for key in sorted(self._files) if key in rows and rows[key].recipe == recipe}

    def _pictures(self, rows: Mapping[str, Adapter]) -> dict[str, Shown]:
        """Return the pictures of accepted files by key."""
        return shown(row for row in self._listings if row.key in rows and rows[row.key].accepted)

    def _write_tables(self, rows: Mapping[str, Adapter]) -> dict[str, list[Row]]:
        """Write the tables, sorted by key, where they are not so yet; return those that the digest is of."""
        pictures = sorted(self._pictures(rows))
        shown, refused = pool.renderings(self._root), pool.refused_renderings(self._root)
        tables = {
            "adapters": [row.to_row() for row in rows.values()],
            "renderings": [asdict(shown[key]) for key in pictures if key in shown],
            "refused": [asdict(refused[key]) for key in pictures if key in refused],
        }
        near = alike_rows(alike(self._root, self._terms), _sketched(rows), self._terms)
        for name, table in (*tables.items(), ("alike", near)):
            _write_table(pool.table_path(self._root, name), table, keep=name in pool.TRACKED)
        return tables

    def _wanted_files(self, rows: Mapping[str, Adapter]) -> dict[str, set[Path]]:
        """Return which files each folder should hold; weights of a file that is still to be read are wanted."""
        root, shown = self._root, pool.renderings(self._root)
        images = {shown[key].sha256 for key in self._pictures(rows).keys() & shown.keys()}
        unread = {one.sha256 for one in self._listings if one.sha256 and one.key not in rows}
        sketched = _sketched(rows)
        return {
            "weights": {pool.weights_path(root, sha256) for sha256 in sketched | unread},
            "sketches": {pool.sketch_path(root, sha256) for sha256 in sketched},
            "renderings": {pool.rendering_path(root, sha256) for sha256 in images},
        }


def _done_adapters(root: Path) -> set[tuple[str, str]]:
    """Return key and recipe of the files that were read and whose weights and sketch are there."""
    return {
        (key, row.recipe)
        for key, row in pool.adapters(root).items()
        if not is_read(row) or _has_files(root, row.sha256)
    }


def _had(root: Path) -> set[str]:
    """Return the keys of the files and pictures that the pool has looked at."""
    tables = pool.adapters(root), pool.renderings(root), pool.refused_renderings(root)
    return {key for table in tables for key in table}


def _has_files(root: Path, sha256: str) -> bool:
    return pool.weights_path(root, sha256).exists() and pool.sketch_path(root, sha256).exists()


def _done_renderings(root: Path) -> set[str]:
    """Return the keys of the pictures that were refused, or accepted and are there."""
    shown = pool.renderings(root).items()
    return pool.refused_renderings(root).keys() | {
        key for key, row in shown if pool.rendering_path(root, row.sha256).exists()
    }


def _sketched(rows: Mapping[str, Adapter]) -> set[str]:
    """Return the sha256 of the files that have a sketch."""
    return {row.sha256 for row in rows.values() if is_read(row)}


def _urls(files: Iterable[Origins], pictures: Iterable[Shown]) -> Iterator[str]:
    yield from (listing.url for origins in files for listing in origins.listings)
    yield from (rendering.url for picture in pictures for _, rendering in picture.places)


def _write_table(path: Path, table: Sequence[Row], keep: bool) -> None:
    """Write a table; remove one that is empty unless it is to be kept."""
    if table or keep:
        write_rows(path, table)
    else:
        path.unlink(missing_ok=True)


def _sweep(root: Path, wanted: Mapping[str, set[Path]]) -> dict[str, list[str]]:
    """Remove files that no row stands for, also those of a killed run, and folders that this empties; return the
    rest by folder, sorted."""
    kept = {}
    for name in pool.FOLDERS:
        names = {f"{path.parent.name}/{path.name}" for path in wanted[name]}
        found = set(_files(pool.folder(root) / name))
        for stray in found - names:
            path = pool.folder(root) / name / stray
            path.unlink()
            with suppress(OSError):  # others are in it
                path.parent.rmdir()
        kept[name] = sorted(found & names)
    return kept


def _write_note(root: Path, kept: Mapping[str, Sequence[str]]) -> None:
    """Write down what is kept and not DVC's: how many of each kind, and which in one number."""
    note = {name: len(files) for name, files in kept.items()} | {"sha256": hash_value(kept)}
    write_atomic(pool.note_path(root), canonical_json(note) + "\n")


def _files(folder: Path) -> Iterator[str]:
    """Yield the files of a folder of folders: ab/name."""
    if folder.is_dir():
        for shard in os.scandir(folder):
            yield from (f"{shard.name}/{entry.name}" for entry in os.scandir(shard.path))


def _write_digest(root: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    hashes = {f"{name}:{row['key']}": hash_value(row) for name, table in tables.items() for row in table}
    verdicts = [row["verdict"] for row in tables["adapters"]]
    counts = {"accepted": verdicts.count(ACCEPTED), "near_duplicates": verdicts.count(NEAR)}
    refused = len(verdicts) - sum(counts.values())
    write_digest(
        root, "pool", hashes, SCHEMA, **counts, refused=refused, renderings=len(tables["renderings"])
    )


def _set_back(found: Sequence[Setback]) -> HubError:
    """Return the error for what is missing."""
    names = sorted(one.name for one in found)
    more = f" and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else ""
    reasons = " | ".join([*dict.fromkeys(one.why for one in found)][:NAMED_IN_ERRORS])
    return HubError(
        f"not in the pool, but in the catalog: {', '.join(names[:NAMED_IN_ERRORS])}{more} ({reasons}). "
        "What could be had is kept. Run `dvc repro` again to fetch the rest; or crawl again "
        "(`dvc repro --force --single-item crawl`, a refresh does), which sets aside what is new and could not be had"
    )
