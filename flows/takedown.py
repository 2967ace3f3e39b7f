"""Takedown: erase the weights and images of adapters from the pool, DVC's cache and all remotes, and keep them out.

    autolora takedown NAME … --reason TEXT            # print what would be erased
    autolora takedown NAME … --reason TEXT --apply    # erase it
    autolora takedown --apply                         # complete all takedowns of data/takedowns.jsonl here
    autolora takedown --prove [NAME …]                # print what is left of them, and where (flows/proof.py)

The list is written first, and each step does only what is missing, so that the next run completes a killed one.
"""

import argparse
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import yaml

from autolora.captions.store import ENCODED, captions_path, read_captions
from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.diff import keep_baseline
from autolora.catalog.names import full_name
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.clock import today
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.index.served import num_left_out, open_index
from autolora.integrity.dvc_records import folder_md5
from autolora.pool import batches
from autolora.pool import store as pool
from autolora.pool.evicted import fetched_folder
from autolora.pool.takedown import Scope, find_scope, orphaned_images
from autolora.records import Listing
from autolora.releases.checks import GATE, record
from autolora.releases.gate import judge_former
from autolora.report import page
from autolora.storage.files import MB, write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.lock import exclusive_lock
from autolora.web.thumbnails import FOLDER as WEB_IMAGES
from autolora.wording import counted
from flows import dvc, proof
from flows.dvc_objects import FolderVersions, empty_file, open_stores
from flows.stage import ROOT, reason_of, run

T = TypeVar("T")
KINDS = {"weights": "weights", "rendering": "renderings"}
"""kind of a takedown -> kind of files in a batch"""
COMMITTED = "data/takedowns.jsonl data/catalog data/pool dvc.lock"
"""what a takedown changes in git, as pathspecs for a shell"""


@dataclass(frozen=True, slots=True)
class Copy:
    """One place that holds the content of a file or image."""

    place: str
    size: int
    """bytes"""
    erase: Callable[[], object]


class Erasure:
    """The erasure of all listed files and images, as far as it is not done yet."""

    def __init__(self, listed: Takedowns) -> None:
        """Find the objects in DVC's cache and remotes; a store or batch that cannot be read becomes a problem."""
        self.stores, self.problems = open_stores()
        self._versions: dict[str, FolderVersions] = {}
        self._files: defaultdict[str, set[str]] = defaultdict(set)
        self.listed = Takedowns(tuple(self._with_objects(row) for row in listed.rows))

    def copies(self) -> list[Copy]:
        """Return the places that hold content, in the working tree and in all stores."""
        copies = list(_copies_in_tree(self.listed.rows))
        copies += self._try(lambda: list(_encoded_captions(self.listed.rows))) or []
        for oid in sorted({md5 for row in self.listed.rows for md5 in row.md5}):
            for store in self.stores:
                if size := self._try(partial(store.size, oid)):
                    copies.append(Copy(store.name, size, partial(store.empty, oid)))
        return copies

    def apply(self) -> list[Copy]:
        """Write the list, withdraw the listings, and erase all content; return the copies that were erased.

        The next refresh reports the takedown, because the snapshot that its report starts from is stored first.

        Raises AutoLoraError if something could not be erased, after everything else was.
        """
        keep_baseline(ROOT)
        takedowns.write(ROOT, self.listed)
        withdraw_listings(self.listed)
        copies = self.copies()
        for batch, versions in self._versions.items():
            self._try(partial(versions.set_empty, self._files[batch]))
        for copy in copies:
            self._try(copy.erase)
        if self.problems:
            raise AutoLoraError(
                f"the takedown is not complete: {' | '.join(dict.fromkeys(self.problems))}. What can be reached is "
                "erased; correct the cause, then run `autolora takedown --apply`"
            )
        return copies

    def _with_objects(self, row: Takedown) -> Takedown:
        """Return the takedown with the md5 of all versions of its file."""
        kind = KINDS[row.kind]
        batch = batches.members(ROOT)[kind].get(row.sha256 or "")
        if batch is None:
            return row
        file = f"{kind}/{row.sha256}{batches.SUFFIXES[kind]}"
        folder = batches.batches_folder(ROOT) / batch
        versions = self._versions.setdefault(batch, FolderVersions(folder, self.stores))
        self._files[batch].add(file)
        return replace(row, md5=tuple(sorted({*row.md5, *(self._try(partial(versions.md5s, file)) or ())})))

    def _try(self, step: Callable[[], T]) -> T | None:
        """Run a step; if it fails, record the problem and return None."""
        try:
            return step()
        except (AutoLoraError, OSError) as error:
            self.problems.append(str(error))
            return None


def withdraw_listings(listed: Takedowns) -> None:
    """Withdraw the listings of the files in the catalog, and remove the images from the others.

    dvc.lock records the new catalog first, because DVC would otherwise crawl the hubs to restore the former one.
    """
    before = catalog.read_all_or_empty(ROOT)
    after = [listed.apply(listing) for listing in before]
    if after == before:
        return
    _record_catalog(after)
    catalog.write(ROOT, after)


def describe(scope: Scope) -> Iterator[str]:
    """Yield the lines on what a takedown covers."""
    names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in scope.rows:
        is_file = row.kind == "weights"
        shown = full_name(row.hub, row.id, row.file) if is_file else f"shown by {row.hub}:{row.id}"
        names[row.kind, row.sha256 or "not downloaded"].append(shown if row.hub else "not in the catalog")
    for (kind, sha256), listings in names.items():
        yield f"{kind} {sha256}: {', '.join(dict.fromkeys(listings))}"
    for sha256, names_of_others in scope.kept_images.items():
        yield f"kept: rendering {sha256}, which {names_of_others} shows too"
    for sha256, own in scope.near_duplicates.items():
        yield f"kept: weights {sha256} ({own}), which are nearly the same; take them down too if the reason applies"


def summarize(copies: Iterable[Copy], verb: str) -> Iterator[str]:
    """Yield one line per place: number and size of the copies."""
    by_place: defaultdict[str, list[int]] = defaultdict(list)
    for copy in copies:
        by_place[copy.place].append(copy.size)
    for place, sizes in by_place.items():
        yield f"{verb} in {place}: {counted(len(sizes), 'file', 'files')}, {sum(sizes) / MB:.3f} MB"
    if not by_place:
        yield "nothing to erase: no copy has content"


def _copies_in_tree(rows: Sequence[Takedown]) -> Iterator[Copy]:
    """Yield the pool's files and reduced images that hold content.

    A file of a batch is emptied, because the version of the batch lists it; others are removed.
    """
    names = {f"{row.sha256}{batches.SUFFIXES[KINDS[row.kind]]}" for row in rows if row.sha256}
    for path in pool.folder(ROOT).rglob("*"):
        if path.name in names and path.is_file() and (size := path.stat().st_size):
            is_in_batch = batches.batches_folder(ROOT) in path.parents
            yield Copy("data/pool", size, partial(empty_file, path) if is_in_batch else path.unlink)
    for path in fetched_folder(ROOT).rglob("*"):
        if path.name in names or path.name.startswith("."):  # or one that a killed fetch left unfinished
            yield Copy("cache/fetched", path.stat().st_size, path.unlink)
    images = {row.sha256 for row in rows if row.kind == "rendering" and row.sha256}
    for path in (ROOT / WEB_IMAGES).rglob("*"):
        if path.stem in images:
            yield Copy(WEB_IMAGES.as_posix(), path.stat().st_size, path.unlink)


def _encoded_captions(rows: Sequence[Takedown]) -> Iterator[Copy]:
    """Yield what trainings have kept of the images' captions. Raises MissingArtifact if the captions are damaged."""
    images = {row.sha256 for row in rows if row.kind == "rendering" and row.sha256}
    captions = read_captions(ROOT) if captions_path(ROOT).exists() else []
    texts = {hash_value(caption.text) for caption in captions if caption.image in images}
    for path in (ROOT / ENCODED).rglob("*.safetensors"):
        if path.name.partition("-")[0] in texts:
            yield Copy(ENCODED.as_posix(), path.stat().st_size, path.unlink)


def _record_catalog(listings: Iterable[Listing]) -> None:
    """Record the next catalog in dvc.lock as the output of `crawl`, if the lock records the current one."""
    lock = ROOT / "dvc.lock"
    if not lock.exists():
        return
    text = lock.read_text()
    stages: Mapping[str, Mapping[str, list[dict[str, str]]]] = yaml.safe_load(text).get("stages", {})
    recorded = {out["path"]: out["md5"] for out in stages.get("crawl", {}).get("outs", ())}
    former = _folder_md5({path.name: path.read_bytes() for path in catalog.catalog_files(ROOT)})
    if recorded.get(catalog.FOLDER) != former:
        return
    files = {Path(name).name: content.encode() for name, content in catalog.contents(listings).items()}
    start = text.index("\n  crawl:\n")
    recorded_new = rf"md5: {_folder_md5(files)}\n\g<1>size: {sum(map(len, files.values()))}"
    replaced = re.sub(rf"md5: {re.escape(former)}\n( +)size: \d+", recorded_new, text[start:], count=1)
    write_atomic(lock, text[:start] + replaced)


def _folder_md5(files: Mapping[str, bytes]) -> str:
    """Return the md5 that DVC records of a folder, given the content of each of its files."""
    md5s = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    return folder_md5(md5s)


def _print(line: str) -> None:
    print(f"[takedown] {line}")


def take_down(names: Sequence[str], reason: str, is_applied: bool) -> None:
    """Print what a takedown covers, and erase it if `is_applied`."""
    listed = takedowns.read(ROOT)
    if names:
        scope = find_scope(ROOT, names, reason, today(), listed)
        listed = listed.with_rows(scope.rows)
        for line in describe(scope):
            _print(line)
    orphaned = orphaned_images(ROOT, listed, today())
    for sha256, reason_of_image in {row.sha256: row.reason for row in orphaned}.items():
        _print(f"rendering {sha256}: {reason_of_image}")
    listed = listed.with_rows(orphaned)
    erasure = Erasure(listed)
    if not is_applied:
        for line in (*summarize(erasure.copies(), "would be erased"), *erasure.problems):
            _print(line)
        _print("nothing was changed; add --apply to erase")
        return
    for line in summarize(erasure.apply(), "erased"):
        _print(line)
    write_report()
    judge_served(f"takedown of {', '.join(names)}: {reason}" if names else "takedowns of the list")
    _print("now run these commands; the last removes what was made from the files:")
    changed = f"{COMMITTED} {GATE}" if (ROOT / GATE).exists() else COMMITTED
    for command in (f"git add {changed}", 'git commit -m "Take down"', "autolora refresh"):
        _print(f"    {command}")


def write_report() -> None:
    """Write the report again if there is one, since it may show the images; delete it if it cannot be written."""
    path = ROOT / "reports" / "index.html"
    if path.exists():
        try:
            page.assemble(ROOT)
        except Exception as error:  # whatever it is, the page must not go on showing what was taken down
            path.unlink()
            _print(
                f"deleted {path.relative_to(ROOT)}, which the next refresh writes again: {reason_of(error)}"
            )


def judge_served(reason: str) -> None:
    """Have the gate check the served index as searches read it from now on, keep its decision, and print it.

    Raises AutoLoraError if a search still finds what was taken down.
    """
    try:
        index = open_index(ROOT)
    except MissingArtifact as error:
        _print(f"no search answers: {error}")
        return
    decision = judge_former(ROOT, index, reason, today())
    record(ROOT, decision if decision.refusals else replace(decision, verdict="taken down"))
    if decision.refusals:
        raise AutoLoraError(
            f"index {index.digest[:12]} still answers with what was taken down, or is damaged: "
            f"{'; '.join(map(str, decision.refusals))}; run `autolora refresh`, or go back to another release "
            "(`autolora versions rollback`)"
        )
    number = num_left_out(ROOT, index)
    erased = f"; left out as taken down: {number}" if number else ""
    _print(
        f"served index {index.digest[:12]}: {counted(len(index.rows), 'adapter', 'adapters')} answer{erased}"
    )


def prove(names: Sequence[str]) -> None:
    """Print what is left of what was taken down; raises AutoLoraError if content is."""
    listed = takedowns.read(ROOT)
    complete = listed.with_rows(orphaned_images(ROOT, listed, today()))
    made = proof.Proof(proof.choose(complete.rows, names))
    findings = made.findings()
    for line in proof.describe(made, findings):
        _print(line)
    proof.check(made, findings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="autolora takedown", description="Erase the weights and images of adapters for good."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="hub:id, id, or sha256; none: all that are listed"
    )
    parser.add_argument("--reason", help="why: stored in data/takedowns.jsonl and shown in reports")
    parser.add_argument("--apply", action="store_true", help="erase; without it, nothing is changed")
    parser.add_argument("--prove", action="store_true", help="print what is left of them, and where")
    arguments = parser.parse_args()
    if arguments.names and not arguments.prove and not (arguments.reason or "").strip():
        parser.error("--reason is required with a NAME")

    def takedown() -> None:
        """Take down the named files, or complete all listed takedowns."""
        with exclusive_lock(ROOT):
            if arguments.prove:
                prove(arguments.names)
                return
            if arguments.apply:
                dvc.repair_files()
            take_down(arguments.names, arguments.reason, arguments.apply)

    run(takedown, guard=False, parse=False)
