"""Readers in several processes while the index is refreshed and released: each answer is that of one release."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from autolora.index.served import open_index, release
from autolora.index.store import content_digest
from autolora.records import Hit
from autolora.search.retriever import Retriever
from tests.support import killing
from tests.support.changing_repo import ChangingRepository, StageRun, load_text_encoder, rebuild, run_stages
from tests.support.readers import PROMPTS, K, Report, reading
from tests.support.synthetic_repo import SETTINGS, tiny_text_encoder

TOLERANCE = 1e-6
MAX_CHANGES, ROLLBACK_SHARE = 3, 0.25


@dataclass(frozen=True, slots=True)
class Load:
    """How many readers and refreshes a test has."""

    processes: int
    threads: int
    """per process"""
    refreshes: int


SMALL, FULL = Load(processes=2, threads=5, refreshes=3), Load(processes=4, threads=25, refreshes=20)


@dataclass(slots=True)
class Releases:
    """A repository whose index is refreshed and released again and again."""

    folder: Path
    pipeline: Path
    repository: ChangingRepository
    digests: list[str]
    """the content digests of all releases, in order"""
    answers: dict[tuple[str, str], list[Hit]]
    """(content digest, prompt) -> the hits of a search in an index that is built from nothing"""

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def refresh(self) -> None:
        """Change the repository, run the stages and release the index in another process."""
        rng = self.repository.rng
        for _ in range(rng.randint(1, MAX_CHANGES)):
            self.repository.change()
        run = self.repository.write(self.root, self.pipeline)
        killing.run(run_and_release, run)
        self.repository.needs_encoder = False
        self.digests.append(content_digest(self.root))
        self._rebuild(run)

    def roll_back(self) -> None:
        """Release an earlier index."""
        digest = self.repository.rng.choice(self.digests)
        release(self.root, digest)
        self.digests.append(digest)

    def _rebuild(self, run: StageRun) -> None:
        root = self.folder / f"rebuilt-{len(self.digests)}"
        rebuild(run, self.repository, root)
        retriever = Retriever(open_index(root), load_text_encoder(self.pipeline), SETTINGS)
        digest = retriever.index.digest
        self.answers |= {(digest, prompt): retriever.search(prompt, K) for prompt in PROMPTS}


def run_and_release(run: StageRun) -> None:
    """Run the stages and release the index."""
    run_stages(run)
    release(run.root, content_digest(run.root))


@pytest.mark.slow
@pytest.mark.long(full=4, sample=1)
def test_readers_get_the_answers_of_one_release(tmp_path: Path, seed: int) -> None:
    """The first seed has few readers."""
    load = FULL if seed else SMALL
    tiny_text_encoder(tmp_path / "pipeline")
    rng = random.Random(seed)
    releases = Releases(tmp_path, tmp_path / "pipeline", ChangingRepository(rng), [], {})
    releases.refresh()
    with reading(releases.root, releases.pipeline, load.processes, load.threads) as readers:
        readers.wait()
        for _ in range(load.refreshes):
            releases.refresh()
            readers.wait()
            if rng.random() < ROLLBACK_SHARE:
                releases.roll_back()
                readers.wait()
    assert len(readers.reports) == load.processes
    check_reports(readers.reports, releases)


def check_reports(reports: Sequence[Report], releases: Releases) -> None:
    """Check that no query failed, and what the threads read and in which order."""
    for report in reports:
        assert not report.failures, report.failures[0]
        assert_answers(report, releases.answers)
    threads = [digests for report in reports for digests in report.digests]
    for digests in threads:
        assert_in_order(digests, releases.digests)
        assert digests[-1] == releases.digests[-1]
    assert set().union(*threads) == set(releases.digests)


def assert_answers(report: Report, expected: dict[tuple[str, str], list[Hit]]) -> None:
    """Check that all answers are those of the index that was searched."""
    for key, answers in report.answers.items():
        for hits in answers:
            assert without_scores(hits) == without_scores(expected[key])
            assert np.allclose(
                [hit.score for hit in hits], [hit.score for hit in expected[key]], atol=TOLERANCE, rtol=0
            )


def without_scores(hits: Sequence[Hit]) -> list[Hit]:
    return [replace(hit, score=0.0) for hit in hits]


def assert_in_order(digests: Sequence[str], released: Sequence[str]) -> None:
    """Check that a thread never reads an older release than before; `released` may name one several times."""
    position = 0
    for digest in digests:
        assert digest in released[position:], f"{digest} is not released, or it was read after a later one"
        position = released.index(digest, position)
