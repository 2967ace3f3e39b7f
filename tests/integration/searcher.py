"""A thread that searches while refreshes run."""

import threading
from collections import Counter
from pathlib import Path

PAUSE_S = 0.05
"""between searches, which otherwise take a whole core"""
PROMPTS = ("a cat in watercolour style", "a red house on sand", "neon", "an ink sketch of a boat")


class Searcher(threading.Thread):
    """Searches in a loop from Python, as a service would, until stopped."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.halt = threading.Event()

    def run(self) -> None:
        from autolora.search.retriever import open_retriever

        while not self.halt.wait(PAUSE_S):
            for prompt in PROMPTS:
                try:
                    hits = open_retriever(self.root).search(prompt, k=3)
                    digests = {hit.index for hit in hits}
                    assert len(digests) == 1 and len(hits) == 3
                    self.answers[digests.pop()] += 1
                except Exception as error:  # every failure counts
                    self.failures.append(repr(error))
