"""Threads in several processes that search the served index until they are stopped, and what they read."""

import multiprocessing
import random
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from autolora.index.served import open_index, served_digest
from autolora.models import ClipTextEncoder
from autolora.records import Hit
from autolora.search.retriever import Retriever
from tests.support.changing_repo import load_text_encoder
from tests.support.synthetic_repo import SETTINGS

PROMPTS = ("a neon drawing", "a drawing of thing 1 in the chalk style", "pixel", "a mosaic and a linocut")
K = 99
REOPEN_SHARE, PAUSE_S, TIMEOUT_S = 0.3, 0.002, 300
_context = multiprocessing.get_context("forkserver")


@dataclass(slots=True)
class Report:
    """What the threads of one process read."""

    answers: dict[tuple[str, str], list[list[Hit]]] = field(default_factory=dict)
    """(digest of the retriever's index, prompt) -> the different answers"""
    digests: list[list[str]] = field(default_factory=list)
    """per thread: the digests that cache/served named or an opened index had, in order, without repetitions"""
    failures: list[str] = field(default_factory=list)
    """tracebacks of failed queries"""


@dataclass(frozen=True, slots=True)
class Readers:
    """Running processes of readers."""

    threads: int
    """number of threads of all processes"""
    stopped: Event
    """set at the end, and by a thread whose query fails"""
    opened: "Synchronized[int]"
    """how often all threads have opened the index"""
    reports: list[Report] = field(default_factory=list)
    """one per process, once they have ended"""

    def wait(self) -> None:
        """Wait until at least one thread has opened the index after this call, or a query has failed.

        One more opening than there are threads: one of them has begun it after the call.
        """
        target, deadline = self.opened.value + self.threads + 1, time.monotonic() + TIMEOUT_S
        while self.opened.value < target and not self.stopped.is_set():
            assert time.monotonic() < deadline, "the readers do not open the index"
            time.sleep(0.01)


@contextmanager
def reading(root: Path, pipeline: Path, processes: int, threads: int) -> Iterator[Readers]:
    """Yield readers of the index in several processes; on exit, stop them and collect their reports.

    pipeline: folder of the text encoder. threads: number per process.
    """
    readers = Readers(processes * threads, _context.Event(), _context.Value("l", 0))
    pipes = [_context.Pipe(duplex=False) for _ in range(processes)]
    running = [
        _context.Process(
            target=_read,
            args=(root, pipeline, threads, seed, readers.stopped, readers.opened, sender),
            daemon=True,
        )
        for seed, (_, sender) in enumerate(pipes)
    ]
    for process in running:
        process.start()
    try:
        yield readers
        readers.stopped.set()
        for receiver, _ in pipes:
            assert receiver.poll(TIMEOUT_S), "the readers do not stop"
            readers.reports.append(receiver.recv())
    finally:
        for process in running:
            process.kill()
            process.join()


def _read(
    root: Path, pipeline: Path, threads: int, seed: int, stopped: Event, opened: "Synchronized[int]",
    sender: Connection,
) -> None:  # fmt: skip
    """Run the threads of one process and send their report."""
    report, text_encoder = Report(digests=[[] for _ in range(threads)]), load_text_encoder(pipeline)
    loops = [
        _Loop(root, text_encoder, random.Random(f"{seed} {thread}"), report, report.digests[thread])
        for thread in range(threads)
    ]
    running = [threading.Thread(target=loop.run, args=(stopped, opened)) for loop in loops]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    sender.send(report)


@dataclass(frozen=True, slots=True)
class _Loop:
    """One thread: it keeps its first retriever and another one, which it sometimes replaces by a new one."""

    root: Path
    text_encoder: ClipTextEncoder
    rng: random.Random
    report: Report
    digests: list[str]

    def run(self, stopped: Event, opened: "Synchronized[int]") -> None:
        """Search until `stopped` is set, and then once more in the index that is served at that time."""
        try:
            first = retriever = self._open()
            while not stopped.is_set():
                self._search(self.rng.choice((first, retriever)))
                time.sleep(PAUSE_S)
                if self.rng.random() < REOPEN_SHARE:
                    retriever = self._open()
                    with opened.get_lock():
                        opened.value += 1
            self._search(self._open())
        except Exception:
            self.report.failures.append(traceback.format_exc())
            stopped.set()

    def _open(self) -> Retriever:
        self._note(served_digest(self.root))
        index = open_index(self.root)
        self._note(index.digest)
        self._note(served_digest(self.root))
        return Retriever(index, self.text_encoder, SETTINGS)

    def _search(self, retriever: Retriever) -> None:
        prompt = self.rng.choice(PROMPTS)
        answers = self.report.answers.setdefault((retriever.index.digest, prompt), [])
        hits = retriever.search(prompt, K)
        if hits not in answers:
            answers.append(hits)

    def _note(self, digest: str | None) -> None:
        if self.digests[-1:] != [str(digest)]:
            self.digests.append(str(digest))
