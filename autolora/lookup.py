"""Everything we know about one adapter, found by its sha256 or its name on a hub, and what hubs say in words."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora import dataset, pool
from autolora.captions import captions
from autolora.catalog import entries
from autolora.errors import MissingArtefact
from autolora.origins import Origins
from autolora.records import Adapter, Caption, Listing, Permissions

SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One adapter: as its hubs list it, as we found it, and what was made of it."""

    entries: tuple[Listing, ...]
    """every entry of the file in the catalog; queued and withdrawn ones too"""
    adapter: Adapter | None
    """None while the pool has not looked at the file"""
    split: str | None
    """train, test, or None: the models have not seen it"""
    captions: tuple[Caption, ...]

    @property
    def origins(self) -> Origins:
        """Where it is listed; where it was, if it is nowhere any more."""
        alive = tuple(row for row in self.entries if row.status != "withdrawn")
        return Origins(tuple(sorted(alive or self.entries, key=lambda row: row.first_seen)))

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        named = self.origins.named
        if not any(row.on_the_road for row in self.entries):
            return f"none: {stands(named)}"
        if self.adapter is None:
            return "not looked at yet: run `dvc repro pool`"
        if self.adapter.accepted:
            return "accepted"
        return f"refused ({self.adapter.verdict}): {self.adapter.reason}"


def lookup(root: Path, name: str) -> Known:
    """Find an adapter by the first digits of its sha256 (6 or more), or by a hub's name for it.

    Raises MissingArtefact when none or several match.
    """
    adapters = pool.adapters(root)
    files: defaultdict[str, list[Listing]] = defaultdict(list)
    for row in entries(root):
        files[_file(row, adapters)].append(row)
    matches = {
        file: rows for file, rows in files.items() if any(_matches(row, adapters, name) for row in rows)
    }
    if not matches:
        raise MissingArtefact(
            f"no adapter '{name}' in data/catalog.jsonl: "
            f"name a sha256 ({SHORTEST_PREFIX} digits or more) or a hub id (author/name)"
        )
    if len(matches) > 1:
        several = ", ".join(f"{row.hub}:{row.id}/{row.file}" for rows in matches.values() for row in rows)
        raise MissingArtefact(
            f"'{name}' is the name of several adapters: {several}; name one as this list does, or by its sha256"
        )
    (rows,) = matches.values()
    return _known(root, rows, adapters)


def says(row: Listing) -> str:
    """Return in words what one hub says of a file."""
    said = [f"{row.hub}:{row.id}/{row.file}: {stands(row)}"]
    if row.status != "withdrawn":
        said += [
            f"licence {row.licence or 'unknown'} ({permits(row.permissions)})",
            f"base model {row.base_model or 'unknown'}",
            f"not safe for work: {row.nsfw_level or ('yes' if row.nsfw else 'not said')}",
        ]
    return "; ".join(said)


def permits(permissions: Permissions) -> str:
    """Return permissions in words."""
    return ", ".join(
        (
            f"commercial use {_words(permissions.commercial, 'allowed', 'not allowed')}",
            f"derivatives {_words(permissions.derivatives, 'allowed', 'not allowed')}",
            f"naming the author {_words(permissions.credit, 'required', 'not required')}",
        )
    )


def stands(row: Listing) -> str:
    """Return in words how an entry stands."""
    words = {
        "listed": "listed",
        "queued": "waits for a night's budget",
        "missing": "missing from its hub's list, but still there",
        "withdrawn": f"withdrawn, noticed on {row.withdrawn}",
    }
    stale = f", its hub could not be asked since {row.stale_since}" if row.stale_since else ""
    return words[row.status] + stale


def shows(flag: bool | None) -> str:
    """Return in words whether it shows somebody."""
    return _words(flag, "yes", "no")


def _words(value: bool | None, yes: str, no: str) -> str:
    return "not said" if value is None else yes if value else no


def _file(row: Listing, adapters: Mapping[str, Adapter]) -> str:
    """Return what a file is known by: the sha256 of what was downloaded, else as the hub tells."""
    adapter = adapters.get(row.key)
    return adapter.sha256 if adapter else row.key


def _matches(row: Listing, adapters: Mapping[str, Adapter], name: str) -> bool:
    short = {row.id, f"{row.id}/{row.file}"}
    names = short | {f"{row.hub}:{name}" for name in short}
    file = _file(row, adapters)
    return name in names or (len(name) >= SHORTEST_PREFIX and file.startswith(name.lower()))


def _known(root: Path, rows: list[Listing], adapters: Mapping[str, Adapter]) -> Known:
    pooled = pool.renderings(root)
    adapter = next((adapters[row.key] for row in rows if row.key in adapters), None)
    images = {pooled[item.key].sha256 for row in rows for item in row.renderings if item.key in pooled}
    splits = {row.sha256: row.split for row in dataset.training(root).rows}
    return Known(
        entries=tuple(rows),
        adapter=adapter,
        split=splits.get(adapter.sha256) if adapter else None,
        captions=tuple(caption for caption in captions(root) if caption.image in images),
    )
