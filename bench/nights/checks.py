"""The checks after the month: the verdicts, each release from a fresh clone, and a rebuild from the same catalog."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autolora.catalog import takedowns
from autolora.index.served import open_copy_of, open_index
from autolora.index.store import content_digest
from autolora.releases.tags import release_tags
from autolora.storage.arrays import Float32Array
from bench.nights.diary import Entry, read_scores, scores
from bench.nights.site import Site
from playground.repository import Repository

REBUILT = ("code", "pool", "drawings", "captions", "dataset", "index")
COMPARED = REBUILT[1:]
"""stages whose digests are compared; that of the index has no floats"""
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the month has shown."""

    false_promotions: tuple[str, ...]
    false_refusals: tuple[str, ...]
    other: tuple[str, ...]
    """nights that ended otherwise than planned, but were neither"""
    releases: int
    release_change: float
    """largest change of a cosine between a release on its night and from a fresh clone"""
    wrong_releases: tuple[str, ...]
    """tags from which a fresh clone answers otherwise"""
    rebuild_change: float
    """largest difference of a vector's number from that of a rebuild"""
    rebuild_differs: tuple[str, ...]
    """stages whose digest differs from that of the rebuild"""


def check(site: Site, entries: Sequence[Entry], day: int) -> Findings:
    """Return the findings. day: of the last night."""
    changes = dict(_release_changes(site, day))
    rebuild_change, differing = _compare_rebuild(site, day)
    wrong = [entry for entry in entries if entry.verdict != entry.expected]
    promoted = [entry for entry in wrong if entry.verdict == "promoted"]
    refused = [entry for entry in wrong if (entry.expected, entry.verdict) == ("promoted", "refused")]
    return Findings(
        false_promotions=_named(promoted),
        false_refusals=_named(refused),
        other=_named([entry for entry in wrong if entry not in (*promoted, *refused)]),
        releases=len(changes),
        release_change=max(changes.values(), default=0.0),
        wrong_releases=tuple(tag for tag, change in changes.items() if not change <= TOLERANCE),
        rebuild_change=rebuild_change,
        rebuild_differs=differing,
    )


def _named(entries: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(f"{entry.night}, {entry.what}: {entry.verdict}" for entry in entries)


def _release_changes(site: Site, day: int) -> Iterator[tuple[str, float]]:
    """Yield each tag, and the largest change of its cosines in a fresh clone; infinite if its adapters differ.

    Adapters that were taken down since are left out.
    """
    clone = _clone(site, "clone", day)
    erased = takedowns.read(site.root).weights
    for tag in release_tags(site.root):
        clone.run("git", "checkout", "-q", "--force", tag.name, day=day)
        clone.run("dvc", "pull", "-q", "--force", day=day)
        shutil.rmtree(clone.root / "cache", ignore_errors=True)
        before, after = read_scores(site.folder, tag.index), scores(clone.root, open_index(clone.root))
        yield tag.name, _largest_difference(_without(before, erased), _without(after, erased))


def _without(values: Mapping[str, Float32Array], names: Collection[str]) -> dict[str, Float32Array]:
    return {name: value for name, value in values.items() if name not in names}


def _compare_rebuild(site: Site, day: int) -> tuple[float, tuple[str, ...]]:
    """Build captions, dataset and index again, from the catalog, the pool's batches and the encoder.

    Returns the largest difference of a vector's number, and the stages whose digests differ. The encoder is that of
    the first night: a training would do without the locked adapters that have left since.
    """
    clone = _clone(site, "rebuild", day)
    batches = [str(path.relative_to(clone.root)) for path in clone.root.glob("data/pool/batches/*.dvc")]
    clone.run("dvc", "pull", "-q", "encoder", *batches, day=day)
    (clone.root / "dvc.lock").unlink()
    with site.captioner.running(site.captioner_port):
        clone.run("dvc", "repro", "--single-item", *REBUILT, day=day)
    same = [_digest(site.root, name) == _digest(clone.root, name) for name in COMPARED]
    vectors = (dict(_vectors(root)) for root in (site.root, clone.root))
    differing = tuple(name for name, is_same in zip(COMPARED, same, strict=True) if not is_same)
    return _largest_difference(*vectors), differing


def _largest_difference(before: Mapping[str, Float32Array], after: Mapping[str, Float32Array]) -> float:
    if before.keys() != after.keys():
        return float("inf")
    return max((float(np.abs(before[name] - after[name]).max()) for name in before), default=0.0)


def _clone(site: Site, name: str, day: int) -> Repository:
    root = site.folder / name
    shutil.rmtree(root, ignore_errors=True)
    site.command("git", "clone", "-q", str(site.folder / "origin"), str(root), day=day)
    return replace(site.repository, root=root)


def _digest(root: Path, stage: str) -> str:
    return str(json.loads((root / "digests" / f"{stage}.json").read_text())["sha256"])


def _vectors(root: Path) -> Iterator[tuple[str, Float32Array]]:
    """Yield sha256 and vector of each adapter of the working index."""
    index = open_copy_of(root, content_digest(root))
    yield from zip(index.rows.columns.column("sha256").to_pylist(), index.weights_vectors, strict=True)
