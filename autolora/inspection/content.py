"""Reading, sketching and hashing files in threads: a large file in parts, so that all threads share the work."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event

import torch

from autolora.inspection.base_model import BaseModel
from autolora.inspection.files import FoundFile
from autolora.lora.factors import Factors, Kronecker
from autolora.lora.mmap_file import open_regular
from autolora.lora.read import Reading, check_effect, read_unchecked
from autolora.lora.sketch import Sketch, sketch
from autolora.lora.slots import Slot

PART_BYTES = 40 * 10**6
"""of a file per part that is sketched at once, which takes about 30 ms"""
BLOCK_BYTES = 1 << 22
"""that are hashed at once: many, because each block's beginning can wait for a thread that sketches"""


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that threads read, sketch and hash; the futures are None if it cannot be used."""

    file: FoundFile
    parts: Future[tuple[Reading, list[Future[Sketch]]]] | None
    """the content, and the sketches of consecutive slots"""
    sha256: Future[str] | None
    stop: Event
    """ends the hashing early"""

    def wait(self) -> tuple[Reading, Sketch]:
        """Return the content and its sketch. Raises the errors of `read_and_sketch`."""
        assert self.parts is not None
        reading, parts = self.parts.result()
        sketches = [part.result() for part in parts]
        values, present = (
            torch.cat(each) for each in zip(*((s.values, s.present) for s in sketches), strict=True)
        )
        sketched = Sketch(values, present)
        check_effect(sketched)
        return reading, sketched


class ContentReader:
    """Starts the work on files."""

    def __init__(self, base: BaseModel, executor: Executor) -> None:
        """executor: the threads."""
        self._base, self._executor = base, executor

    def submit(self, file: FoundFile) -> PendingFile:
        """Start reading, sketching and hashing a file."""
        stop = Event()
        if file.location is None:
            return PendingFile(file, None, None, stop)
        parts = self._executor.submit(self._read, file.location)
        return PendingFile(file, parts, self._executor.submit(hash_regular, file.location, stop), stop)

    def _read(self, path: Path) -> tuple[Reading, list[Future[Sketch]]]:
        """Return the content of a file, and start sketching it."""
        slots = self._base.slots
        reading = read_unchecked(path, slots, self._base.bounds)
        count = min(len(slots), 1 + path.stat().st_size // PART_BYTES)
        bounds = [len(slots) * number // count for number in range(count + 1)]
        parts = [slots[begin:end] for begin, end in pairwise(bounds)]
        return reading, [self._executor.submit(self._sketch, reading.updates, part) for part in parts]

    def _sketch(self, lora: Mapping[str, Factors | Kronecker], slots: Sequence[Slot]) -> Sketch:
        """Return the sketch of some slots."""
        part = {slot.name: lora[slot.name] for slot in slots if slot.name in lora}
        return sketch(part, slots, self._base.spec)


def hash_regular(path: Path, stop: Event) -> str:
    """Return the sha256 of a regular file, or of its beginning if `stop` is set meanwhile.

    Raises RefusedFile for other files, which could block, OSError.
    """
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    with open(open_regular(path), "rb", buffering=0) as stream:
        while not stop.is_set() and (count := stream.readinto(block)):
            digest.update(block[:count])
    return digest.hexdigest()
