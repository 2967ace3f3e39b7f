"""Inspects LoRA files one after another, without a repository."""

import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from autolora.errors import ReadingFailed, RefusedFile
from autolora.hubs.folder.header_facts import HeaderFacts, read_facts
from autolora.index.copies import Index
from autolora.inspection.base_model import BaseModel
from autolora.inspection.blocks import measure_changes
from autolora.inspection.content import ContentReader, PendingFile
from autolora.inspection.description import Describer
from autolora.inspection.duplicates import EarlierFiles
from autolora.inspection.files import FoundFile
from autolora.inspection.inspection import UNREADABLE, UNREADABLE_REMEDY, Inspection, find_entry
from autolora.local.header_texts import describe_header
from autolora.lora.bases import Origin
from autolora.lora.header import LENGTH_BYTES
from autolora.lora.read import MAX_REFUSED_BYTES, Reading, origin_of, read_header
from autolora.lora.remedies import REMEDIES
from autolora.lora.sketch import Sketch
from autolora.records import ACCEPTED
from autolora.storage.files import raising_reading_failed

PROMPTS_SEPARATOR = "; "
MAX_THREADS = 4
"""threads that hash and read files"""
FILES_AHEAD = 3
"""files that are hashed and read before their turn; each takes a few megabytes of memory"""
NO_HEADER_REMEDY = (
    "The file is too short for a safetensors header. Check that it is a LoRA file, and copy it again."
)

logger = logging.getLogger(__name__)


class Inspector:
    """Inspects files one after another; each is compared with those before it."""

    def __init__(self, base: BaseModel, describer: Describer | None, index: Index | None = None) -> None:
        """describer: None without an encoder. index: of the surrounding project."""
        self._base, self._describer, self._index = base, describer, index
        self._earlier = EarlierFiles(base.bounds.near_duplicate_cosine)

    def inspect_all(self, files: Sequence[FoundFile]) -> Iterator[Inspection]:
        """Yield the inspection of each file, in order; a damaged file is one of the results, and not an error.

        Files are read, sketched and hashed in threads, so that these overlap: torch should use one thread.
        """
        waiting, pending = iter(files), deque[PendingFile]()
        with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as executor:
            reader = ContentReader(self._base, executor)
            try:
                while True:
                    pending += map(reader.submit, islice(waiting, FILES_AHEAD - len(pending)))
                    if not pending:
                        return
                    inspection = self._inspect_alone(pending[0])
                    pending.popleft()
                    yield inspection
            finally:
                for file in pending:
                    file.stop.set()
                executor.shutdown(wait=False, cancel_futures=True)

    def _inspect_alone(self, pending: PendingFile) -> Inspection:
        """Return the inspection of a file, also if it fails unexpectedly, so that the others are inspected."""
        try:
            with raising_reading_failed(pending.file.path):
                return self._inspect(pending)
        except ReadingFailed as error:
            pending.stop.set()
            return self._refused(pending.file, UNREADABLE, str(error))

    def _inspect(self, pending: PendingFile) -> Inspection:
        file = pending.file
        if pending.parts is None:
            return self._refused(file, UNREADABLE, file.problem)
        try:
            reading, sketch = pending.wait()
        except RefusedFile as error:
            identity = self._identity(pending, MAX_REFUSED_BYTES)
            refused = replace(self._refused(file, error.code, str(error)), **identity)
            has_header = identity.get("size", math.inf) > LENGTH_BYTES
            return refused if has_header else replace(refused, remedy=NO_HEADER_REMEDY)
        return self._accepted(file, self._identity(pending), reading, sketch)

    def _accepted(
        self, file: FoundFile, identity: dict[str, Any], reading: Reading, sketch: Sketch
    ) -> Inspection:
        ranks = [update.rank for update in reading.updates.values()]
        origin = reading.origin
        header, is_copy = read_facts(reading.metadata), identity.get("exact_duplicate_of") is not None
        changes, description = measure_changes(sketch, self._base.slots), None
        if self._describer and (self._describer.reads_sketches or not reading.full):
            texts = _texts(file, header, self._describer)
            description = self._describer.describe(reading.lora, sketch, identity.get("sha256"), texts)
        return Inspection(
            path=file.path,
            verdict=ACCEPTED,
            base=self._base.name,
            header=header,
            made_for=origin,
            disagreements=origin.disagreements(file.base_label, Path(file.path).stem),
            trigger_words=file.trigger_words or header.trigger_words,
            said=tuple(dict.fromkeys((*file.description, *describe_header(header)))),
            layout=reading.layout,
            rank_min=min(ranks),
            rank_max=max(ranks),
            num_slots=len(ranks),
            dtype=reading.dtype,
            keys_used=reading.keys_used,
            keys_seen=reading.keys_seen,
            ignored_keys=reading.ignored_keys,
            warnings=reading.warnings,
            changes=changes,
            near_duplicate_of=None if is_copy else self._earlier.find_near(sketch, changes.norm, file.path),
            description=description,
            **identity,
        )

    def _refused(self, file: FoundFile, code: str, reason: str) -> Inspection:
        facts, origin = self._read_header(file)
        return Inspection(
            path=file.path,
            verdict=code,
            reason=reason,
            remedy=UNREADABLE_REMEDY if code == UNREADABLE else REMEDIES[code],
            base=self._base.name,
            header=facts,
            made_for=origin,
            disagreements=origin.disagreements(file.base_label) if origin else (),
        )

    def _read_header(self, file: FoundFile) -> tuple[HeaderFacts | None, Origin | None]:
        """Return what the header states, and what the file was made for; None if it cannot be read."""
        if file.location is None:
            return None, None
        try:
            with raising_reading_failed(file.path):
                header = read_header(file.location, self._base.bounds)
                return read_facts(header.metadata), origin_of(header)
        except (RefusedFile, ReadingFailed):
            return None, None

    def _identity(self, pending: PendingFile, max_bytes: float = math.inf) -> dict[str, Any]:
        """Return size, sha256, entry in the index and earlier file with the same bytes, as far as they are known.

        max_bytes: of a file that is hashed to its end.
        """
        file = pending.file
        assert file.location is not None and pending.sha256 is not None
        try:
            size = file.location.stat().st_size
            if size > max_bytes:
                pending.stop.set()
                return {"size": size}
            sha256 = pending.sha256.result()
        except (RefusedFile, OSError) as error:
            logger.info("%s cannot be hashed: %s", file.path, error)
            return {}
        return {
            "size": size,
            "sha256": sha256,
            "index": find_entry(self._index, sha256) if self._index else None,
            "exact_duplicate_of": self._earlier.find_exact(sha256, file.path),
        }


def _texts(file: FoundFile, header: HeaderFacts, describer: Describer) -> dict[str, str]:
    """Return source -> text about a file; sources without a text are left out.

    Of names, titles and tags only known words count: many contain trigger words, which the vocabulary does not contain.
    """
    words = {
        "name": Path(file.path).stem,
        "title in the header": " ".join(header.description.get(label, "") for label in ("title", "tags")),
        "tags of the training captions": " ".join(header.tags),
    }
    texts = {source: " ".join(describer.known_words(text)) for source, text in words.items()}
    texts["prompts of the sidecar's images"] = PROMPTS_SEPARATOR.join(file.prompts)
    return {source: text for source, text in texts.items() if text}
