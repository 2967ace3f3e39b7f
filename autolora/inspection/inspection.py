"""Inspections: what one LoRA file is, does and resembles, without a repository."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from autolora.errors import RefusedFile
from autolora.inspection.base_model import BaseModel
from autolora.inspection.blocks import Changes, measure_changes
from autolora.inspection.description import Describer, Description
from autolora.inspection.duplicates import EarlierFiles, NearDuplicate
from autolora.inspection.files import FoundFile
from autolora.inspection.header_facts import HeaderFacts, read_facts
from autolora.lora.read import Reading, read_and_sketch, read_header
from autolora.lora.remedies import REMEDIES
from autolora.lora.sketch import Sketch
from autolora.lora.verdict import WARNINGS
from autolora.records import ACCEPTED
from autolora.storage.hashes import hash_file

UNREADABLE = "unreadable"
"""verdict on a file that cannot be opened"""
UNREADABLE_REMEDY = "Check that you may read the file, and that a link stays inside the folder."
PROMPTS_SEPARATOR = "; "
HASHED_AHEAD = 2
"""files that a second thread hashes while one is read"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """One inspected file; `to_row` gives it as JSON with these names."""

    path: str
    size: int | None
    """bytes"""
    sha256: str | None
    verdict: str
    """'accepted', 'unreadable' or a reason code of autolora.lora.verdict"""
    reason: str
    """why it was refused; empty if accepted"""
    remedy: str
    """what to do about it; empty if accepted"""
    base: str
    """the base model that the file was inspected for"""
    header: HeaderFacts | None
    """None if the header cannot be read"""
    layout: str | None = None
    rank_min: int | None = None
    rank_max: int | None = None
    norm: float | None = None
    """strength: Frobenius norm of the update over all slots, estimated from the sketch (docs/sketch.md)"""
    num_slots: int | None = None
    """number of canonical slots with a nonzero update"""
    dtype: str | None = None
    keys_used: int | None = None
    keys_seen: int | None = None
    ignored_keys: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """codes of autolora.lora.verdict.WARNINGS"""
    changes: Changes | None = None
    exact_duplicate_of: str | None = None
    """an earlier file with the same bytes"""
    near_duplicate_of: NearDuplicate | None = None
    description: Description | None = None
    """None if the file was refused, or without an encoder"""

    @property
    def accepted(self) -> bool:
        """Whether the file is a LoRA for the base model."""
        return self.verdict == ACCEPTED

    @property
    def warning_texts(self) -> list[str]:
        """The meanings of the warnings."""
        return [WARNINGS[code] for code in self.warnings]

    def to_row(self) -> dict[str, Any]:
        """Return the JSON form; checks state whether text and weights agree."""
        row = asdict(self)
        if self.description:
            for content, check in zip(row["description"]["checks"], self.description.checks, strict=True):
                content["agrees"] = check.agrees
        return row


class Inspector:
    """Inspects files one after another; each is compared with those before it."""

    def __init__(self, base: BaseModel, describer: Describer | None) -> None:
        """describer: None without an encoder."""
        self._base, self._describer = base, describer
        self._earlier = EarlierFiles(base.bounds.near_duplicate_cosine)

    def inspect_all(self, files: Sequence[FoundFile]) -> Iterator[Inspection]:
        """Yield the inspection of each file, in order; a damaged file is one of the results, and not an error.

        Files are hashed in a second thread, so that hashing and reading a file overlap.
        """
        with ThreadPoolExecutor(1, "hash") as executor:
            waiting = iter(files)
            pending: deque[tuple[FoundFile, Future[str]]] = deque()
            while True:
                missing = HASHED_AHEAD - len(pending)
                pending += ((file, executor.submit(_hash, file)) for file in islice(waiting, missing))
                if not pending:
                    return
                file, sha256 = pending.popleft()
                try:
                    yield self._inspect(file, sha256)
                except BaseException:
                    executor.shutdown(wait=False, cancel_futures=True)
                    raise

    def _inspect(self, file: FoundFile, sha256: Future[str]) -> Inspection:
        if file.location is None:
            return self._refused(file, UNREADABLE, file.problem)
        base = self._base
        try:
            reading, sketch = read_and_sketch(file.location, base.slots, base.bounds, base.spec)
        except RefusedFile as error:
            return replace(self._refused(file, error.code, str(error)), **self._identity(file, sha256))
        except OSError as error:
            return self._refused(file, UNREADABLE, f"the file cannot be read: {error.strerror}")
        return self._accepted(file, sha256, reading, sketch)

    def _accepted(self, file: FoundFile, sha256: Future[str], reading: Reading, sketch: Sketch) -> Inspection:
        ranks = [factors.rank for factors in reading.lora.values()]
        header = read_facts(reading.metadata)
        identity = self._identity(file, sha256)
        is_copy = identity["exact_duplicate_of"] is not None
        return Inspection(
            path=file.path,
            verdict=ACCEPTED,
            reason="",
            remedy="",
            base=self._base.name,
            header=header,
            layout=reading.layout,
            rank_min=min(ranks),
            rank_max=max(ranks),
            norm=float(f"{sketch.norm:.6g}"),  # further digits depend on the number of threads that summed
            num_slots=len(ranks),
            dtype=reading.dtype,
            keys_used=reading.keys_used,
            keys_seen=reading.keys_seen,
            ignored_keys=reading.ignored_keys,
            warnings=reading.warnings,
            changes=measure_changes(sketch, self._base.slots),
            near_duplicate_of=None if is_copy else self._earlier.find_near(sketch, file.path),
            description=self._describe(file, reading, sketch, identity["sha256"]),
            **identity,
        )

    def _describe(self, file: FoundFile, reading: Reading, sketch: Sketch, sha256: str) -> Description | None:
        if self._describer is None:
            return None
        texts = _texts(file, read_facts(reading.metadata), self._describer)
        return self._describer.describe(reading.lora, sketch, sha256, texts)

    def _refused(self, file: FoundFile, code: str, reason: str) -> Inspection:
        return Inspection(
            path=file.path,
            size=None,
            sha256=None,
            verdict=code,
            reason=reason,
            remedy=UNREADABLE_REMEDY if code == UNREADABLE else REMEDIES[code],
            base=self._base.name,
            header=self._read_header(file),
        )

    def _read_header(self, file: FoundFile) -> HeaderFacts | None:
        if file.location is None:
            return None
        try:
            return read_facts(read_header(file.location, self._base.bounds).metadata)
        except (RefusedFile, OSError):
            return None

    def _identity(self, file: FoundFile, sha256: Future[str]) -> dict[str, Any]:
        """Return size, sha256 and the earlier file with the same bytes; without these of a file that cannot be read."""
        assert file.location is not None
        try:
            digest, size = sha256.result(), file.location.stat().st_size
        except OSError as error:
            logger.info("%s cannot be hashed: %s", file.path, error)
            return {"size": None, "sha256": None, "exact_duplicate_of": None}
        return {
            "size": size,
            "sha256": digest,
            "exact_duplicate_of": self._earlier.find_exact(digest, file.path),
        }


def _hash(file: FoundFile) -> str:
    if file.location is None or not file.location.is_file():
        raise OSError(f"{file.path} is not a regular file")
    return hash_file(file.location)


def _texts(file: FoundFile, header: HeaderFacts, describer: Describer) -> dict[str, str]:
    """Return source -> what is said about a file; sources without a text are left out.

    Of names, titles and tags only known words count: many contain trigger words, which are in no vocabulary.
    """
    words = {
        "name": Path(file.path).stem,
        "title in the header": " ".join(header.description.get(label, "") for label in ("title", "tags")),
        "tags of the training captions": " ".join(header.tags),
    }
    texts = {source: " ".join(describer.known_words(text)) for source, text in words.items()}
    texts["prompts of the sidecar's images"] = PROMPTS_SEPARATOR.join(file.prompts)
    return {source: text for source, text in texts.items() if text}
