"""The peak memory of each command and stage that runs below this process."""

import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from shutil import which

import psutil

INTERVAL_S = 0.5
MIB = 2**20
CARD = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]


@dataclass
class Peaks:
    """The largest memory that was seen, in bytes."""

    memory: dict[str, int] = field(default_factory=dict)
    """stage, or command of `autolora` -> of one of its processes, without pages that files share"""
    card: dict[str, int] = field(default_factory=dict)
    """the same -> of the whole card, while it ran"""

    def see(self, name: str, memory: int, card: int) -> None:
        """Take what a process uses now."""
        self.memory[name] = max(memory, self.memory.get(name, 0))
        self.card[name] = max(card, self.card.get(name, 0))


@contextmanager
def watching(peaks: Peaks) -> Iterator[None]:
    """Watch all descendants of this process while the block runs."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(peaks, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def name_of(command: Sequence[str]) -> str | None:
    """Return the stage that a command line runs, or its command of `autolora`; None of other processes."""
    for position, word in enumerate(command):
        if word.startswith("flows."):
            return word.removeprefix("flows.")
        if word.endswith("/autolora") or (word == "autolora" and command[position - 1] == "-m"):
            return " ".join(part for part in command[position + 1 :] if re.fullmatch(r"[a-z-]+", part))
    return None


def _watch(peaks: Peaks, ended: threading.Event) -> None:
    has_card = which(CARD[0]) is not None
    root = psutil.Process()
    while not ended.wait(INTERVAL_S):
        card = _card_bytes() if has_card else 0
        for process in root.children(recursive=True):
            with suppress(psutil.Error):
                if name := name_of(process.cmdline()):
                    peaks.see(name, process.memory_full_info().uss, card)


def _card_bytes() -> int:
    """Return the memory of the first card that all its processes use."""
    done = subprocess.run(CARD, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[0]) * MIB
